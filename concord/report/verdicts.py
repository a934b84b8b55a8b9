"""Who is better, in sentences that a comparison table can defend."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

from concord.report.metrics import TASKS, Metric, metric

Row = dict[str, Any]


@dataclass(frozen=True)
class Verdict:
    """One comparison with what it allows to say; `winner` is None if nothing is clear."""

    row: Row
    measure: Metric
    winner: str | None

    @property
    def task(self) -> str:
        """The task's name for readers."""
        return TASKS[self.row["task"]]

    @property
    def loser(self) -> str:
        """The collection that did not win."""
        return str(self.row["b"] if self.winner == self.row["a"] else self.row["a"])


@dataclass(frozen=True)
class Duel:
    """All measures of one pair of collections together."""

    a: str
    b: str
    wins_a: list[str]
    wins_b: list[str]
    unclear: list[str]


def verdict(row: Row, alpha: float) -> Verdict:
    """Judge a row of COMPARISONS.

    A winner needs a corrected p below `alpha`, an interval without 0, a measure of which one end
    is better, and nothing that limits the comparison.
    """
    measure = metric(row["metric"])
    p, low, high = row["p_holm"], row["ci_low"], row["ci_high"]
    known = None not in (p, low, high)
    if not known or measure.better is None or row["note"] or p >= alpha or low <= 0 <= high:
        return Verdict(row, measure, None)
    a_wins = (row["difference"] > 0) == (measure.better == "higher")
    return Verdict(row, measure, row["a"] if a_wins else row["b"])


def duels(verdicts: list[Verdict]) -> list[Duel]:
    """Verdicts gathered by pair; measures without a better end say nothing here."""
    judged = [v for v in verdicts if v.measure.better]
    models = Counter((v.row["task"], v.row["metric"], v.row["a"], v.row["b"]) for v in judged)
    found: dict[tuple[str, str], Duel] = {}
    for v in judged:
        a, b = v.row["a"], v.row["b"]
        duel = found.setdefault((a, b), Duel(a, b, [], [], []))
        several = models[(v.row["task"], v.row["metric"], a, b)] > 1
        name = f"{v.task.lower()} ({v.measure.label}{', ' + v.row['model'] if several else ''})"
        side = {a: duel.wins_a, b: duel.wins_b}.get(v.winner or "", duel.unclear)
        side.append(name)
    return list(found.values())
