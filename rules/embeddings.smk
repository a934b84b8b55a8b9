"""Embeddings: one vector a clip and modality, one a prompt.

Needs: media tables with their proxies and waves, or the originals; plan files of companions (the
files beside the clips: images, depth maps, ...); the texts of a prompt set. A job works on a block
of shards, so that it loads its model once for enough of them.
Leaves: <results>/embeddings/{model}/{modality}/.
"""


rule embed_media:
    """Embed the pictures or the sounds of one block that are new or changed."""
    input:
        media=lambda w: LAYOUT.block_media(planned(w.collection), w.block),
    output:
        embeddings="<results>/embeddings/{model}/{modality}/{collection}/{block}.parquet",
    log:
        "<results>/logs/embed_media/{model}.{modality}.{collection}.{block}.log",
    benchmark:
        "<results>/benchmarks/embed_media/{model}.{modality}.{collection}.{block}.tsv"
    wildcard_constraints:
        modality="video|audio",
    conda:
        environment
    threads: lambda w: RESOURCES.threads(w.model, w.modality, w.collection, w.block)
    resources:
        gpu=lambda w: RESOURCES.gpus(w.model),
        mem_mb=lambda w, attempt: attempt
        * RESOURCES.memory_mb(w.model, w.modality, w.collection, w.block),
        runtime=lambda w, attempt: RESOURCES.minutes(
            w.model, w.modality, w.collection, w.block, attempt
        ),
    params:
        protocol=lambda w: SPECS[w.model].protocol(w.modality),
    script:
        "../scripts/embed_media.py"


rule embed_companions:
    """Embed the images, depth maps or the like beside one block's clips that are new or changed."""
    input:
        companions=lambda w: LAYOUT.block_companions(planned(w.collection), w.modality, w.block),
    output:
        embeddings="<results>/embeddings/{model}/{modality}/{collection}/{block}.parquet",
    log:
        "<results>/logs/embed_companions/{model}.{modality}.{collection}.{block}.log",
    benchmark:
        "<results>/benchmarks/embed_companions/{model}.{modality}.{collection}.{block}.tsv"
    wildcard_constraints:
        modality="image|depth|thermal|imu",
    conda:
        environment
    threads: lambda w: RESOURCES.threads(w.model, w.modality, w.collection, w.block)
    resources:
        gpu=lambda w: RESOURCES.gpus(w.model),
        mem_mb=lambda w, attempt: attempt
        * RESOURCES.memory_mb(w.model, w.modality, w.collection, w.block),
        runtime=lambda w, attempt: RESOURCES.minutes(
            w.model, w.modality, w.collection, w.block, attempt
        ),
    params:
        protocol=lambda w: SPECS[w.model].protocol(w.modality),
        max_pixels=lambda w: CONFIG.media.max_pixels if w.modality != "imu" else None,
    script:
        "../scripts/embed_companions.py"


rule embed_texts:
    """Embed the prompts of one block that are new."""
    input:
        texts=lambda w: when_planned(LAYOUT.block_texts, w.prompt_set, w.block),
    output:
        embeddings="<results>/embeddings/{model}/text/{prompt_set}/{block}.parquet",
    log:
        "<results>/logs/embed_texts/{model}.{prompt_set}.{block}.log",
    benchmark:
        "<results>/benchmarks/embed_texts/{model}.{prompt_set}.{block}.tsv"
    conda:
        environment
    threads: lambda w: RESOURCES.threads(w.model, "text", w.prompt_set, w.block)
    resources:
        gpu=lambda w: RESOURCES.gpus(w.model),
        mem_mb=lambda w, attempt: attempt
        * RESOURCES.memory_mb(w.model, "text", w.prompt_set, w.block),
        runtime=lambda w, attempt: RESOURCES.minutes(
            w.model, "text", w.prompt_set, w.block, attempt
        ),
    params:
        protocol=lambda w: SPECS[w.model].protocol("text"),
    script:
        "../scripts/embed_texts.py"
