"""The best and the worst clips of every measure, to watch with sound."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from concord.config import Config
from concord.report import media
from concord.report.metrics import Metric, measure_name, metric
from concord.report.missing import records
from concord.report.results import Results
from concord.scores.tasks import WORDS, task_info
from concord.tables import COMPANION_FILES, read_any, read_table

Row = dict[str, Any]
Key = tuple[str, str]
WORKERS = 4
SEEN = ("image", "depth", "thermal")  # of the files beside the clips


@dataclass(frozen=True)
class Exhibit:
    """A clip with its prompts, the value it is shown for, and all its scores."""

    row: Row
    value: float
    scores: list[tuple[str, Metric, float]]

    @property
    def key(self) -> Key:
        """Collection and clip."""
        return _key(self.row)


@dataclass(frozen=True)
class Shelf:
    """Best and worst clips of one measure: a list of (collection, best, worst)."""

    task: str
    model: str
    metric: Metric
    rows: list[tuple[str, list[Exhibit], list[Exhibit]]]

    @property
    def exhibits(self) -> list[Exhibit]:
        """All of them."""
        return [exhibit for _, best, worst in self.rows for exhibit in (*best, *worst)]


class Gallery:
    """A shelf for the first measure of every task and model that has a better end."""

    def __init__(self, config: Config, tables: Path, folder: Path) -> None:
        self.config = config
        clips = read_any(tables / "clips.parquet").to_pandas()
        self.measures = [name for name in clips if name.count("/") == 2]
        chosen: dict[tuple[str, str], str] = {}
        for name in self.measures if config.report.clips else []:
            task, model, base = name.split("/")
            if metric(base).better:
                chosen.setdefault((task, model), name)
        found = [self._shelf(clips, name) for name in chosen.values()]
        self.shelves = [shelf for shelf in found if shelf.rows]
        self.clips = self._place(tables, folder)

    def _shelf(self, clips: pd.DataFrame, name: str) -> Shelf:
        task, model, base = name.split("/")
        measure = metric(base)
        rows = []
        for collection in self.config.collections:
            scored = clips[clips["collection"] == collection].dropna(subset=name)
            ordered = scored.sort_values([name, "clip_id"], ascending=measure.better == "lower")
            count = min(self.config.report.clips, max(len(ordered) // 2, 1))
            best, rest = ordered.iloc[:count], ordered.iloc[count:]
            ends = self._exhibits(best, name), self._exhibits(rest.iloc[::-1][:count], name)
            if ends[0]:
                rows.append((collection, *ends))
        return Shelf(task_info(task).title, model, measure, rows)

    def _exhibits(self, rows: pd.DataFrame, name: str) -> list[Exhibit]:
        return [Exhibit(row, row[name], self._scores(row)) for row in records(rows)]

    def _scores(self, row: Row) -> list[tuple[str, Metric, float]]:
        found = []
        for name in self.measures:
            if row[name] is not None:
                task, model, base = name.split("/")
                label = measure_name(task, base)
                if len(self.config.models) > 1 and model in self.config.models:
                    label += f", {model}"
                found.append((label, metric(base), row[name]))
        return found

    def _place(self, tables: Path, folder: Path) -> dict[Key, list[tuple[str, media.Clip]]]:
        """Put every clip that is shown into `folder`, and remove what earlier pages showed."""
        wanted = {exhibit.key for shelf in self.shelves for exhibit in shelf.exhibits}
        rows = read_any(tables / "media.parquet").to_pandas()
        keys = pd.MultiIndex.from_frame(rows[["collection", "clip_id"]])
        clips = [row for row in records(rows[keys.isin(list(wanted))]) if row["proxy"]]
        pictures = [row for row in self._companions() if _key(row) in wanted]
        with ThreadPoolExecutor(WORKERS) as pool:
            placed = [
                *pool.map(lambda row: media.place(self.config, row, folder), clips),
                *pool.map(lambda row: media.place_picture(self.config, row, folder), pictures),
            ]
        used = {Path(name).name for clip in placed for name in (clip.file, clip.poster) if name}
        folder.mkdir(parents=True, exist_ok=True)
        for path in folder.iterdir():
            if path.name not in used:
                path.unlink()
        found: dict[Key, list[tuple[str, media.Clip]]] = {key: [] for key in wanted}
        for row, clip in zip([*clips, *pictures], placed, strict=True):
            found[_key(row)].append((WORDS[row.get("modality", "video")], clip))
        return found

    def _companions(self) -> Iterator[Row]:
        """Rows of COMPANION_FILES, with their collection, of files that are pictures."""
        layout = Results(self.config).layout
        for collection in self.config.collections:
            for path in layout.beside(collection):
                for row in read_table(path, COMPANION_FILES).to_pylist():
                    array = str(row["path"]).endswith(".npy")
                    if row["status"] == "ok" and row["modality"] in SEEN and not array:
                        yield row | {"collection": collection}


def _key(row: Row) -> Key:
    return row["collection"], row["clip_id"]
