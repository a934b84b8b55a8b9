"""Rule transcode_shard: measure and transcode one shard."""

from pathlib import Path

from concord.load import load
from concord.logs import log_to
from concord.media.shard import process_shard

with log_to(snakemake.log[0]):
    media = load(snakemake.config).media
    process_shard(
        Path(snakemake.input.plan),
        Path(snakemake.output.media),
        snakemake.params.protocol,
        workers=snakemake.threads,
        timeout_s=media.timeout_s,
        memory_mb=media.memory_mb,
        keep_proxies=media.keep_proxies,
    )
