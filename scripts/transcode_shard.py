"""Rule transcode_shard: measure and transcode one shard."""

from pathlib import Path

from concord.job import job
from concord.load import load
from concord.media.shard import process_shard

with job(snakemake):
    media = load(snakemake.config).media
    process_shard(
        Path(snakemake.input.plan),
        Path(snakemake.output.media),
        snakemake.params.protocol,
        workers=snakemake.threads,
        timeout_s=media.timeout_s,
        memory_mb=media.memory_mb,
        keep_proxies=media.keep_proxies,
        container=media.container,
    )
