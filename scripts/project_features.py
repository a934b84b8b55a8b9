"""Rule project_features: features in two dimensions."""

from pathlib import Path

from concord.load import load
from concord.logs import log_to
from concord.report.projections import project_features
from concord.report.results import Results

with log_to(snakemake.log[0]):
    project_features(
        Results(load(snakemake.config)).layout,
        snakemake.wildcards.model,
        snakemake.wildcards.modality,
        Path(snakemake.output.projections),
    )
