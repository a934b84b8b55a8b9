"""How the features of clips with different labels are distributed: real against fake, say."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from concord.scores.labelled import Labelled

Row = dict[str, Any]
Floats = npt.NDArray[np.float64]

DIMENSIONS = 10
"""Dimensions listed of two labels: those that differ most."""
MOST_LABELS = 20
"""Labels beyond which pairs of them are not compared: there are too many to compute or to read."""


@dataclass(frozen=True)
class Distribution:
    """Features of one label's n clips: their norms [n], mean [dim] and variance [dim] (ddof 1).

    `factor` [min(n, dim), dim] is a root of their covariance (ddof 1): factor.T @ factor; it and
    the variance are None for one clip.
    """

    label: str
    norms: Floats
    mean: Floats
    spread: float
    variance: Floats | None
    factor: Floats | None

    @property
    def n(self) -> int:
        return len(self.norms)


def distribution(label: str, features: npt.NDArray[np.float32]) -> Distribution:
    """Describe the features [n, dim] of one label."""
    exact = features.astype(np.float64)
    mean = exact.mean(axis=0)
    centred = exact - mean
    several = len(exact) > 1
    return Distribution(
        label,
        np.linalg.norm(exact, axis=1),
        mean,
        float(np.linalg.norm(centred, axis=1).mean()),
        centred.var(axis=0, ddof=1) if several else None,
        _factor(centred) if several else None,
    )


def _factor(centred: Floats) -> Floats:
    return cast(Floats, np.linalg.qr(centred / np.sqrt(len(centred) - 1), mode="r"))


def frechet_distance(a: Distribution, b: Distribution) -> float:
    """Squared Fréchet distance of two normal distributions with these means and covariances.

    |mean difference|^2 + trace(A + B - 2 (A B)^(1/2)) (Dowson and Landau 1982), as in the FID. The
    trace of the root is the sum of the singular values of the product of the covariances' factors,
    so no matrix root is taken. Raises ValueError for a label with one clip.
    """
    if a.factor is None or b.factor is None:
        raise ValueError("a covariance needs two clips")
    shift = a.mean - b.mean
    variances = np.sum(a.factor**2) + np.sum(b.factor**2)
    shared = np.linalg.svd(a.factor @ b.factor.T, compute_uv=False).sum()
    return float(max(shift @ shift + variances - 2 * shared, 0))


def standardised_difference(a: Distribution, b: Distribution) -> Floats:
    """(mean of a - mean of b) / pooled standard deviation, [dim]; NaN where nothing varies.

    Raises ValueError for a label with one clip.
    """
    if a.variance is None or b.variance is None:
        raise ValueError("a variance needs two clips")
    pooled = ((a.n - 1) * a.variance + (b.n - 1) * b.variance) / (a.n + b.n - 2)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(pooled > 0, (a.mean - b.mean) / np.sqrt(pooled), np.nan)


def distributions(clips: Labelled, ok: npt.NDArray[np.bool_]) -> list[Row]:
    """Rows of FEATURE_DISTRIBUTIONS of the clips `ok` [N]: of labels, then of pairs of them.

    They lack what names the features. More than MOST_LABELS are not compared, which one row says.
    """
    labels, codes = np.unique(clips.label[ok].astype(str), return_inverse=True)
    order, starts = np.argsort(codes, kind="stable"), np.cumsum(np.bincount(codes))[:-1]
    members = np.split(clips.row[ok][order], starts) if len(labels) else []
    found = (
        distribution(label, clips.vectors[rows])
        for label, rows in zip(labels.tolist(), members, strict=True)
    )
    if len(labels) > MOST_LABELS:
        told = f"{len(labels)} labels, at most {MOST_LABELS} are compared"
        skipped = {"status": "skipped", "reason": "too_many_labels", "detail": told}
        return [
            *(row for one in found for row in _of_label(one)),
            {"statistic": "pairs", "n": int(ok.sum())} | skipped,
        ]
    several = list(found)
    rows = [row for one in several for row in _of_label(one)]
    for a, b in combinations(several, 2):
        about = {"label": a.label, "other": b.label, "n": a.n, "n_other": b.n}
        rows += [about | row for row in _of_pair(a, b)]
    return rows


def _of_label(one: Distribution) -> Iterator[Row]:
    values = {
        "norm_mean": float(one.norms.mean()),
        "norm_std": float(one.norms.std()),
        "spread": one.spread,
    }
    for statistic, value in values.items():
        yield {
            "statistic": statistic, "label": one.label, "value": value, "n": one.n, "status": "ok",
        }  # fmt: skip


def _of_pair(a: Distribution, b: Distribution) -> Iterator[Row]:
    distance = float(np.linalg.norm(a.mean - b.mean))
    yield {"statistic": "centroid_distance", "value": distance, "status": "ok"}
    if a.factor is None or b.factor is None:
        for statistic in ("frechet_distance", "standardised_difference"):
            yield {"statistic": statistic, "status": "skipped", "reason": "too_few_clips"}
        return
    yield {"statistic": "frechet_distance", "value": frechet_distance(a, b), "status": "ok"}
    difference = standardised_difference(a, b)
    order = np.argsort(-np.abs(np.nan_to_num(difference)), kind="stable")
    for dimension in order[:DIMENSIONS].tolist():
        if np.isfinite(difference[dimension]):
            yield {
                "statistic": "standardised_difference",
                "dimension": dimension,
                "value": float(difference[dimension]),
                "status": "ok",
            }
