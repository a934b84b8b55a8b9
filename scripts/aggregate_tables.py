"""Rule aggregate_tables: summarise, compare, list what is missing."""

from pathlib import Path

from concord.load import load
from concord.logs import log_to
from concord.provenance import write_provenance
from concord.report.aggregate import aggregate

with log_to(snakemake.log[0]):
    config = load(snakemake.config)
    aggregate(config, Path(snakemake.output[0]).parent)
    write_provenance(config, Path(snakemake.output.provenance))
