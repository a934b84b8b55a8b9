"""What the workflow itself costs at 1,000 to 1,000,000 clips, and on paper at ten million.

Makes real empty files in folders and plans them. Then it writes the tables that the jobs on clips
would leave (small ones, a row a clip, by the library), lets Snakemake record them, and runs
everything behind them: scores, tables, exports, page. Then it plans again, as it is and with one
file more. So all of the workflow is measured but what a clip itself costs. The baseline is a bare
walk over the same files. Prints a table and one JSON object on the last line.

    python -m benchmarks.scale [--clips 1000 10000 100000] [--run-up-to 100000] [--folder FOLDER]
"""

import argparse
import math
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.workflow_runs import Folder, Run, finish, say, seconds_by_rule, table
from concord.config import Config
from concord.layout import Layout
from concord.load import load
from concord.media.protocol import media_protocol
from concord.models import catalogue
from concord.protocol import protocol_id
from concord.scores.synchrony import synchrony_protocol
from concord.tables import EMBEDDINGS, MEDIA, PLAN, SYNCHRONY, Table, read_table, write_table

GOAL_S, GOAL_MB = 60, 2000
"""Of a plan of any size that is asked for."""
FLAT = 1.5
"""A further clip may cost so many times what one cost before, where there were fewer."""
CLIPS_A_FOLDER = 1000
DIM = 16
PAPER = 10_000_000
TASKS = ["av_consistency", "synchrony"]
ON_CLIPS = ("transcode_shard", "embed_media", "measure_synchrony")
CONFIG: dict[str, Any] = {
    "collections": {"many": "clips"},
    "models": ["mini"],
    "tasks": TASKS,
    "report": {"clips": 0},
}


@dataclass
class Size:
    """What was measured at one number of clips."""

    clips: int
    walk_s: float
    runs: dict[str, Run] = field(default_factory=dict)
    rules_s: dict[str, float] = field(default_factory=dict)

    @property
    def plan_s(self) -> float:
        """Seconds of the slowest plan."""
        return max(run.wall_s for name, run in self.runs.items() if name != "behind")

    @property
    def plan_mb(self) -> int:
        """Memory of the largest plan."""
        return max(run.peak_mb for name, run in self.runs.items() if name != "behind")

    @property
    def behind_cpu_s(self) -> float | None:
        """Processor seconds of all jobs behind those on clips; None if they did not run."""
        return self.runs["behind"].cpu_s if "behind" in self.runs else None


def main() -> None:
    """Run the benchmark; the exit status is 1 if a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, nargs="+", default=[1000, 10_000, 100_000])
    parser.add_argument("--run-up-to", type=int, default=100_000, help="more clips: plans alone")
    parser.add_argument("--folder", type=Path, help="where to work; default: a temporary folder")
    options = parser.parse_args()
    sizes = []
    for clips in sorted(options.clips):
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            sizes.append(measure(Path(folder), clips, clips <= options.run_up_to))
        say(_told(sizes))
    finish(result_of(sizes))


def measure(path: Path, clips: int, run: bool) -> Size:
    """All runs at one number of clips, in an empty folder."""
    folder = Folder(path, CONFIG)
    make_clips(path / "clips", clips)
    size = Size(clips, bare_walk(path / "clips"))
    parts = math.ceil(clips / 1000)
    size.runs["first"] = _checked(folder.dry_run(), parts)
    if run:
        record(folder)
        size.runs["behind"] = folder.run()
        found = seconds_by_rule(path / "results")
        size.rules_s = {rule: s for rule, s in found.items() if rule not in ON_CLIPS}
        size.runs["unchanged"] = _checked(folder.dry_run(), 0)
    (path / "clips/0000/added.mp4").touch()
    size.runs["one added"] = _checked(folder.dry_run(), 1 if run else parts + (clips % 1000 == 0))
    return size


def make_clips(folder: Path, clips: int) -> None:
    """Empty files, a thousand a folder."""
    for number in range(clips):
        parent = folder / f"{number // CLIPS_A_FOLDER:04d}"
        if number % CLIPS_A_FOLDER == 0:
            parent.mkdir(parents=True)
        os.close(os.open(f"{parent}/clip_{number:07d}.mp4", os.O_CREAT | os.O_WRONLY))


def bare_walk(folder: Path) -> float:
    """Seconds to list every file and ask for its size and time."""
    start = time.perf_counter()
    for parent in os.scandir(folder):
        for entry in os.scandir(parent):
            entry.stat()
    return round(time.perf_counter() - start, 2)


def _checked(run: Run, shards_to_do: int) -> Run:
    """The run; raises SystemExit if it lists other jobs on clips than it has to."""
    found = run.jobs.get("transcode_shard", 0), run.jobs.get("measure_synchrony", 0)
    if found != (shards_to_do, shards_to_do) or bool(run.jobs) != bool(shards_to_do):
        raise SystemExit(f"expected the jobs of {shards_to_do} shards, found {run.jobs}")
    return run


def record(folder: Folder) -> None:
    """The tables of the jobs on clips, and Snakemake's records of them."""
    before = os.getcwd()  # noqa: PTH109
    os.chdir(folder.path)
    try:
        write_outputs(load(Path("config.yaml")))
    finally:
        os.chdir(before)
    folder.run("--touch", "--quiet", "all", "--until", *ON_CLIPS)


def write_outputs(config: Config) -> None:
    """A row a clip in the tables of media, embeddings and synchrony: everything is ok."""
    layout = Layout(config, {name: catalogue.spec(config, name) for name in config.models})
    rng = np.random.default_rng(0)
    protocol = media_protocol(config, "many")
    plans = [read_table(path, PLAN) for path in layout.plans("many")]
    for clips, media, synchrony in zip(
        plans, layout.media("many"), layout.synchrony("many"), strict=True
    ):
        write_table(media, MEDIA, _measured(clips), **_note(protocol))
        offsets = rng.normal(0, 40, len(clips))
        note = _note(synchrony_protocol())
        write_table(synchrony, SYNCHRONY, _synchronous(clips, offsets), **note)
    for modality in ("video", "audio"):
        files = layout.embeddings("mini", modality, "many")
        spec = layout.specs["mini"].protocol(modality)
        for file, parts in zip(files, _divided(plans, len(files)), strict=True):
            clips = pa.concat_tables(parts)
            vectors = rng.standard_normal((len(clips), DIM), dtype=np.float32)
            note = {**_note(spec), "dim": DIM, "model": "mini", "modality": modality}
            write_table(file, EMBEDDINGS, _embedded(clips, vectors), **note)


def _note(protocol: dict[str, Any]) -> dict[str, Any]:
    return {"protocol": protocol, "protocol_id": protocol_id(protocol)}


def _divided(plans: Sequence[pa.Table], files: int) -> list[list[pa.Table]]:
    """Consecutive plans for each of so many files."""
    step = math.ceil(len(plans) / files)
    return [list(plans[at : at + step]) for at in range(0, len(plans), step)]


def _filled(declared: Table, rows: int, **values: Any) -> pa.Table:
    """A table with some columns; a single value stands in every row, others are null."""
    columns = []
    for column in declared.schema:
        value = values.get(column.name)
        if isinstance(value, pa.Array | pa.ChunkedArray):
            columns.append(value.cast(column.type))
        else:
            columns.append(pa.repeat(pa.scalar(value, column.type), rows))
    return pa.table(columns, schema=declared.schema)


def _measured(clips: pa.Table) -> pa.Table:
    ok = dict.fromkeys(("status", "video_status", "audio_status"), "ok")
    names = {"proxy": "a.mp4", "wave": "a.wav"}
    facts = {"duration_s": 2.0, "frames": 40, "mean_volume_db": -20.0, "fps": 25.0}
    known = {name: clips[name] for name in ("clip_id", "path", "key")}
    return _filled(MEDIA, len(clips), **known, source_key=clips["key"], **ok, **names, **facts)


def _synchronous(clips: pa.Table, offsets: np.ndarray) -> pa.Table:
    facts = {"status": "ok", "onsets": 3, "peaks": 3, "av_align": 0.5, "offset_confidence": 2.0}
    known = {name: clips[name] for name in ("clip_id", "key")}
    return _filled(SYNCHRONY, len(clips), **known, **facts, offset_ms=pa.array(offsets))


def _embedded(clips: pa.Table, vectors: np.ndarray) -> pa.Table:
    ends = np.arange(0, vectors.size + 1, DIM, dtype=np.int32)
    embedding = pa.ListArray.from_arrays(ends, vectors.ravel())
    known = {"id": clips["clip_id"], "key": clips["key"], "status": "ok", "views": 8}
    return _filled(EMBEDDINGS, len(clips), **known, embedding=embedding)


def series(sizes: Sequence[Size]) -> dict[str, list[tuple[int, float]]]:
    """What grows with the number of clips, as (clips, value), by name."""
    found: dict[str, list[tuple[int, float]]] = {"peak_mb": [(s.clips, s.plan_mb) for s in sizes]}
    found["jobs"] = [(s.clips, s.runs["first"].total) for s in sizes]
    for name in ("first", "unchanged", "one added"):
        made = [s for s in sizes if name in s.runs]
        points = [(s.clips, s.runs[name].cpu_s) for s in made]
        found[f"plan_cpu_s_{name.replace(' ', '_')}"] = points
    ran = [s for s in sizes if s.behind_cpu_s is not None]
    found["behind_cpu_s"] = [(s.clips, s.behind_cpu_s or 0.0) for s in ran]
    found["behind_peak_mb"] = [(s.clips, s.runs["behind"].peak_mb) for s in ran]
    return {name: points for name, points in found.items() if points}


def growth(points: Sequence[tuple[int, float]]) -> float | None:
    """What a further clip costs at the largest size, over what one cost up to the size before it.

    A fixed cost and one in proportion give at most 1, a square gives 11 for ten times the clips.
    """
    if len(points) < 2:
        return None
    (fewer, before), (more, after) = points[-2:]
    return (after - before) / (more - fewer) / (before / fewer)


def on_paper(points: Sequence[tuple[int, float]], clips: int) -> float:
    """The line through the two largest sizes, at a number of clips."""
    if len(points) < 2:
        return points[0][1] * clips / points[0][0]
    (fewer, before), (more, after) = points[-2:]
    return after + (after - before) / (more - fewer) * (clips - more)


def result_of(sizes: Sequence[Size]) -> dict[str, Any]:
    """The JSON of the benchmark."""
    grown = series(sizes)
    growths = {name: ratio for name, points in grown.items() if (ratio := growth(points))}
    slowest, largest = max(s.plan_s for s in sizes), max(s.plan_mb for s in sizes)
    last = sizes[-1]
    flat = max(growths.values(), default=0.0) <= FLAT
    return {
        "name": "scale",
        "value": round(slowest, 2),
        "unit": "s",
        "goal": GOAL_S,
        "met": slowest < GOAL_S and largest < GOAL_MB and flat,
        "clips": last.clips,
        "peak_mb": largest,
        "goal_mb": GOAL_MB,
        "growth": {name: round(ratio, 3) for name, ratio in growths.items()},
        "goal_growth": FLAT,
        "on_paper": {name: round(on_paper(grown[name], PAPER), 1) for name in grown},
        "on_paper_clips": PAPER,
        "baseline_walk_s": last.walk_s,
        "sizes": {
            size.clips: {name: run.facts() for name, run in size.runs.items()}
            | {"behind_rules_s": size.rules_s}
            for size in sizes
        },
    }


def _told(sizes: Sequence[Size]) -> str:
    """A table: a row a number of clips, and the paper's."""
    grown = series(sizes)
    rows: list[list[object]] = []
    for size in sizes:
        known = {name: dict(points).get(size.clips) for name, points in grown.items()}
        rows.append(
            [f"{size.clips:,}", *("" if v is None else f"{v:,.1f}" for v in known.values())]
        )
    if len(sizes) > 1:
        paper = [f"{on_paper(points, PAPER):,.0f}" for points in grown.values()]
        ratios = [growth(points) for points in grown.values()]
        rows.append([f"{PAPER:,} on paper", *paper])
        rows.append(["growth", *("" if ratio is None else f"{ratio:.2f}" for ratio in ratios)])
    return table(["clips", *grown], rows)


if __name__ == "__main__":
    main()
