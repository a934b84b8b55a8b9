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
"""Labels beyond which pairs are not compared by covariance, which takes long."""


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


def distributions(clips: Labelled) -> list[Row]:
    """Rows of FEATURE_DISTRIBUTIONS, without what names the features: of labels, then of pairs."""
    ok = clips.outcome.ok
    labels = sorted(set(clips.label[ok]))
    found = [
        distribution(label, clips.vectors[clips.row[ok & (clips.label == label)]])
        for label in labels
    ]
    rows = [row for one in found for row in _of_label(one)]
    for a, b in combinations(found, 2):
        about = {"label": a.label, "other": b.label, "n": a.n, "n_other": b.n}
        rows += [about | row for row in _of_pair(a, b, len(labels))]
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


def _of_pair(a: Distribution, b: Distribution, n_labels: int) -> Iterator[Row]:
    distance = float(np.linalg.norm(a.mean - b.mean))
    yield {"statistic": "centroid_distance", "value": distance, "status": "ok"}
    reason = "too_many_labels" if n_labels > MOST_LABELS else "too_few_clips"
    if n_labels > MOST_LABELS or a.factor is None or b.factor is None:
        for statistic in ("frechet_distance", "standardised_difference"):
            yield {"statistic": statistic, "status": "skipped", "reason": reason}
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
