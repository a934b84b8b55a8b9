"""Media: what a clip holds, its 224 px proxy and its 16 kHz wave.

Needs: the plan file of a shard. Leaves: media.parquet, and beside it video/ and audio/, or with
media.container: tar proxies.tar, which are not declared as outputs because Snakemake would delete
what is still good. With media.layout: tree also <results>/tree/, and a mark there for each shard.
"""

from concord.media.protocol import media_protocol


rule transcode_shard:
    """Measure and transcode the clips of one shard that are new or changed."""
    input:
        plan="<results>/clips/{collection}/plan/{shard}.parquet",
    output:
        media="<results>/media/{collection}/{shard}/media.parquet",
    log:
        "<results>/logs/transcode_shard/{collection}.{shard}.log",
    benchmark:
        "<results>/benchmarks/transcode_shard/{collection}.{shard}.tsv"
    conda:
        "../envs/media.yaml"
    threads: lambda w: RESOURCES.media_threads()
    resources:
        mem_mb=lambda w, threads, attempt: (500 + threads * CONFIG.media.memory_mb // 5) * attempt,
        runtime=lambda w, threads, attempt: RESOURCES.media_minutes(
            w.collection, w.shard, threads, attempt
        ),
    params:
        protocol=lambda w: media_protocol(CONFIG, w.collection),
    script:
        "../scripts/transcode_shard.py"


rule write_tree:
    """Write one shard's proxies, with sound, under the clips' own paths."""
    input:
        media="<results>/media/{collection}/{shard}/media.parquet",
    output:
        mark="<results>/tree/{collection}/.{shard}.done",
    log:
        "<results>/logs/write_tree/{collection}.{shard}.log",
    benchmark:
        "<results>/benchmarks/write_tree/{collection}.{shard}.tsv"
    conda:
        "../envs/media.yaml"
    threads: lambda w: RESOURCES.media_threads()
    resources:
        mem_mb=lambda w, threads, attempt: (500 + threads * CONFIG.media.memory_mb // 5) * attempt,
        runtime=lambda w, threads, attempt: RESOURCES.media_minutes(
            w.collection, w.shard, threads, attempt
        ),
    params:
        unusual=lambda w: LAYOUT.unusual_names(w.collection, w.shard),
    script:
        "../scripts/write_tree.py"
