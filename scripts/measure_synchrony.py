"""Rule measure_synchrony: compare sound onsets with motion in one shard."""

from pathlib import Path

from concord.job import job
from concord.load import load
from concord.media.protocol import media_protocol
from concord.media.proxies import Limits
from concord.scores.synchrony import measure_shard

with job(snakemake):
    config = load(snakemake.config)
    measure_shard(
        Path(snakemake.input.media),
        Path(snakemake.output.synchrony),
        protocol=snakemake.params.protocol,
        workers=snakemake.threads,
        limits=Limits(config.media.timeout_s, config.media.memory_mb),
        media_protocol=media_protocol(config, snakemake.wildcards.collection),
    )
