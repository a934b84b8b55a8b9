"""Rule score_synchrony: gather the synchrony of a collection."""

from pathlib import Path

from concord.logs import log_to
from concord.scores.synchrony import score_synchrony

with log_to(snakemake.log[0]):
    score_synchrony(
        Path(snakemake.output.scores),
        collection=snakemake.wildcards.collection,
        clips=Path(snakemake.input.clips),
        media=[Path(file) for file in snakemake.input.media],
        synchrony=[Path(file) for file in snakemake.input.synchrony],
        audio=snakemake.params.protocol["audio"],
    )
