"""Rule score_task: score a collection's clips or queries by one model."""

from pathlib import Path

from concord.job import job
from concord.load import load
from concord.models.base import MODALITIES
from concord.scores.score import score

with job(snakemake):
    score(
        snakemake.wildcards.task,
        Path(snakemake.output.scores),
        collection=snakemake.wildcards.collection,
        clips=Path(snakemake.input.clips),
        media=[Path(file) for file in snakemake.input.media],
        embeddings={
            modality: [Path(file) for file in snakemake.input[modality]]
            for modality in MODALITIES
            if snakemake.input.get(modality)
        },
        audio=snakemake.params.protocol.get("audio"),
        seed=load(snakemake.config).statistics.seed,
        pairs=snakemake.params.protocol.get("pairs", ()),
    )
