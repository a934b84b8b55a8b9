"""What the quality checks of the embeddings found."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Row = dict[str, Any]
GRAVEST_FIRST = ("failed", "warning")


@dataclass(frozen=True)
class Checks:
    """Rows of QUALITY, sorted out."""

    rows: Sequence[Row]

    @property
    def noticed(self) -> list[Row]:
        """Rows that a reader must see, the gravest first."""
        return [row for status in GRAVEST_FIRST for row in self.rows if row["status"] == status]

    @property
    def failed(self) -> int:
        """How many checks failed."""
        return sum(row["status"] == "failed" for row in self.rows)

    @property
    def line(self) -> str:
        """All of it in one line."""
        counts = Counter(row["status"] for row in self.rows)
        tables = len({(row["model"], row["modality"], row["source"]) for row in self.rows})
        told = [f"{counts[status]} {status}" for status in GRAVEST_FIRST if counts[status]]
        told.append(f"{'all ' * (counts['ok'] == len(self.rows))}{counts['ok']} ok")
        if counts["skipped"]:
            told.append(f"{counts['skipped']} untold (too few vectors)")
        what = f"{len(self.rows)} checks of {tables} embedding table{'s' if tables != 1 else ''}"
        return f"{what}: {', '.join(told)}"


def examples(row: Row) -> list[str]:
    """Some of the ids a check found; ids that are alike are joined by an equals sign."""
    found = json.loads(row["examples"] or "[]")
    return [" = ".join(map(str, item)) if isinstance(item, list) else str(item) for item in found]
