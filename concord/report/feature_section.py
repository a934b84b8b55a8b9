"""The page's section on features: pictures, what probes tell, and how labels differ."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from concord.config import Config
from concord.feature_tables import PROJECTIONS
from concord.models.base import MODALITIES
from concord.report import figures, scatter
from concord.report.confusion import Confusion, confusions
from concord.report.metrics import PROBE_TITLES
from concord.report.missing import records
from concord.scores.sources import ALL_COLLECTIONS
from concord.tables import read_metadata, read_table

Row = dict[str, Any]
Frames = Mapping[str, pd.DataFrame]

METHODS = {"pca": "Principal components", "tsne": "t-SNE", "umap": "UMAP"}
SPREADS = {"norm": "Length of the features", "centre_cosine": "Cosine with the label's mean"}
TABLES = ("probes", "predictions", "confusion", "feature_distributions")
CLOSEST = 10  # pairs of labels whose distances are shown
DIMENSIONS = 3  # that are named where two labels differ most


@dataclass(frozen=True)
class Shown:
    """A picture by one method, or why there is none."""

    title: str
    picture: scatter.Picture | None
    note: str


@dataclass(frozen=True)
class Spread:
    """How one number of the clips spreads in each group."""

    title: str
    axis: figures.Axis
    outlines: list[figures.Histogram | None]


@dataclass(frozen=True)
class Probe:
    """One classifier: its rows by metric, all folds together."""

    title: str
    found: dict[str, Row]

    @property
    def row(self) -> Row:
        """Any of the rows: they share what they rest on."""
        return next(iter(self.found.values()))


@dataclass(frozen=True)
class Distance:
    """How far two labels are apart, and the dimensions in which they differ most."""

    label: str
    other: str
    centroid: float | None
    frechet: float | None
    dimensions: list[tuple[int, float]]


@dataclass(frozen=True)
class Scope:
    """The clips of one collection, or of all (`collection` is None), and what is known of them."""

    collection: str | None
    counts: Row
    drawn: list[scatter.Group]
    pictures: list[Shown]
    spreads: list[Spread]
    probes: list[Probe]
    confusions: list[Confusion]
    closest: list[Distance]
    pairs: int

    @property
    def empty(self) -> bool:
        """Whether no clip has features."""
        return not self.counts.get("clips", sum(probe.row["n"] for probe in self.probes))

    @property
    def told(self) -> list[scatter.Group]:
        """The groups that are told apart."""
        return [group for group in self.drawn if group.colour is not None]

    @property
    def rest(self) -> list[scatter.Group]:
        """The group of all other labels, if there are more than are told apart."""
        return [group for group in self.drawn if group.colour is None]


@dataclass(frozen=True)
class Card:
    """The features of one model and modality."""

    model: str
    modality: str
    scopes: list[Scope]


def cards(config: Config, frames: Frames) -> Iterator[Card]:
    """A card for every model and modality with pictures or probes, in the configured order.

    `frames` are TABLES of the tables' folder, by name; the pictures' points are read here.
    """
    for model in config.models:
        for modality in MODALITIES:
            path = config.results / "projections" / model / f"{modality}.parquet"
            own = {
                name: rows[(rows["model"] == model) & (rows["modality"] == modality)]
                for name, rows in frames.items()
            }
            scopes = list(_scopes(config, path, own))
            if scopes:
                yield Card(model, modality, scopes)


def _scopes(config: Config, path: Path, frames: Frames) -> Iterator[Scope]:
    points, notes = pd.DataFrame(columns=PROJECTIONS.names), dict[str, Row]()
    if config.report.projections and path.exists():
        points = read_table(path, PROJECTIONS).to_pandas()
        notes = read_metadata(path)["scopes"]
    for scope in (*config.collections, ALL_COLLECTIONS):
        if scope in notes or (frames["probes"]["scope"] == scope).any():
            own = {name: rows[rows["scope"] == scope] for name, rows in frames.items()}
            found = points[points["scope"] == scope]
            yield _scope(config, scope, found, notes.get(scope, {}), own)


def _scope(config: Config, scope: str, points: pd.DataFrame, note: Row, frames: Frames) -> Scope:
    clips = points.drop_duplicates(["collection", "clip_id"])
    order = [*config.collections] if scope == ALL_COLLECTIONS else []
    order += sorted({*clips["label"]} - {*order})
    drawn = scatter.groups(clips["label"], order)
    told = [group.name for group in drawn if group.colour is not None]
    return Scope(
        None if scope == ALL_COLLECTIONS else scope,
        note,
        drawn,
        [
            _shown(method, how, points[points["method"] == method], drawn)
            for method, how in note.get("methods", {}).items()
        ],
        list(_spreads(clips, frames["predictions"], told)) if told else [],
        _probes(frames["probes"]),
        confusions(frames["confusion"]),
        *_distances(frames["feature_distributions"]),
    )


def _shown(method: str, note: Row, points: pd.DataFrame, drawn: Sequence[scatter.Group]) -> Shown:
    if "reason" in note:
        return Shown(METHODS[method], None, note["reason"])
    told = ", ".join(f"{name} {value:g}" for name, value in note.items() if name != "explained")
    if "explained" in note:
        shares = " + ".join(f"{100 * share:.1f}" for share in note["explained"])
        told = f"{shares} % of the variance"
    return Shown(METHODS[method], scatter.picture(points, drawn), told)


def _spreads(
    clips: pd.DataFrame, predictions: pd.DataFrame, told: Sequence[str]
) -> Iterator[Spread]:
    for name, title in SPREADS.items():
        if name == "norm" and np.ptp(clips["norm"]) < 1e-3 * clips["norm"].max():
            continue  # a model that normalises its features
        yield _spread(title, clips[["label", name]].set_axis(["label", "value"], axis=1), told)
    if len(told) == 2:
        scored = predictions[predictions["status"] == "ok"]
        for probe, rows in scored.groupby("probe", sort=False):
            values = rows[["label", "score"]].set_axis(["label", "value"], axis=1)
            title = f"Held out, {PROBE_TITLES.get(str(probe), probe)}: {max(told)}"
            yield _spread(title, values, told)


def _spread(title: str, values: pd.DataFrame, told: Sequence[str]) -> Spread:
    known = values.dropna()
    axis = figures.Axis.over(known["value"])
    by_label = [known.loc[known["label"] == name, "value"].to_numpy(float) for name in told]
    return Spread(title, axis, figures.histograms(axis, by_label))


def _probes(rows: pd.DataFrame) -> list[Probe]:
    whole = rows[rows["fold"].isna()]
    return [
        Probe(
            PROBE_TITLES.get(str(name), str(name)), {row["metric"]: row for row in records(found)}
        )
        for name, found in whole.groupby("probe", sort=False)
    ]


def _distances(rows: pd.DataFrame) -> tuple[list[Distance], int]:
    """The CLOSEST pairs of labels, the closest first, and how many pairs there are."""
    pair = ["label", "other"]
    known = rows[(rows["status"] == "ok") & rows["other"].notna()]
    whole = known[known["dimension"].isna()]
    wide = whole.pivot(index=pair, columns="statistic", values="value")
    wide = wide.reindex(columns=["frechet_distance", "centroid_distance"]).astype(float)
    closest = wide.sort_values([*wide.columns], kind="stable").head(CLOSEST)
    by_size = known.dropna(subset="dimension").sort_values(
        "value", key=lambda value: -value.abs(), kind="stable"
    )
    by_size = by_size[pd.MultiIndex.from_frame(by_size[pair]).isin(closest.index)]
    largest: dict[Any, list[tuple[int, float]]] = {
        key: [*zip(part["dimension"].astype(int), part["value"], strict=True)][:DIMENSIONS]
        for key, part in by_size.groupby(pair)
    }
    found = [
        Distance(a, b, _known(centroid), _known(frechet), largest.get((a, b), []))
        for (a, b), frechet, centroid in closest.itertuples(name=None)
    ]
    return found, len(wide)


def _known(value: float) -> float | None:
    return None if np.isnan(value) else value
