"""The page: results/report/index.html, self-contained but for the clips beside it."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from concord.config import Config
from concord.files import write_text
from concord.report import feature_section, figures, missing
from concord.report.checks import Checks, examples
from concord.report.gallery import Gallery
from concord.report.metrics import Metric, metric
from concord.report.verdicts import Duel, Verdict, duels, verdict
from concord.scores.tasks import WORDS, task_info
from concord.tables import REASONS, read_any, read_metadata

Row = dict[str, Any]
COMPARED = 300  # rows of comparisons that the page shows
DUELS = 12  # pairs told in full
ALL_TOLD = 3  # up to so many pairs are told in full though nobody wins
TEMPLATES = Path(__file__).parent / "templates"


def render(config: Config, tables: Path, output: Path) -> None:
    """Write the page of the tables in a folder, and the clips it shows into media/ beside it."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["metric"] = metric
    environment.filters["examples"] = examples
    environment.filters["p_value"] = show_p
    environment.filters["modality"] = lambda modality: WORDS[modality].capitalize()
    environment.filters["task_name"] = lambda task: task_info(task).title
    page = environment.get_template("page.html.jinja").render(page=Page(config, tables, output))
    write_text(output, page)


def show_p(value: float | None) -> str:
    """A p-value as a reader expects it."""
    if value is None:
        return "–"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


@dataclass(frozen=True)
class Panel:
    """One metric of one task and model: a summary row and two figures a collection."""

    metric: Metric
    axis: figures.Axis
    spread: figures.Axis
    rows: list[tuple[Row, figures.Interval | None, figures.Histogram | None]]


@dataclass(frozen=True)
class Card:
    """All panels of one task and model."""

    task: str
    model: str
    protocol_id: str
    panels: list[Panel]


class Page:
    """What the templates show; everything is computed from the tables when asked for."""

    def __init__(self, config: Config, tables: Path, output: Path) -> None:
        self.config, self.tables, self.output = config, tables, output
        self.collections = list(config.collections)
        self.made = datetime.now().astimezone().isoformat(sep=" ", timespec="minutes")

    compared_limit, duels_limit = COMPARED, DUELS

    @property
    def title(self) -> str:
        """Title of the page."""
        return self.config.report.title

    @property
    def confidence(self) -> str:
        """Level of the intervals in per cent."""
        return f"{100 * self.config.statistics.confidence:g}"

    def colour(self, collection: str) -> str:
        """The colour variable of a collection; eight, then again."""
        return f"var(--c{self.collections.index(collection) % 8})"

    @cached_property
    def summary(self) -> list[Row]:
        """Rows of SUMMARY."""
        return self._rows("summary")

    @cached_property
    def verdicts(self) -> list[Verdict]:
        """Every comparison, judged at the level of the intervals."""
        alpha = 1 - self.config.statistics.confidence
        return [verdict(row, alpha) for row in self._rows("comparisons")]

    @cached_property
    def duels(self) -> list[Duel]:
        """The verdicts gathered by pair."""
        return duels(self.verdicts)

    @cached_property
    def told(self) -> list[Duel]:
        """Pairs told in full: those with a winner, and all where there are few."""
        return [duel for duel in self.duels if self._in_full(duel)]

    @cached_property
    def untold(self) -> list[Duel]:
        """The other pairs."""
        return [duel for duel in self.duels if not self._in_full(duel)]

    def _in_full(self, duel: Duel) -> bool:
        return len(self.duels) <= ALL_TOLD or any(map(duel.won_by, (duel.a, duel.b)))

    @property
    def permutations(self) -> str:
        """How many sign patterns the tests tried, by task unless all tried as many."""
        known = [v.row for v in self.verdicts if v.row["permutations"]]
        found = {task_info(row["task"]).title.lower(): row["permutations"] for row in known}
        if len({*found.values()}) == 1:
            return f"{known[0]['permutations']:,}"
        return ", ".join(f"{task} {number:,}" for task, number in found.items())

    def compared(self) -> Iterator[tuple[str, str, figures.Axis, list[tuple[Verdict, Any]]]]:
        """Verdicts a task, model and metric, with their intervals on a common axis around 0."""
        groups: dict[tuple[str, str, str], list[Verdict]] = {}
        for v in self.verdicts[:COMPARED]:
            groups.setdefault((v.row["task"], v.row["model"], v.row["metric"]), []).append(v)
        for (task, model, _), found in groups.items():
            ends = [v.row[end] for v in found for end in ("ci_low", "ci_high", "difference")]
            axis = figures.Axis.over(ends, include=[0.0])
            yield task, model, axis, [(v, self._interval(axis, v.row)) for v in found]

    def cards(self) -> Iterator[Card]:
        """The scores of every task and model, retrieval apart."""
        for (task, model), rows in self._groups("task", "model"):
            if task == "retrieval":
                continue
            names = dict.fromkeys(row["metric"] for row in rows)
            panels = [
                self._panel(task, model, name, [row for row in rows if row["metric"] == name])
                for name in names
            ]
            yield Card(task, model, rows[0]["protocol_id"], panels)

    def _panel(self, task: str, model: str, name: str, rows: list[Row]) -> Panel:
        ends = [row[end] for row in rows for end in ("ci_low", "ci_high", "mean")]
        axis = figures.Axis.over(ends)
        scores = self._scores
        chosen = scores[
            (scores["task"] == task) & (scores["model"] == model) & (scores["metric"] == name)
        ]
        groups = [
            chosen.loc[chosen["collection"] == row["collection"], "value"].to_numpy(float)
            for row in rows
        ]
        spread = figures.Axis.over(end for row in rows for end in (row["min"], row["max"]))
        outlines = figures.histograms(spread, groups)
        intervals = [self._interval(axis, row, "mean") for row in rows]
        return Panel(metric(name), axis, spread, list(zip(rows, intervals, outlines, strict=True)))

    def retrieval(self) -> Iterator[tuple[str, str, list[tuple[str, dict[str, Row]]]]]:
        """A model and direction at a time: each collection's rows by metric."""
        found: dict[tuple[str, str], dict[str, dict[str, Row]]] = {}
        for row in self.summary:
            if row["task"] == "retrieval":
                direction, _, name = row["metric"].rpartition("/")
                group = found.setdefault((row["model"], direction), {})
                group.setdefault(row["collection"], {})[name] = row
        for (model, direction), rows in found.items():
            yield model, direction.replace("_to_", " → "), list(rows.items())

    @cached_property
    def chance(self) -> dict[tuple[str, str, str], float]:
        """R@1 of a blind guess, by model, direction (as shown) and collection."""
        rows = self._frame(
            "retrieval", ["model", "direction", "collection", "positives", "candidates"]
        )
        rows["chance"] = rows["positives"] / rows["candidates"]
        means = rows.groupby(["model", "direction", "collection"])["chance"].mean().dropna()
        found = means.reset_index().itertuples(index=False, name=None)
        return {(m, d.replace("_to_", " → "), c): float(v) for m, d, c, v in found}

    @cached_property
    def missing(self) -> missing.Missing:
        """What is not there, and why."""
        return missing.Missing(self._frame("status"), self.collections)

    @cached_property
    def features(self) -> list[feature_section.Card]:
        """Pictures and probes of the features; none unless the task was asked for."""
        if "features" not in self.config.tasks:
            return []
        frames = {name: self._frame(name) for name in feature_section.TABLES}
        return list(feature_section.cards(self.config, frames))

    @cached_property
    def checks(self) -> Checks:
        """What the quality checks found."""
        return Checks(self._rows("quality"))

    @cached_property
    def restricted(self) -> dict[str, str]:
        """Licences of the models that are not cleared for commercial use."""
        models = self.provenance.get("models", {})
        return {n: m["licence"] for n, m in models.items() if not m["commercial"]}

    @staticmethod
    def meaning(reason: str) -> str:
        """What a reason means."""
        return REASONS[reason]

    @cached_property
    def gallery(self) -> Gallery:
        """Best and worst clips."""
        return Gallery(self.config, self.tables, self.output.parent / "media")

    @cached_property
    def counts(self) -> dict[str, int]:
        """How many clips, collections, models and scores the page rests on."""
        clips = self.missing.stage_total("clips")
        scored = sum(row["n_scored"] for row in self.summary if row["task"] != "retrieval")
        return {
            "collections": len(self.collections),
            "clips": clips,
            "models": len(self.config.models),
            "scores": scored,
        }

    @cached_property
    def provenance(self) -> Row:
        """What made the results; written with the tables."""
        path = self.config.results / "provenance.json"
        if not path.exists():
            return {}
        content: Row = json.loads(path.read_text(encoding="utf-8"))
        return content

    @cached_property
    def tools(self) -> dict[str, list[str]]:
        """Versions of the tools that measured and transcoded the clips."""
        found: dict[str, list[str]] = self._note.get("tools", {})
        return found

    @cached_property
    def protocols(self) -> list[tuple[str, str, str, str]]:
        """Task, model, protocol id and protocol (as YAML) of every score."""
        found = dict.fromkeys((r["task"], r["model"], r["protocol_id"]) for r in self.summary)
        return [(*key, _yaml(self._note["protocols"].get(key[2], {}))) for key in found]

    @property
    def configuration(self) -> str:
        """The whole configuration, defaults included, as YAML."""
        return _yaml(self.config.model_dump(mode="json"))

    @cached_property
    def _note(self) -> Row:
        return read_metadata(self.tables / "summary.parquet")

    @cached_property
    def _scores(self) -> pd.DataFrame:
        names = ["task", "model", "collection", "metric", "value", "status"]
        rows = self._frame("scores", names)
        return rows[rows["status"] == "ok"]

    def _groups(self, *keys: str) -> Iterator[tuple[tuple[str, ...], list[Row]]]:
        found: dict[tuple[str, ...], list[Row]] = {}
        for row in self.summary:
            found.setdefault(tuple(row[key] for key in keys), []).append(row)
        yield from found.items()

    def _rows(self, name: str) -> list[Row]:
        rows: list[Row] = read_any(self.tables / f"{name}.parquet").to_pylist()
        return rows

    def _frame(self, name: str, columns: list[str] | None = None) -> pd.DataFrame:
        frame: pd.DataFrame = read_any(self.tables / f"{name}.parquet", columns=columns).to_pandas()
        return frame

    @staticmethod
    def _interval(axis: figures.Axis, row: Row, middle: str = "difference") -> Any:
        if row[middle] is None:
            return None
        return figures.Interval.on(axis, row[middle], row["ci_low"], row["ci_high"])


def _yaml(content: Any) -> str:
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=100)
