"""What is not there, at which stage, and why."""

from dataclasses import dataclass
from typing import Any

import pandas as pd

from concord.tables import REASONS, STATUSES

LISTED = 200  # rows of a list; the tables have them all


@dataclass(frozen=True)
class Share:
    """Counts of one collection at one stage, by status."""

    ok: int
    skipped: int
    failed: int

    @property
    def total(self) -> int:
        """All rows."""
        return self.ok + self.skipped + self.failed

    def percent(self, status: str) -> float:
        """A status' share of the rows, in per cent."""
        return round(100 * int(getattr(self, status)) / self.total, 3) if self.total else 0.0


def records(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as dicts, None where there is nothing."""
    plain = rows.astype(object).where(rows.notna(), None)
    return [{str(k): v for k, v in row.items()} for row in plain.to_dict("records")]


class Missing:
    """The status table, counted: per stage and collection, per reason, and clip by clip."""

    def __init__(self, status: pd.DataFrame, collections: list[str]) -> None:
        self.status, self.collections = status, collections
        self.stages = list(dict.fromkeys(status["stage"]))
        self._counts = status.groupby(["stage", "collection", "status"]).size().to_dict()

    def share(self, stage: str, collection: str) -> Share:
        """Counts at a stage."""
        return Share(*(int(self._counts.get((stage, collection, s), 0)) for s in STATUSES))

    def stage_total(self, stage: str) -> int:
        """Rows that are ok at a stage, over all collections."""
        return sum(self.share(stage, name).ok for name in self.collections)

    @property
    def causes(self) -> pd.DataFrame:
        """Everything not ok, once a clip and reason, at its first stage: what has to be mended."""
        bad = self.status[self.status["status"] != "ok"]
        # Queries of retrieval that are no clips: what they miss stands at their prompts already.
        bad = bad[bad["clip_id"].notna() | ~bad["stage"].str.startswith("scores/retrieval/")]
        who = bad["clip_id"].fillna("\0" + bad["item"].fillna("").astype(str))
        first = ~pd.DataFrame({"c": bad["collection"], "w": who, "r": bad["reason"]}).duplicated()
        return bad[first]

    def reasons(self) -> list[dict[str, Any]]:
        """First causes: stage, status, reason, its meaning and how many a collection."""
        causes = self.causes
        counts = causes.groupby(["stage", "status", "reason", "collection"], dropna=False).size()
        found: dict[tuple[str, str, str], dict[str, int]] = {}
        plain = counts.reset_index().itertuples(index=False, name=None)
        for stage, status, reason, collection, n in plain:
            found.setdefault((stage, status, reason), {})[collection] = int(n)
        rows = [
            {
                "stage": stage, "status": status, "reason": reason,
                "meaning": REASONS.get(reason, ""), "counts": by_collection,
                "total": sum(by_collection.values()),
            }
            for (stage, status, reason), by_collection in found.items()
        ]  # fmt: skip
        return sorted(rows, key=lambda row: -row["total"])

    def listed(self) -> list[dict[str, Any]]:
        """The first of the causes, failures before what was skipped."""
        return records(self.causes.sort_values("status", kind="stable").head(LISTED))

    @property
    def listed_total(self) -> int:
        """How many causes there are."""
        return len(self.causes)
