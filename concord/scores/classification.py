"""Metrics of a classifier's held-out scores, with bootstrap intervals.

Every metric is computed for rows of weights, one weight a clip, so that the value itself (all
weights 1) and every bootstrap draw take the same path.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

METRICS = ("accuracy", "balanced_accuracy", "roc_auc")
_WEIGHTS_AT_ONCE = 4_000_000


@dataclass(frozen=True)
class HeldOut:
    """N clips that were held out: label and predicted [N] of K labels, fold [N], scores [N, K]."""

    label: Indices
    predicted: Indices
    fold: Indices
    scores: Floats

    def of_fold(self, fold: int) -> "HeldOut":
        """The clips of one fold."""
        rows = self.fold == fold
        return HeldOut(self.label[rows], self.predicted[rows], self.fold[rows], self.scores[rows])


def metrics(held_out: HeldOut, weights: Floats | None = None) -> Floats:
    """METRICS [B, 3] under weights [B, N]; without weights [1, 3]. NaN where undefined.

    Balanced accuracy is the mean recall of the labels there are. ROC-AUC is the mean over folds,
    since scores of different fits are not on one scale (Forman and Scholz 2010): of the second of
    two labels, else the mean over labels, each against all others.
    """
    if weights is None:
        weights = np.ones((1, len(held_out.label)))
    k = held_out.scores.shape[1]
    is_label = np.eye(k)[held_out.label]
    right = (held_out.label == held_out.predicted)[:, None]
    total, correct = weights @ is_label, weights @ (is_label * right)
    with np.errstate(invalid="ignore", divide="ignore"):
        accuracy = correct.sum(axis=1) / total.sum(axis=1)
        balanced = mean_defined(correct / total)
    areas = []
    for fold in np.unique(held_out.fold):
        rows = held_out.fold == fold
        labels = [1] if k == 2 else range(k)
        found = [
            area(held_out.scores[rows, c], held_out.label[rows] == c, weights[:, rows])
            for c in labels
        ]
        areas.append(mean_defined(np.stack(found, axis=1)))
    return np.stack([accuracy, balanced, mean_defined(np.stack(areas, axis=1))], axis=1)


def area(scores: Floats, positive: npt.NDArray[np.bool_], weights: Floats) -> Floats:
    """Area under the ROC curve [B] of scores [N] under weights [B, N]; ties count half.

    NaN where no positive or no negative has a weight.
    """
    order = np.argsort(scores, kind="stable")
    ordered, weights, positive = scores[order], weights[:, order], positive[order]
    negatives = np.cumsum(np.where(positive, 0, weights), axis=1)
    negatives = np.concatenate([np.zeros((len(weights), 1)), negatives], axis=1)
    below = negatives[:, np.searchsorted(ordered, ordered, "left")]
    up_to = negatives[:, np.searchsorted(ordered, ordered, "right")]
    ours = np.where(positive, weights, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        won = (ours * (below + up_to) / 2).sum(axis=1)
        result: Floats = won / (ours.sum(axis=1) * negatives[:, -1])
    return result


def intervals(held_out: HeldOut, units: Indices, statistics: Mapping[str, Any]) -> Floats:
    """Percentile bootstrap intervals [2, 3] of METRICS; NaN where fewer than two draws had any.

    `units` [N] numbers what is drawn: the clips, or their groups. `statistics` holds bootstrap,
    confidence and seed.
    """
    rng = np.random.default_rng(statistics["seed"])
    draws, n_units = int(statistics["bootstrap"]), int(units.max()) + 1
    at_once = max(1, _WEIGHTS_AT_ONCE // len(units))
    values = []
    for start in range(0, draws, at_once):
        b = min(at_once, draws - start)
        drawn = rng.integers(0, n_units, (b, n_units))
        drawn += n_units * np.arange(b)[:, None]
        weights = np.bincount(drawn.ravel(), minlength=b * n_units).reshape(b, n_units)
        values.append(metrics(held_out, weights[:, units].astype(np.float64)))
    outside = (1 - statistics["confidence"]) / 2
    found = np.concatenate(values)
    result = np.full((2, len(METRICS)), np.nan)
    for column, drawn_values in enumerate(found.T):
        defined = drawn_values[np.isfinite(drawn_values)]
        if len(defined) > 1:
            result[:, column] = np.quantile(defined, [outside, 1 - outside])
    return result


def mean_defined(values: Floats) -> Floats:
    """Mean [B] of the defined values of each row [B, n]; NaN without any."""
    defined = np.isfinite(values)
    with np.errstate(invalid="ignore", divide="ignore"):
        result: Floats = np.where(defined, values, 0).sum(axis=1) / defined.sum(axis=1)
    return result
