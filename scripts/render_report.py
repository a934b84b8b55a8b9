"""Rule render_report: write the page."""

from pathlib import Path

from concord.load import load
from concord.logs import log_to
from concord.report.page import render

with log_to(snakemake.log[0]):
    render(
        load(snakemake.config),
        Path(snakemake.input.tables[0]).parent,
        Path(snakemake.output.page),
    )
