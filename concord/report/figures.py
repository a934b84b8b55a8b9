"""Geometry of the page's figures: everything as percentages of a strip that the style sheet sizes.

Strips stretch with the page while text stays text, so figures read well at every width, print, and
need no script.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

BINS = (10, 48)  # fewest and most


@dataclass(frozen=True)
class Axis:
    """A horizontal axis from `low` to `high` with round ticks."""

    low: float
    high: float
    ticks: tuple[float, ...]
    digits: int

    @classmethod
    def over(cls, values: Iterable[float | None], include: Sequence[float] = ()) -> "Axis":
        """The axis that shows all finite values and those of `include`, with a little air."""
        known = [v for v in (*values, *include) if v is not None and np.isfinite(v)] or [0.0, 1.0]
        low, high = min(known), max(known)
        span = (high - low) or max(abs(high), 1.0) * 0.1
        low, high = low - 0.06 * span, high + 0.06 * span
        step = _step((high - low) / 5)
        first, last = int(np.ceil(low / step - 1e-9)), int(np.floor(high / step + 1e-9))
        digits = max(0, -int(np.floor(np.log10(step) + 1e-9)))
        return cls(low, high, tuple(i * step for i in range(first, last + 1)), digits)

    def at(self, value: float) -> float:
        """Position of a value in per cent from the left, kept inside the strip."""
        share = (value - self.low) / (self.high - self.low)
        return round(100 * min(max(share, 0.0), 1.0), 2)

    def labels(self) -> list[tuple[float, str]]:
        """Position and text of every tick."""
        texts = [f"{t:.{self.digits}f}".replace("-", "\N{MINUS SIGN}") for t in self.ticks]
        return [(self.at(t), text) for t, text in zip(self.ticks, texts, strict=True)]


@dataclass(frozen=True)
class Interval:
    """A dot with a whisker: left end, width and dot, in per cent of the strip."""

    left: float
    width: float
    dot: float

    @classmethod
    def on(cls, axis: Axis, middle: float, low: float | None, high: float | None) -> "Interval":
        """The interval on an axis; without ends, or without finite ones, only the dot."""
        low, high = (middle if v is None or not np.isfinite(v) else v for v in (low, high))
        left, right = axis.at(low), axis.at(high)
        return cls(left, round(right - left, 2), axis.at(middle))


@dataclass(frozen=True)
class Histogram:
    """An outline in a box of 100 x 100 units, and where the median lies in per cent."""

    path: str
    median: float


def histograms(axis: Axis, groups: Sequence[np.ndarray]) -> list[Histogram | None]:
    """Outlines of groups of values over one axis, as shares of their group, on one scale.

    None for a group without values.
    """
    largest = max(map(len, groups), default=0)
    bins = int(np.clip(2 * largest**0.5, *BINS))
    edges = np.linspace(axis.low, axis.high, bins + 1)
    shares = [np.histogram(g, edges)[0] / len(g) if len(g) else np.zeros(bins) for g in groups]
    top = max((s.max() for s in shares), default=0) or 1.0
    return [
        Histogram(_outline(s / top), axis.at(float(np.median(g)))) if len(g) else None
        for s, g in zip(shares, groups, strict=True)
    ]


def _outline(heights: np.ndarray) -> str:
    """A staircase along the heights, 0 to 1, of equally wide bins; empty stretches are skipped."""
    width = 100 / len(heights)
    parts = []
    for i, height in enumerate(heights):
        before, after = (heights[i - 1] if i else 0.0), i + 1 < len(heights) and heights[i + 1]
        if not height:
            continue
        if not before:
            parts.append(f"M{i * width:.4g} 100")
        parts.append(f"V{100 - 100 * height:.4g}H{(i + 1) * width:.4g}")
        if not after:
            parts.append("V100Z")
    return "".join(parts)


def _step(rough: float) -> float:
    """The round step (1, 2 or 5 times a power of ten) next above `rough`."""
    power = 10.0 ** np.floor(np.log10(rough))
    return float(next(m * power for m in (1, 2, 5, 10) if m * power >= rough * 0.999))
