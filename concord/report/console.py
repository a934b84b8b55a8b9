"""The compact table at the end of a run."""

from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq

from concord.report.metrics import measure_name, metric

if TYPE_CHECKING:
    from rich.table import Table


def print_summary(tables: Path) -> None:
    """Print the scores of a tables folder: a block a task, model and metric, a row a collection."""
    from rich.console import Console
    from rich.markup import escape

    rows = pq.read_table(tables / "summary.parquet").to_pylist()
    shown = [r for r in rows if r["task"] != "retrieval" or r["metric"].endswith("recall_at_1")]
    console = Console()
    if any(row["limited"] for row in rows):
        console.print("[yellow]A trial run: only the clips of the first prompts were used.[/]")
    width = max([len("collection"), *(len(row["collection"]) for row in shown)])
    for number, (_, group) in enumerate(
        groupby(shown, lambda row: (row["task"], row["metric"], row["model"]))
    ):
        block = list(group)
        label = measure_name(block[0]["task"], block[0]["metric"])
        unit = metric(block[0]["metric"]).unit
        label += f" ({unit})" if unit else ""
        console.print(f"[bold]{escape(label)}[/] · {escape(block[0]['model'])}", highlight=False)
        console.print(_table(block, width, header=number == 0))


def _table(rows: list[dict[str, Any]], width: int, header: bool) -> "Table":
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, show_header=header, header_style="dim", padding=(0, 1))
    table.add_column("collection", width=width, overflow="fold")
    for name, size in (("mean", 7), ("interval", 18), ("scored", 14), ("skipped", 7)):
        table.add_column(name, justify="right", no_wrap=True, min_width=size)
    table.add_column("failed", justify="right", no_wrap=True, min_width=6)
    measure = metric(rows[0]["metric"])
    for row in rows:
        ends = [measure.show(row[end]) for end in ("ci_low", "ci_high")]
        table.add_row(
            escape(row["collection"]),
            measure.show(row["mean"]),
            " to ".join(ends) if row["ci_low"] is not None else "–",
            f"{row['n_scored']} of {row['n_expected']}",
            str(row["n_skipped"] or "–"),
            f"[red]{row['n_failed']}[/]" if row["n_failed"] else "–",
        )
    return table
