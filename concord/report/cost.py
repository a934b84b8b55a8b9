"""What jobs cost: gathered from their notes and from Snakemake's benchmarks when a run ends.

A job that is not planned any more is left out; one that failed or was killed counts in the run it
did so in, and not in the next.
"""

import csv
import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from concord.cost_table import COST, WORKFLOW, stage_of
from concord.errors import UserError
from concord.layout import Layout
from concord.report.spreadsheet import write_csv
from concord.run_state import benchmarks, end, last_run
from concord.tables import write_table
from concord.usage import MB, host_kind, usage

Row = dict[str, Any]

ROOMS = ("media", "embeddings", "synchrony", "scores", "quality", "probes", "projections", "tree")
"""Folders of a results folder whose files are known to the layout: what is not there is stale."""


def record(layout: Layout, *, success: bool, cores: int | None) -> None:
    """Write tables/cost.parquet and .csv and print one line; never raises.

    For the main process, at the end of a run. Whatever is wrong is printed as a note.
    """
    try:
        end(layout.results, success=success)
        run = last_run(layout.results)
        name = run.name if run else None
        notes = list(_notes(layout, name))
        notes.append(_run_note(notes, name, success, cores))
        rows = [_row(note, name) for note in notes]
        rows.sort(key=lambda row: tuple(str(row[column] or "") for column in COST.names[:7]))
        path = layout.results / "tables" / "cost.parquet"
        write_table(path, COST, rows)
        write_csv(path)
        print(line(rows), file=sys.stderr)
    except Exception as error:
        print(f"note: what the run cost could not be written ({error!r})", file=sys.stderr)


def line(rows: list[Row]) -> str:
    """What the last run cost, and which stages went through the fewest clips a second."""
    last = [row for row in rows if row["run"] == "last"]
    jobs = [row for row in last if row["rule"] != WORKFLOW]
    wall = next((row["wall_s"] for row in last if row["rule"] == WORKFLOW), 0.0)
    core_s, gpu_s = (sum(row[name] or 0 for row in last) for name in ("cpu_s", "gpu_s"))
    rates = sorted(
        (clips / seconds, stage)
        for stage, part in by_stage(jobs).items()
        if (clips := sum(row["processed"] or 0 for row in part))
        and (seconds := sum(row["wall_s"] or 0 for row in part if row["processed"]))
    )
    text = f"cost: {len(jobs)} jobs, {words(wall)}, {core_s / 3600:.3f} core-hours"
    text += f", {gpu_s / 3600:.3f} GPU-hours" if gpu_s else ""
    slow = ", ".join(f"{stage} {rate:.1f}" for rate, stage in rates[:3])
    return text + (f"; slowest, clips a second in one job: {slow}" if slow else "")


def by_stage(rows: list[Row]) -> dict[str, list[Row]]:
    """The rows of each stage, in the order of the stages' first rows."""
    stages: dict[str, list[Row]] = {}
    for row in rows:
        stages.setdefault(row["stage"], []).append(row)
    return stages


def words(seconds: float) -> str:
    """A duration in words: `45 s`, `3 min 5 s`, `2 h 10 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if whole < 10 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def _notes(layout: Layout, run: str | None) -> Iterator[Row]:
    """The notes of all jobs that still mean something, and the marks of those that were killed."""
    folder, planned = benchmarks(layout.results), _planned(layout)
    for place, _, names in os.walk(folder):
        for name in names:
            if not name.endswith(".json") or name.startswith("."):
                continue
            path = Path(place, name)
            with suppress(OSError, ValueError):  # gone, or cut off by a full disk
                note: Row = json.loads(path.read_text("utf-8"))
                note.setdefault("status", "killed")
                means = note["status"] == "ok" or note["run"] == run
                if means and _is_planned(note, layout.results, planned):
                    yield _with_benchmark(note, path)


def _planned(layout: Layout) -> set[Path]:
    """Every file of ROOMS that the configuration asks for."""
    files: set[Path] = set()
    with suppress(UserError):  # no plan yet: the run ended before
        files.update(layout.everything(), layout.projections())
        for collection in layout.config.collections:
            files.update(layout.tree_marks(collection))
    return {path.resolve() for path in files}


def _is_planned(note: Row, results: Path, planned: set[Path]) -> bool:
    path = Path(note["outputs"][0]).resolve()
    root = results.resolve()
    if not path.is_relative_to(root) or path.relative_to(root).parts[0] not in ROOMS:
        return True
    # Marks of what moves or drops proxies lie beside the media tables.
    beside = path.name.startswith((".repacked.", ".dropped"))
    return path in planned or beside


def _with_benchmark(note: Row, path: Path) -> Row:
    """The note with what Snakemake saw of the same execution, if it saw anything."""
    table = path.with_suffix(".tsv")
    if note["status"] != "ok" or not table.exists():
        return note
    if table.stat().st_mtime < path.stat().st_mtime - 1:
        return note  # of an execution before
    with table.open(encoding="utf-8", newline="") as file:
        seen = next(csv.DictReader(file, delimiter="\t"), {})
    wall_s, cpu_s, memory = (_number(seen.get(name)) for name in ("s", "cpu_time", "max_pss"))
    # Each misses something: the note a process's own end, samples what is short.
    return note | {
        "wall_s": wall_s or note["wall_s"],
        "cpu_s": max(note["cpu_s"], cpu_s or 0.0),
        "memory_mb": max(
            filter(None, [note["memory_mb"], memory and memory * 2**20 / MB]), default=None
        ),
    }


def _number(text: str | None) -> float | None:
    """A measurement; None for NA, - and for 0, which stand for what was too short to be seen."""
    try:
        return float(text or "") or None
    except ValueError:
        return None


def _run_note(notes: list[Row], run: str | None, success: bool, cores: int | None) -> Row:
    """The note of the run: its time, and what its process computed beside the jobs it started.

    Jobs of a cluster are not its children, on whichever machine they run.
    """
    used = usage()
    jobs = sum(n.get("cpu_s", 0) for n in notes if n["run"] == run and n.get("child"))
    return {
        "rule": WORKFLOW,
        "wildcards": {},
        "threads": cores,
        "gpus": 0,
        "outputs": [],
        "host": host_kind(),
        "run": run,
        "ended": time.time(),
        "status": "ok" if success else "failed",
        "wall_s": used.wall_s,
        "cpu_s": max(used.cpu_s - jobs, 0.0),
        "gpu_s": 0.0,
        "memory_mb": used.memory_mb,
        "read_bytes": None,
        "written_bytes": None,
    }


def _row(note: Row, run: str | None) -> Row:
    wildcards, work, ended = note["wildcards"], note.get("work", {}), note.get("ended")
    first = (wildcards.get(name) for name in ("collection", "prompt_set", "source", "scope"))
    copied = (
        *("rule", "status", "wall_s", "cpu_s", "gpu_s", "memory_mb", "gpu_memory_mb"),
        *("read_bytes", "written_bytes", "threads", "gpus", "device", "host"),
    )
    return {name: note.get(name) for name in copied} | {
        "stage": stage_of(note["rule"], wildcards),
        "task": wildcards.get("task"),
        "model": wildcards.get("model"),
        "modality": wildcards.get("modality"),
        "source": next(filter(None, first), None),
        "part": wildcards.get("block", wildcards.get("shard")),
        "ended": datetime.fromtimestamp(ended, UTC) if ended else None,
        "run": "last" if note["run"] == run else "earlier",
        **{name: work.get(name) for name in ("processed", "reused")},
        **{name: work.get(name) for name in ("start_s", "waited_s", "computed_s")},
    }
