"""Rule project_features: features in two dimensions."""

from pathlib import Path

from concord.job import job
from concord.load import load
from concord.report.projections import project_features
from concord.report.results import Results

with job(snakemake):
    project_features(
        Results(load(snakemake.config)).layout,
        snakemake.wildcards.model,
        snakemake.wildcards.modality,
        Path(snakemake.output.projections),
    )
