"""Summaries with confidence intervals, paired comparisons, and the correction for many of them.

Everything is seeded: the same values and settings give the same numbers.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

_BCA_LIMIT = 2000
_DRAWS_AT_ONCE = 4_000_000
_ROUNDING = 1e-12
_RESOLUTION = 2.0**-20
"""About 1e-6. What single precision leaves of equal scores, some 1e-8 of a sign that changes with
the number of threads, must not decide which resamples are smaller than what was observed."""


def summarise(
    values: Sequence[float] | Floats,
    n_expected: int,
    n_skipped: int,
    n_failed: int,
    statistics: Mapping[str, Any],
) -> dict[str, float | int | None]:
    """Columns of SUMMARY from n_scored finite values: counts, mean with interval, spread.

    Without values all but the counts are None. `statistics` holds bootstrap, confidence and seed.
    """
    x = _finite(values)
    counts = {
        "n_expected": n_expected,
        "n_scored": len(x),
        "n_skipped": n_skipped,
        "n_failed": n_failed,
    }
    if not len(x):
        names = ("mean", "ci_low", "ci_high", "std", "min", "max", "median")
        return {**counts, **dict.fromkeys(names)}
    low, high = mean_interval(x, statistics)
    return {
        **counts,
        "mean": float(x.mean()),
        "ci_low": low,
        "ci_high": high,
        "std": float(x.std()),
        "min": float(x.min()),
        "max": float(x.max()),
        "median": float(np.median(x)),
    }


def compare(
    a: Mapping[str, float], b: Mapping[str, float], statistics: Mapping[str, Any]
) -> dict[str, float | int | None]:
    """Columns of COMPARISONS for two systems' values by item, paired over their common items.

    The difference is a - b. Its interval and p-value rest on differences to about 1e-6. Without
    common items all but the counts are None.
    """
    common = sorted(a.keys() & b.keys())
    counts = {
        "n_common": len(common),
        "n_only_a": len(a) - len(common),
        "n_only_b": len(b) - len(common),
    }
    if not common:
        names = ("mean_a", "mean_b", "difference", "ci_low", "ci_high", "p_value")
        return {**counts, **dict.fromkeys(names)}
    of_a, of_b = (_finite([values[item] for item in common]) for values in (a, b))
    difference = np.round((of_a - of_b) / _RESOLUTION) * _RESOLUTION
    low, high = mean_interval(difference, statistics)
    return {
        **counts,
        "mean_a": float(of_a.mean()),
        "mean_b": float(of_b.mean()),
        "difference": float((of_a - of_b).mean()),
        "ci_low": low,
        "ci_high": high,
        "p_value": sign_flip_p_value(difference, statistics),
    }


def mean_interval(
    values: Sequence[float] | Floats, statistics: Mapping[str, Any]
) -> tuple[float | None, float | None]:
    """Bootstrap confidence interval of the mean; (None, None) for fewer than two values.

    Bias-corrected and accelerated (Efron 1987) up to 2000 values; above, where the corrections
    vanish, percentile. A resample whose mean is the observed one up to about 1e-6 of the
    spread counts as equal. Values equal up to rounding give the interval from smallest to largest.
    """
    from scipy.stats import bootstrap

    x = _finite(values)
    if len(x) < 2:
        return None, None
    smallest, largest = float(x.min()), float(x.max())
    centre, spread = float(x.mean()), largest - smallest
    if spread <= _ROUNDING * np.abs(x).max():
        return smallest, largest

    def mean(draws: Floats, axis: int) -> Floats:
        found = draws.mean(axis=axis)
        return np.where(np.abs(found) <= _RESOLUTION, 0.0, found)  # as large as was observed

    interval = bootstrap(
        ((x - centre) / spread,),  # so that tiny values do not vanish in third powers
        mean,
        n_resamples=statistics["bootstrap"],
        confidence_level=statistics["confidence"],
        method="BCa" if len(x) <= _BCA_LIMIT else "percentile",
        batch=max(1, _DRAWS_AT_ONCE // len(x)),
        rng=np.random.default_rng(statistics["seed"]),
    ).confidence_interval
    low, high = (centre + spread * float(end) for end in (interval.low, interval.high))
    return max(smallest, low), min(largest, high)


def sign_flip_p_value(
    differences: Sequence[float] | Floats, statistics: Mapping[str, Any]
) -> float | None:
    """Two-sided p-value of "the differences are symmetric around 0", by their mean.

    Exact over all sign patterns when there are no more of them than `permutations` (default:
    `bootstrap`); else from that many random ones, with the observed one counted (Phipson and
    Smyth 2010): never 0. None without values.
    """
    x = _finite(differences)
    if not len(x):
        return None
    x = x[x != 0]
    observed = abs(x.sum()) - _ROUNDING * np.abs(x).sum()
    samples = int(statistics.get("permutations", statistics["bootstrap"]))
    if 2 ** min(len(x), 62) <= samples:
        patterns = np.arange(2 ** len(x))[:, None] >> np.arange(len(x)) & 1
        return float(np.mean(np.abs((1 - 2 * patterns) @ x) >= observed))
    rng = np.random.default_rng(statistics["seed"])
    as_extreme, batch = 0, max(1, _DRAWS_AT_ONCE // len(x))
    for start in range(0, samples, batch):
        n = min(batch, samples - start)
        bits = np.unpackbits(rng.integers(0, 256, (n, -(-len(x) // 8)), np.uint8), axis=1)
        # The sum of flipped differences is the total less twice the flipped ones.
        flipped = bits[:, : len(x)] @ x
        as_extreme += int(np.count_nonzero(np.abs(x.sum() - 2 * flipped) >= observed))
    return (as_extreme + 1) / (samples + 1)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """P-values adjusted for their number (Holm 1979), in the given order; None stays None."""
    known = sorted((p, i) for i, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, i) in enumerate(known):
        largest = max(largest, min(1.0, (len(known) - rank) * p))
        adjusted[i] = largest
    return adjusted


def _finite(values: Sequence[float] | Floats) -> Floats:
    x = np.asarray(values, dtype=np.float64)
    if not np.isfinite(x).all():
        raise ValueError("values must be finite; missing scores are rows without a value")
    return x
