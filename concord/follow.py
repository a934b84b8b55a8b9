"""How far a run is, from what its jobs leave in the results folder, on whichever machine they run.

A shard or block is done when its table is there and no older than what it is made from. Of one
that is being worked on, the job's log says how many clips are done.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from concord.cost_table import LAST_STAGE
from concord.files import is_current
from concord.layout import Layout
from concord.models.base import COMPANIONS
from concord.progress import last_said
from concord.run_state import marks
from concord.tables import CLIPS, count_rows, read_table


@dataclass(frozen=True)
class Stage:
    """Jobs of a stage, done of all; clips likewise (None where it has none); and how fast.

    `rate` is of clips that running jobs really process, a second; None while none says so.
    """

    name: str
    jobs_done: int = 0
    jobs: int = 0
    running: int = 0
    clips_done: int | None = None
    clips: int | None = None
    rate: float | None = None

    @property
    def left_s(self) -> float | None:
        """Seconds until its clips are done at this rate; None if it is not known."""
        if not self.rate or self.clips is None or self.clips_done is None:
            return None
        return (self.clips - self.clips_done) / self.rate

    def plus(self, part: "Part", done: int, running: bool, rate: float | None) -> "Stage":
        """With one more part, of which so many clips are done."""
        counted = part.clips is not None
        return replace(
            self,
            jobs=self.jobs + 1,
            jobs_done=self.jobs_done + (part.is_done and not running),
            running=self.running + running,
            clips=(self.clips or 0) + (part.clips or 0) if counted else self.clips,
            clips_done=(self.clips_done or 0) + done if counted else self.clips_done,
            rate=(self.rate or 0.0) + rate if rate else self.rate,
        )


@dataclass(frozen=True)
class Part:
    """What one job makes: its stage, its output, what that is made from, and its clips."""

    stage: str
    output: Path
    inputs: Sequence[Path] = field(default=())
    clips: int | None = None

    @cached_property
    def is_done(self) -> bool:
        return is_current(self.output, self.inputs)


def stages(layout: Layout) -> list[Stage]:
    """Every stage of a configuration whose clips are planned, in the order of the work.

    Raises UserError if nothing is planned yet.
    """
    at_work = {mark["outputs"][0]: mark for mark in running(layout.results)}
    found: dict[str, Stage] = {}
    for part in _parts(layout):
        stage = found.get(part.stage, Stage(part.stage))
        mark = at_work.get(str(part.output))
        done, rate = (part.clips or 0) if part.is_done else 0, None
        if mark and part.clips and (said := last_said(Path(mark["log"]))):
            done = max(0, min(part.clips, part.clips - said.total + said.done))
            rate = said.rate
        found[part.stage] = stage.plus(part, done, mark is not None, rate)
    return list(found.values())


def running(results: Path) -> Iterator[dict[str, Any]]:
    """The marks of jobs that run, or that were killed in the last run."""
    for path in marks(results).glob("*.json"):
        with suppress(OSError, ValueError):  # ended meanwhile
            yield json.loads(path.read_text("utf-8"))


def _parts(layout: Layout) -> Iterator[Part]:
    tasks = layout.config.tasks
    for collection in layout.config.collections:
        plans, media = layout.plans(collection), layout.media(collection)
        sizes = _sizes(layout, collection)
        for plan, table in zip(plans, media, strict=True):
            yield Part("media", table, [plan], sizes.get(plan.stem, 0))
        shards = {plan.stem: table for plan, table in zip(plans, media, strict=True)}
        if "synchrony" in tasks:
            for table in layout.synchrony(collection):
                yield _of_shards("synchrony", table, shards, sizes)
        for model, modality in layout.embedded(collection):
            stage = f"embeddings/{model}/{modality}"
            tables = layout.embeddings(model, modality, collection)
            if modality == "text":
                continue
            beside = {path.stem: path for path in layout.companions(collection, modality)}
            inputs = beside if modality in COMPANIONS else shards
            for table in tables:
                yield _of_shards(stage, table, inputs, sizes)
        for mark in layout.tree_marks(collection):
            yield Part("tree", mark)
    yield from _text_parts(layout)
    yield from _last_parts(layout)


def _text_parts(layout: Layout) -> Iterator[Part]:
    seen: set[Path] = set()
    for collection in layout.config.collections:
        for model, modality in layout.embedded(collection):
            if modality != "text":
                continue
            folder = layout.results / "prompts" / layout.source("text", collection) / "plan"
            plans = {path.stem: path for path in folder.glob("*.parquet")}
            sizes = {name: count_rows(path) for name, path in plans.items()}
            for table in layout.embeddings(model, "text", collection):
                if table not in seen:
                    seen.add(table)
                    yield _of_shards(f"embeddings/{model}/text", table, plans, sizes)


def _last_parts(layout: Layout) -> Iterator[Part]:
    """What is no work on single clips."""
    files = {
        "scores": [
            path
            for name in layout.config.collections
            for path in (
                *layout.quality(name),
                *(layout.score(*s, name) for s in layout.scored(name)),
            )
        ],
        "features": [
            *(folder / "probes.parquet" for folder in layout.probed()),
            *layout.projections(),
        ],
        LAST_STAGE: [
            layout.results / "tables" / "summary.parquet",
            layout.results / "exports" / "summary.json",
            layout.results / "report" / "index.html",
        ],
    }
    for stage, outputs in files.items():
        for output in dict.fromkeys(outputs):
            yield Part(stage, output)


def _of_shards(stage: str, table: Path, inputs: dict[str, Path], sizes: dict[str, int]) -> Part:
    """The part that a table of one shard, or of a block as `0000-0009`, is made by."""
    first, _, last = table.stem.partition("-")
    numbers = range(int(first), int(last or first) + 1)
    inside = [name for number in numbers if (name := f"{number:04d}") in inputs]
    return Part(stage, table, [inputs[n] for n in inside], sum(sizes.get(n, 0) for n in inside))


def _sizes(layout: Layout, collection: str) -> dict[str, int]:
    """How many clips each shard holds."""
    counts = pc.value_counts(read_table(layout.clips(collection), CLIPS, ["shard"])["shard"])
    return {row["values"]: row["counts"] for row in counts.to_pylist() if row["values"]}
