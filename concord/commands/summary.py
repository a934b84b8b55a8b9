"""`concord summary`: the compact table of the last run."""

from pathlib import Path

from concord.errors import UserError
from concord.load import load


def run(path: Path) -> None:
    """Print the summary; raises UserError if there is none yet."""
    from concord.report.console import print_summary

    tables = load(path).results / "tables"
    if not (tables / "summary.parquet").exists():
        raise UserError(f"{tables}: no summary yet; run snakemake first")
    print_summary(tables)
