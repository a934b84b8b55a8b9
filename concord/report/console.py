"""The compact table at the end of a run."""

from pathlib import Path

import pyarrow.parquet as pq

from concord.report.metrics import measure_name, metric


def print_summary(tables: Path) -> None:
    """Print the scores of a tables folder: a row a task, model, metric and collection."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    rows = pq.read_table(tables / "summary.parquet").to_pylist()
    limited = any(row["limited"] for row in rows)
    table = Table(box=None, pad_edge=False, header_style="bold", title_justify="left")
    for name in ("measure", "model", "collection"):
        table.add_column(name, overflow="fold", min_width=len(name))
    for name in ("mean", "interval", "scored", "skipped", "failed"):
        table.add_column(name, justify="right", no_wrap=True)
    before = None
    for row in rows:
        if row["task"] == "retrieval" and not row["metric"].endswith("recall_at_1"):
            continue
        measure = metric(row["metric"])
        head = (row["task"], row["metric"], row["model"])
        if before not in (None, head):
            table.add_section()
        label = measure_name(row["task"], row["metric"])
        ends = [measure.show(row[end]) for end in ("ci_low", "ci_high")]
        table.add_row(
            escape(label) if head != before else "",
            escape(row["model"]) if head != before else "",
            escape(row["collection"]),
            measure.show(row["mean"]),
            " to ".join(ends) if row["ci_low"] is not None else "–",
            f"{row['n_scored']} of {row['n_expected']}",
            str(row["n_skipped"] or "–"),
            f"[red]{row['n_failed']}[/]" if row["n_failed"] else "–",
        )
        before = head
    console = Console()
    if limited:
        console.print("[yellow]A trial run: only the first clips of each collection were used.[/]")
    console.print(table)
