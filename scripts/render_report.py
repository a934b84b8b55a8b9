"""Rule render_report: write the page."""

from pathlib import Path

from concord.job import job
from concord.load import load
from concord.report.page import render

with job(snakemake):
    render(
        load(snakemake.config),
        Path(snakemake.input.tables[0]).parent,
        Path(snakemake.output.page),
    )
