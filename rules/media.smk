"""Media: what a clip holds, its 224 px proxy and its 16 kHz wave.

Needs: the plan file of a shard. Leaves: media.parquet, and video/ and audio/ beside it, which are
not declared as outputs because Snakemake would delete what is still good.
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
    threads: CONFIG.media.workers
    resources:
        mem_mb=lambda w, threads: 500 + 300 * threads,
        runtime=lambda w, attempt: 240 * attempt,
    params:
        protocol=lambda w: media_protocol(CONFIG, w.collection),
        tree=lambda w: LAYOUT.tree(w.collection),
    script:
        "../scripts/transcode_shard.py"
