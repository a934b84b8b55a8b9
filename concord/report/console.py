"""The compact table at the end of a run."""

from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from concord.report.checks import Checks
from concord.report.metrics import PROBE_TITLES, measure_name, metric
from concord.scores.sources import ALL_COLLECTIONS
from concord.scores.tasks import WORDS
from concord.tables import read_any

if TYPE_CHECKING:
    from rich.table import Table

Row = dict[str, Any]


def print_summary(tables: Path) -> None:
    """Print the scores of a tables folder: a block a task, model and metric, a row a collection.

    What probes tell follows likewise, and what is wrong with the embeddings in one line.
    """
    from rich.console import Console
    from rich.markup import escape

    rows = read_any(tables / "summary.parquet").to_pylist()
    shown = [r for r in rows if r["task"] != "retrieval" or r["metric"].endswith("recall_at_1")]
    shown = [row | {"label": _label(row)} for row in shown] + _probes(tables)
    console = Console()
    if any(row["limited"] for row in rows):
        console.print("[yellow]A trial run: only the clips of the first prompts were used.[/]")
    width = max([len("collection"), *(len(row["collection"]) for row in shown)])
    for number, ((label, model), group) in enumerate(
        groupby(shown, lambda row: (row["label"], row["model"]))
    ):
        console.print(f"[bold]{escape(label)}[/] · {escape(model)}", highlight=False)
        console.print(_table(list(group), width, header=number == 0))
    if (checks := Checks(read_any(tables / "quality.parquet").to_pylist())).rows:
        colour = "red" if checks.failed else "yellow" if checks.noticed else "dim"
        console.print(f"[{colour}]{checks.line}[/]", highlight=False)


def _label(row: Row) -> str:
    unit = metric(row["metric"]).unit
    return measure_name(row["task"], row["metric"]) + (f" ({unit})" if unit else "")


def _probes(tables: Path) -> list[Row]:
    """The accuracies of the probes as rows of a summary, those of one classifier together."""
    rows = read_any(tables / "probes.parquet").to_pylist()
    found = [row for row in rows if row["fold"] is None and row["metric"] == "accuracy"]
    found.sort(key=lambda row: (row["model"], row["modality"], row["probe"]))
    return [
        row
        | {
            "label": f"{WORDS[row['modality']].capitalize()} features: accuracy of "
            f"{PROBE_TITLES.get(row['probe'], row['probe'])}",
            "collection": "all" if row["scope"] == ALL_COLLECTIONS else row["scope"],
            "mean": row["value"],
            "n_scored": row["n"],
        }
        for row in found
    ]


def _table(rows: list[Row], width: int, header: bool) -> "Table":
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
