"""Geometry of the pictures of features: points in a square, one SVG path a group."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

Floats = npt.NDArray[np.float64]

SIDE = 1000  # of the square, in SVG units
MARGIN = 40
TOLD_APART = 24  # labels: 8 colours by 3 shapes, and neighbours differ in both
SHAPES = ("dot", "triangle", "cross")


@dataclass(frozen=True)
class Group:
    """Clips drawn alike: `colour` is 0 to 7, or None for grey."""

    name: str
    count: int
    colour: int | None
    shape: str

    @property
    def sample(self) -> str:
        """One of its points in a box of 20 by 20 units."""
        return outline(self.shape, np.array([[10.0, 10.0]]), 14)


@dataclass(frozen=True)
class Picture:
    """The path of every group, and the width of a dot."""

    layers: list[tuple[Group, str]]
    size: int


def groups(labels: pd.Series, order: Sequence[str]) -> list[Group]:
    """How the clips of every label are drawn; of more than 24 the rarest share a grey, first."""
    counts = labels.value_counts().to_dict()
    known = [label for label in order if label in counts]
    told = set(sorted(known, key=lambda label: -counts[label])[:TOLD_APART])
    found = [
        Group(label, counts[label], i % 8, SHAPES[i % 3])
        for i, label in enumerate(label for label in known if label in told)
    ]
    if others := len(known) - len(told):
        rest = len(labels) - sum(group.count for group in found)
        words = f"{others} other label{'s' if others > 1 else ''}"
        found.insert(0, Group(words, rest, None, "dot"))
    return found


def picture(points: pd.DataFrame, drawn: Sequence[Group]) -> Picture:
    """Draw rows with x, y and label, both axes on one scale, larger points where there are few."""
    xy = points[["x", "y"]].to_numpy(float)
    low, high = xy.min(axis=0), xy.max(axis=0)
    scale = (SIDE - 2 * MARGIN) / max(float((high - low).max()), 1e-12)
    placed = (xy - (low + high) / 2) * scale * [1, -1] + SIDE / 2
    size = int(np.clip(160 / len(xy) ** 0.3, 9, 34))
    labels = points["label"].to_numpy(str)
    coloured = [group.name for group in drawn if group.colour is not None]
    layers = []
    for group in drawn:
        members = labels == group.name
        if group.colour is None:
            members = ~np.isin(labels, coloured)
        layers.append((group, outline(group.shape, placed[members], size)))
    return Picture(layers, size)


def outline(shape: str, centres: Floats, width: float) -> str:
    """An SVG path with a dot (for a round line as wide), triangle or cross at each centre."""
    r = round(width / 2)
    drawn = {
        "dot": (0, 0, "h0"),
        "triangle": (0, -r, f"l{r} {2 * r - 1}h{-2 * r}z"),
        "cross": (-r, -r, f"l{2 * r} {2 * r}m0{-2 * r}l{-2 * r} {2 * r}"),
    }
    dx, dy, rest = drawn[shape]
    return "".join(f"M{x + dx:.0f} {y + dy:.0f}{rest}" for x, y in centres)
