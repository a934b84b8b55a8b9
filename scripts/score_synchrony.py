"""Rule score_synchrony: gather the synchrony of a collection."""

from pathlib import Path

from concord.job import job
from concord.scores.synchrony import score_synchrony

with job(snakemake):
    score_synchrony(
        Path(snakemake.output.scores),
        collection=snakemake.wildcards.collection,
        clips=Path(snakemake.input.clips),
        media=[Path(file) for file in snakemake.input.media],
        synchrony=[Path(file) for file in snakemake.input.synchrony],
        audio=snakemake.params.protocol["audio"],
    )
