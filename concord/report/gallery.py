"""The best and the worst clips of every measure, to watch with sound."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq

from concord.config import Config
from concord.report import media
from concord.report.metrics import TASKS, Metric, metric

Row = dict[str, Any]


@dataclass(frozen=True)
class Exhibit:
    """A clip with its prompts and all its scores."""

    row: Row
    clip: media.Clip
    value: float
    scores: list[tuple[str, Metric, float]]


@dataclass(frozen=True)
class Shelf:
    """Best and worst clips of one measure: a list of (collection, best, worst)."""

    task: str
    model: str
    metric: Metric
    rows: list[tuple[str, list[Exhibit], list[Exhibit]]]


class _Gallery:
    """The wide table of clips, their media rows, and the clips already placed."""

    def __init__(self, config: Config, tables: Path, folder: Path) -> None:
        self.config, self.folder = config, folder
        self.clips = pq.read_table(tables / "clips.parquet").to_pandas()
        self.measures = [name for name in self.clips if name.count("/") == 2]
        rows = pq.read_table(tables / "media.parquet").to_pandas()
        self.media = rows.set_index(["collection", "clip_id"])

    def shelf(self, name: str) -> Shelf:
        """Best and worst of a measure, named TASK/MODEL/METRIC."""
        task, model, base = name.split("/")
        measure = metric(base)
        rows = []
        for collection in self.config.collections:
            scored = self.clips[self.clips["collection"] == collection].dropna(subset=name)
            ordered = scored.sort_values([name, "clip_id"], ascending=measure.better == "lower")
            count = min(self.config.report.clips, len(ordered) // 2 or len(ordered))
            best = ordered.head(count)
            worst = ordered.iloc[::-1].head(count if len(ordered) > 1 else 0)
            if count:
                rows.append((collection, *(self._exhibits(part, name) for part in (best, worst))))
        return Shelf(TASKS[task], model, measure, rows)

    def _exhibits(self, rows: pd.DataFrame, name: str) -> list[Exhibit]:
        return [
            Exhibit(row, self._place(row), row[name], self._scores(row))
            for row in rows.astype(object).where(rows.notna(), None).to_dict("records")
        ]

    def _scores(self, row: Row) -> list[tuple[str, Metric, float]]:
        found = []
        for name in self.measures:
            if row[name] is not None:
                task, model, base = name.split("/")
                label = TASKS[task] + (f", {model}" if len(self.config.models) > 1 else "")
                found.append((label, metric(base), row[name]))
        return found

    def _place(self, row: Row) -> media.Clip:
        key = (row["collection"], row["clip_id"])
        if key not in self.media.index:
            return media.Clip(None, None)
        found = self.media.loc[key]
        content = {**found.where(found.notna(), None), "collection": key[0], "clip_id": key[1]}
        return media.place(self.config, content, self.folder)


def shelves(config: Config, tables: Path, folder: Path) -> list[Shelf]:
    """A shelf for the first measure of every task and model; clips are placed in `folder`.

    Measures of which neither end is better have none. Files of earlier pages are removed.
    """
    if not config.report.clips:
        return []
    gallery = _Gallery(config, tables, folder)
    first: dict[tuple[str, str], str] = {}
    for name in gallery.measures:
        task, model, base = name.split("/")
        if metric(base).better:
            first.setdefault((task, model), name)
    found = [gallery.shelf(name) for name in first.values()]
    _sweep(folder, found)
    return [shelf for shelf in found if shelf.rows]


def _sweep(folder: Path, shelves: list[Shelf]) -> None:
    used = {
        Path(name).name
        for shelf in shelves
        for _, best, worst in shelf.rows
        for exhibit in (*best, *worst)
        for name in (exhibit.clip.file, exhibit.clip.poster)
        if name
    }
    for path in folder.glob("*") if folder.is_dir() else ():
        if path.name not in used:
            path.unlink()
