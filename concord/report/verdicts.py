"""Who is better, as far as the comparisons can defend it."""

from dataclasses import dataclass
from typing import Any

from concord.report.metrics import Metric, measure_name, metric

Row = dict[str, Any]


@dataclass(frozen=True)
class Verdict:
    """One comparison with what it allows to say; `winner` is None if nothing is clear."""

    row: Row
    measure: Metric
    winner: str | None

    @property
    def name(self) -> str:
        """What was measured, for readers."""
        return measure_name(self.row["task"], self.row["metric"])


@dataclass(frozen=True)
class Duel:
    """All measures of one pair of collections that have a better end."""

    a: str
    b: str
    verdicts: list[Verdict]

    def won_by(self, collection: str) -> list[Verdict]:
        """The measures that a collection wins."""
        return [v for v in self.verdicts if v.winner == collection]

    @property
    def unclear(self) -> list[Verdict]:
        """The measures that nobody wins, though both have scores."""
        return [v for v in self.verdicts if v.winner is None and v.row["n_common"]]

    @property
    def without_common_items(self) -> int:
        """Measures that no item of both collections has."""
        return sum(not v.row["n_common"] for v in self.verdicts)


def verdict(row: Row, alpha: float) -> Verdict:
    """Judge a row of COMPARISONS.

    A winner needs a corrected p below `alpha`, an interval without 0, a measure of which one end
    is better, and nothing that limits the comparison.
    """
    measure = metric(row["metric"])
    p, low, high = row["p_holm"], row["ci_low"], row["ci_high"]
    known = None not in (p, low, high)
    defended = known and row["comparable"] and p < alpha and not low <= 0 <= high
    if not defended or measure.better is None:
        return Verdict(row, measure, None)
    a_wins = (row["difference"] > 0) == (measure.better == "higher")
    return Verdict(row, measure, row["a"] if a_wins else row["b"])


def duels(verdicts: list[Verdict]) -> list[Duel]:
    """Verdicts gathered by pair."""
    found: dict[tuple[str, str], Duel] = {}
    for v in verdicts:
        if v.measure.better:
            a, b = v.row["a"], v.row["b"]
            found.setdefault((a, b), Duel(a, b, [])).verdicts.append(v)
    return list(found.values())
