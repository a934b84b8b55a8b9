"""Features in two dimensions: principal components, t-SNE and UMAP of one model and modality."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from concord.config import Config
from concord.feature_tables import PROJECTIONS
from concord.layout import Layout
from concord.models.base import Modality
from concord.scores.labelled import read_labelled
from concord.scores.sources import ACROSS, ALL_COLLECTIONS, Source
from concord.scores.splits import sample
from concord.tables import write_table

Floats = npt.NDArray[np.float64]

COMPONENTS = 50  # what t-SNE and UMAP see of the features, as is usual
PERPLEXITY = 30.0  # of t-SNE, at most: a third of the other clips where there are few
NEIGHBOURS = 15  # of UMAP
FEWEST = {"pca": 3, "tsne": 10, "umap": NEIGHBOURS + 1}


@dataclass(frozen=True)
class Projection:
    """Coordinates [N, 2] and how they were made; None with a `reason` where there are none."""

    xy: Floats | None
    note: dict[str, Any] = field(default_factory=dict)


def project_features(layout: Layout, model: str, modality: Modality, output: Path) -> None:
    """Write PROJECTIONS of what a model embedded of one modality, scope by scope as in PROBES.

    The metadata hold of every scope how many clips have features and how many are shown, how many
    of the sample were left out because their features have no direction, and how each method was
    set or why it shows nothing. Raises UserError when collections disagree in protocol or model.
    """
    made = {
        ALL_COLLECTIONS if scope == ACROSS else scope: _scope(sources, modality, layout.config)
        for scope, sources in layout.pictured(model, modality).items()
    }
    rows = pd.concat(
        [
            pd.DataFrame(columns=PROJECTIONS.names, dtype=object),
            *(rows.assign(scope=scope) for scope, (rows, _) in made.items()),
        ]
    )
    table = pa.Table.from_pandas(rows[PROJECTIONS.names], PROJECTIONS.schema, preserve_index=False)
    write_table(output, PROJECTIONS, table, scopes={name: note for name, (_, note) in made.items()})


def _scope(
    sources: Sequence[Source], modality: Modality, config: Config
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Rows of PROJECTIONS of what is shown together, and what the metadata say of it."""
    read, seed = read_labelled(sources, modality, config.audio.model_dump()), config.statistics.seed
    columns = {"collection": read.collection, "clip_id": read.clip_id, "label": read.label}
    clips = pd.DataFrame(columns).assign(row=read.row)[read.outcome.ok]
    strata = [clips["collection"].to_numpy(), clips["label"].to_numpy()]
    chosen = clips.iloc[sample(strata, config.report.projected_clips, seed)]
    shown, unit = directions(chosen, read.vectors[chosen["row"]].astype(float))
    found = project(unit, config.report.projections, seed)
    parts = [
        shown.assign(method=method, x=made.xy[:, 0], y=made.xy[:, 1])
        for method, made in found.items()
        if made.xy is not None
    ]
    note = {
        "clips": len(clips),
        "shown": len(shown),
        "left_out": len(chosen) - len(shown),
        "methods": {method: made.note for method, made in found.items()},
    }
    return pd.concat(parts) if parts else shown[:0], note


def directions(clips: pd.DataFrame, features: Floats) -> tuple[pd.DataFrame, Floats]:
    """Clips whose features [N, D] have a direction, with `norm` and `centre_cosine`; unit vectors.

    `centre_cosine` is the cosine with the mean direction of the other clips of the label: NaN
    where there are none, or where they cancel out.
    """
    lengths = np.linalg.norm(features, axis=1)
    usable = np.isfinite(lengths) & (lengths > 0)
    unit = features[usable] / lengths[usable, None]
    shown, cosines = clips[usable], np.full(len(unit), np.nan)
    for members in shown.groupby("label").indices.values():
        own = unit[members]
        others = own.sum(axis=0) - own
        distances = np.linalg.norm(others, axis=1)
        distances[distances < 1e-9] = np.nan
        cosines[members] = (own * others).sum(axis=1) / distances
    return shown.assign(norm=lengths[usable], centre_cosine=cosines), unit


def project(features: Floats, methods: Sequence[str], seed: int) -> dict[str, Projection]:
    """Pictures of unit vectors [N, D] by method; t-SNE and UMAP see their principal components.

    Runs on one thread, so that the same features and seed give the same picture.
    """
    from threadpoolctl import threadpool_limits

    made: dict[str, Projection] = {}
    with threadpool_limits(1):
        scores, shares = _principal(features)
        for method in methods:
            if len(features) < FEWEST[method]:
                reason = f"needs at least {FEWEST[method]} clips, found {len(features)}"
                made[method] = Projection(None, {"reason": reason})
            elif not shares.any():
                made[method] = Projection(None, {"reason": "all features are equal"})
            elif method == "pca":
                made[method] = Projection(scores[:, :2], {"explained": shares[:2].tolist()})
            else:
                made[method] = _METHODS[method](scores, seed)
    return made


def _principal(features: Floats) -> tuple[Floats, Floats]:
    """Scores [N, K >= 2] of the first components, and the share of the variance of each."""
    from sklearn.decomposition import PCA

    count = min(COMPONENTS, *features.shape)
    if count < 2 or np.ptp(features, axis=0).max() < 1e-12:
        return np.zeros((len(features), 2)), np.zeros(2)
    pca = PCA(count, svd_solver="full")
    return pca.fit_transform(features), pca.explained_variance_ratio_


def _tsne(features: Floats, seed: int) -> Projection:
    from sklearn.manifold import TSNE

    perplexity = min(PERPLEXITY, (len(features) - 1) / 3)
    xy = TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(features)
    return Projection(xy.astype(float), {"perplexity": round(perplexity, 1)})


def _umap(features: Floats, seed: int) -> Projection:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it tells of its compiler and of repeated rows
        from umap import UMAP

        network = UMAP(n_neighbors=NEIGHBOURS, random_state=seed, n_jobs=1)
        xy = network.fit_transform(features)
    return Projection(xy.astype(float), {"neighbours": NEIGHBOURS})


_METHODS: dict[str, Callable[[Floats, int], Projection]] = {"tsne": _tsne, "umap": _umap}
