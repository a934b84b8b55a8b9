"""Rule aggregate_tables: summarise, compare, list what is missing."""

from pathlib import Path

from concord.job import job
from concord.load import load
from concord.provenance import write_provenance
from concord.report.aggregate import aggregate

with job(snakemake):
    config = load(snakemake.config)
    aggregate(config, Path(snakemake.output[0]).parent)
    write_provenance(config, Path(snakemake.output.provenance))
