"""Rule transcode_shard: measure and transcode one shard."""

from pathlib import Path

from concord.load import load
from concord.media.shard import process_shard

from concord.logs import log_to

with log_to(snakemake.log[0]):
    config = load(snakemake.config)
    process_shard(
        Path(snakemake.input.plan),
        Path(snakemake.output.media),
        snakemake.params.protocol,
        workers=snakemake.threads,
        timeout_s=config.media.timeout_s,
        memory_mb=config.media.memory_mb,
        tree=config.results / "tree" / snakemake.wildcards.collection
        if config.media.layout == "tree"
        else None,
    )
