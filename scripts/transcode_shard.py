"""Rule transcode_shard: measure and transcode one shard."""

from pathlib import Path

from concord.load import load
from concord.logs import log_to
from concord.media.shard import process_shard

with log_to(snakemake.log[0]):
    config = load(snakemake.config)
    tree = snakemake.params.tree
    process_shard(
        Path(snakemake.input.plan),
        Path(snakemake.output.media),
        snakemake.params.protocol,
        workers=snakemake.threads,
        timeout_s=config.media.timeout_s,
        memory_mb=config.media.memory_mb,
        tree=Path(tree) if tree else None,
    )
