"""Rule export_formats: write the files that users of older scripts expect."""

from concord.job import job
from concord.load import load
from concord.report.exports import export

with job(snakemake):
    export(load(snakemake.config))
