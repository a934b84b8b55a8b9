"""Rule measure_synchrony: compare sound onsets with motion in one shard."""

from pathlib import Path

from concord.load import load
from concord.logs import log_to
from concord.media.protocol import media_protocol
from concord.scores.synchrony import measure_shard

with log_to(snakemake.log[0]):
    measure_shard(
        Path(snakemake.input.media),
        Path(snakemake.output.synchrony),
        protocol=snakemake.params.protocol,
        workers=snakemake.threads,
        media_protocol=media_protocol(load(snakemake.config), snakemake.wildcards.collection),
    )
