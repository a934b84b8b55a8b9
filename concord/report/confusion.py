"""What a probe took the clips for: a matrix to look at."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from concord.report.metrics import PROBE_TITLES

READABLE = 24  # labels whose numbers can be read; more are drawn as a picture
WORST = 10  # confusions that are told in words


@dataclass(frozen=True)
class Confusion:
    """Counts [labels, labels] of one probe: what the clips are, and what they were taken for."""

    probe: str
    labels: list[str]
    counts: npt.NDArray[np.int64]

    @property
    def title(self) -> str:
        """Name of the probe, for readers."""
        return PROBE_TITLES.get(self.probe, self.probe)

    @property
    def readable(self) -> bool:
        """Whether the numbers can stand in a table."""
        return len(self.labels) <= READABLE

    @property
    def shares(self) -> npt.NDArray[np.float64]:
        """Counts as shares of the clips of their label."""
        total = self.counts.sum(axis=1, keepdims=True, dtype=np.float64)
        shares: npt.NDArray[np.float64] = self.counts / np.maximum(total, 1)
        return shares

    @property
    def rows(self) -> list[tuple[str, list[tuple[int, int]]]]:
        """Label by label: a count, and the share in per cent, for every label predicted."""
        percent = (100 * self.shares).round().astype(int)
        cells = [list(zip(*pair, strict=True)) for pair in zip(self.counts, percent, strict=True)]
        return list(zip(self.labels, cells, strict=True))

    @property
    def worst(self) -> list[tuple[str, str, int, int]]:
        """The commonest confusions: label, predicted, clips, and clips of the label."""
        wrong = self.counts * ~np.eye(len(self.labels), dtype=bool)
        order = np.argsort(-wrong, axis=None, kind="stable")[:WORST]
        found = [np.unravel_index(at, wrong.shape) for at in order if wrong.flat[at]]
        return [
            (self.labels[i], self.labels[j], int(wrong[i, j]), int(self.counts[i].sum()))
            for i, j in found
        ]

    @property
    def layers(self) -> list[tuple[float, str]]:
        """An SVG path of unit squares for every tenth of a share, with its opacity."""
        tenths = np.ceil(10 * self.shares).astype(int)
        found = []
        for level in range(1, 11):
            cells = "".join(f"M{x} {y}h1v1h-1z" for y, x in np.argwhere(tenths == level))
            if cells:
                found.append((level / 10, cells))
        return found


def confusions(rows: pd.DataFrame) -> list[Confusion]:
    """The matrices of rows of CONFUSION, a probe each, labels by alphabet."""
    found = []
    for probe, part in rows.groupby("probe", sort=False):
        labels = sorted({*part["label"], *part["predicted"]})
        counts = (
            part.pivot_table(index="label", columns="predicted", values="n", aggfunc="sum")
            .reindex(index=labels, columns=labels)
            .fillna(0)
            .to_numpy(np.int64)
        )
        found.append(Confusion(str(probe), labels, counts))
    return found
