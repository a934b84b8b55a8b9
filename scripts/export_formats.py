"""Rule export_formats: write the files that users of older scripts expect."""

from concord.load import load
from concord.logs import log_to
from concord.report.exports import export

with log_to(snakemake.log[0]):
    export(load(snakemake.config))
