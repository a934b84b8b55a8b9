"""Rule check_embeddings: hold embeddings against the limits."""

from pathlib import Path

from concord.job import job
from concord.load import load
from concord.scores.quality import check

with job(snakemake):
    check(
        [Path(file) for file in snakemake.input.embeddings],
        Path(snakemake.output.quality),
        model=snakemake.wildcards.model,
        modality=snakemake.wildcards.modality,
        source=snakemake.wildcards.source,
        origins=[Path(file) for file in snakemake.input.get("origins", [])],
        quality=load(snakemake.config).quality.model_dump(),
    )
