"""What each broken file deserves, as it was written down before the workflow saw it."""

import csv
from pathlib import Path

TABLE = Path(__file__).parent / "expected_broken.tsv"


def expected_broken() -> dict[str, dict[str, str]]:
    """The rows of the table by file: status and reason of the file, its picture and its sound."""
    lines = [line for line in TABLE.read_text().splitlines() if not line.startswith("#")]
    return {row["file"]: row for row in csv.DictReader(lines, delimiter="\t")}
