"""Scores: one row a clip, or one a query.

Needs: clips, media and embedding tables of a collection. Leaves: <results>/synchrony/ and
<results>/scores/{task}/{model}/{collection}.parquet; <results>/quality/ and <results>/probes/.
"""

from concord.layout import SIGNAL
from concord.models.base import MODALITIES
from concord.scores.sources import scopes
from concord.scores.synchrony import synchrony_protocol
from concord.scores.versions import QUALITY_VERSION
from concord.scores.tasks import PAIRS


rule measure_synchrony:
    """Compare sound onsets with motion in one shard's clips that are new or changed."""
    input:
        media="<results>/media/{collection}/{shard}/media.parquet",
    output:
        synchrony="<results>/synchrony/{collection}/{shard}.parquet",
    log:
        "<results>/logs/measure_synchrony/{collection}.{shard}.log",
    benchmark:
        "<results>/benchmarks/measure_synchrony/{collection}.{shard}.tsv"
    conda:
        "../envs/media.yaml"
    threads: lambda w: RESOURCES.media_threads()
    resources:
        mem_mb=lambda w, threads, attempt: (500 + 300 * threads) * attempt,
        runtime=lambda w, threads, attempt: RESOURCES.media_minutes(
            w.collection, w.shard, threads, attempt
        ),
    params:
        protocol=synchrony_protocol(),
    script:
        "../scripts/measure_synchrony.py"


rule score_synchrony:
    """Gather the synchrony of a collection's clips."""
    input:
        clips=lambda w: LAYOUT.clips(planned(w.collection)),
        media=lambda w: LAYOUT.media(planned(w.collection)),
        synchrony=lambda w: LAYOUT.synchrony(planned(w.collection)),
    output:
        scores="<results>/scores/synchrony/signal/{collection}.parquet",
    log:
        "<results>/logs/score_synchrony/{collection}.log",
    benchmark:
        "<results>/benchmarks/score_synchrony/{collection}.tsv"
    conda:
        "../envs/media.yaml"
    resources:
        mem_mb=lambda w, input, attempt: (1000 + 4 * int(input.size_mb)) * attempt,
        runtime=lambda w, input, attempt: RESOURCES.reading(input.size_mb, attempt),
    params:
        protocol=LAYOUT.score_parameters("synchrony", SIGNAL),
    script:
        "../scripts/score_synchrony.py"


rule score_task:
    """Score a collection's clips, or its queries, by one model."""
    input:
        unpack(lambda w: LAYOUT.needed(w.task, w.model, planned(w.collection))),
        clips=lambda w: LAYOUT.clips(planned(w.collection)),
        media=lambda w: LAYOUT.media(planned(w.collection)),
    output:
        scores="<results>/scores/{task}/{model}/{collection}.parquet",
    log:
        "<results>/logs/score_task/{task}.{model}.{collection}.log",
    benchmark:
        "<results>/benchmarks/score_task/{task}.{model}.{collection}.tsv"
    wildcard_constraints:
        task="|".join([*PAIRS, "retrieval"]),
    conda:
        "../envs/models.yaml"
    threads: lambda w: RESOURCES.scoring_threads(w.task, w.collection)
    resources:
        mem_mb=lambda w, input, attempt: (1500 + 4 * int(input.size_mb)) * attempt,
        runtime=lambda w, input, attempt: RESOURCES.reading(input.size_mb, attempt),
    params:
        protocol=lambda w: LAYOUT.score_parameters(w.task, w.model),
    script:
        "../scripts/score_task.py"


rule check_embeddings:
    """Hold the embeddings of a collection's clips, or of a prompt set, against the limits."""
    input:
        embeddings=lambda w: LAYOUT.embeddings(
            w.model, w.modality, planned(LAYOUT.holder(w.modality, w.source))
        ),
        origins=lambda w: LAYOUT.origins(w.modality, planned(LAYOUT.holder(w.modality, w.source))),
    output:
        quality="<results>/quality/{model}/{modality}/{source}.parquet",
    log:
        "<results>/logs/check_embeddings/{model}.{modality}.{source}.log",
    benchmark:
        "<results>/benchmarks/check_embeddings/{model}.{modality}.{source}.tsv"
    wildcard_constraints:
        modality="|".join(MODALITIES),
        source="|".join(map(re.escape, [*CONFIG.collections, *CONFIG.prompts])),
    conda:
        "../envs/models.yaml"
    resources:
        mem_mb=lambda w, input, attempt: (1000 + 4 * int(input.size_mb)) * attempt,
        runtime=lambda w, input, attempt: RESOURCES.reading(input.size_mb, attempt),
    params:
        protocol=CONFIG.quality.model_dump() | {"version": QUALITY_VERSION},
    script:
        "../scripts/check_embeddings.py"


rule probe_features:
    """Learn labels from the features of one model and modality."""
    input:
        lambda w: when_planned(LAYOUT.probe_inputs, w.model, w.modality, w.scope),
    output:
        probes="<results>/probes/{model}/{modality}/{scope}/probes.parquet",
        predictions="<results>/probes/{model}/{modality}/{scope}/predictions.parquet",
        distributions="<results>/probes/{model}/{modality}/{scope}/distributions.parquet",
    log:
        "<results>/logs/probe_features/{model}.{modality}.{scope}.log",
    benchmark:
        "<results>/benchmarks/probe_features/{model}.{modality}.{scope}.tsv"
    wildcard_constraints:
        modality="|".join(MODALITIES),
        scope="|".join(map(re.escape, scopes(CONFIG))) or "none",
    conda:
        "../envs/models.yaml"
    threads: min(CONFIG.probes.folds, 8)
    resources:
        mem_mb=lambda w, attempt: RESOURCES.probing(
            w.model, scopes(CONFIG)[w.scope], attempt
        ).mem_mb,
        runtime=lambda w, attempt: RESOURCES.probing(
            w.model, scopes(CONFIG)[w.scope], attempt
        ).runtime,
    params:
        protocol=lambda w: LAYOUT.probe_parameters(w.modality, w.scope),
    script:
        "../scripts/probe_features.py"
