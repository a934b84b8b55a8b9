"""Embeddings: one vector a clip and modality, one a prompt.

Needs: media tables with their proxies and waves, or the originals; plan files of companions (the
files beside the clips: images, depth maps, ...); the texts of a prompt set.
Leaves: <results>/embeddings/{model}/{modality}/.
"""


rule embed_media:
    """Embed the pictures or the sounds of one shard that are new or changed."""
    input:
        media="<results>/media/{collection}/{shard}/media.parquet",
    output:
        embeddings="<results>/embeddings/{model}/{modality}/{collection}/{shard}.parquet",
    log:
        "<results>/logs/embed_media/{model}.{modality}.{collection}.{shard}.log",
    benchmark:
        "<results>/benchmarks/embed_media/{model}.{modality}.{collection}.{shard}.tsv"
    wildcard_constraints:
        modality="video|audio",
    conda:
        "../envs/models.yaml"
    threads: lambda w: model_threads(w.model)
    resources:
        gpu=lambda w: gpus(w.model),
        mem_mb=lambda w, attempt: model_memory_mb(w.model) * attempt,
        runtime=lambda w, attempt: 240 * attempt,
    params:
        protocol=lambda w: SPECS[w.model].protocol(w.modality),
    script:
        "../scripts/embed_media.py"


rule embed_companions:
    """Embed the images, depth maps or the like beside one shard's clips that are new or changed."""
    input:
        companions="<results>/clips/{collection}/companions/{modality}/{shard}.parquet",
    output:
        embeddings="<results>/embeddings/{model}/{modality}/{collection}/{shard}.parquet",
    log:
        "<results>/logs/embed_companions/{model}.{modality}.{collection}.{shard}.log",
    benchmark:
        "<results>/benchmarks/embed_companions/{model}.{modality}.{collection}.{shard}.tsv"
    wildcard_constraints:
        modality="image|depth|thermal|imu",
    conda:
        "../envs/models.yaml"
    threads: lambda w: model_threads(w.model)
    resources:
        gpu=lambda w: gpus(w.model),
        mem_mb=lambda w, attempt: model_memory_mb(w.model) * attempt,
        runtime=lambda w, attempt: 240 * attempt,
    params:
        protocol=lambda w: SPECS[w.model].protocol(w.modality),
    script:
        "../scripts/embed_companions.py"


rule embed_texts:
    """Embed the prompts of one shard that are new."""
    input:
        texts="<results>/prompts/{prompt_set}/plan/{shard}.parquet",
    output:
        embeddings="<results>/embeddings/{model}/text/{prompt_set}/{shard}.parquet",
    log:
        "<results>/logs/embed_texts/{model}.{prompt_set}.{shard}.log",
    benchmark:
        "<results>/benchmarks/embed_texts/{model}.{prompt_set}.{shard}.tsv"
    conda:
        "../envs/models.yaml"
    threads: lambda w: model_threads(w.model)
    resources:
        gpu=lambda w: gpus(w.model),
        mem_mb=lambda w, attempt: SPECS[w.model].memory_mb * attempt,
        runtime=lambda w, attempt: 60 * attempt,
    params:
        protocol=lambda w: SPECS[w.model].protocol("text"),
    script:
        "../scripts/embed_texts.py"
