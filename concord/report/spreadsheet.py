"""CSV for spreadsheets; every CSV that Concord leaves is written here."""

import csv
import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from concord.files import atomic_path
from concord.tables import read_any

FORMULA = "^[=+\\-@\\t\\r\\n＝＋－＠]"
"""How a text begins that a spreadsheet would run; East Asian ones know the wide signs too."""


def write_csv(parquet: Path) -> None:
    """Write the table at `parquet` as CSV beside it: UTF-8, a header, text quoted, null empty.

    Formulas are quoted as by `without_formulas`; the Parquet file holds them unchanged.
    """
    table = without_formulas(read_any(parquet))
    with atomic_path(parquet.with_suffix(".csv")) as temporary:
        pyarrow.csv.write_csv(table, temporary)


def write_rows(path: Path, columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows as CSV, atomically, with the same care."""
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        file.write(csv_text(columns, rows))


def csv_text(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as CSV: a header, lines that end in CR LF, None empty, formulas quoted."""
    file = io.StringIO(newline="")
    writer = csv.writer(file)
    writer.writerow(columns)
    for row in rows:
        writer.writerow([harmless(row[name]) for name in columns])
    return file.getvalue()


def harmless(value: Any) -> Any:
    """The value; a text that a spreadsheet would run with a single quote before it."""
    return f"'{value}" if isinstance(value, str) and re.match(FORMULA, value) else value


def without_formulas(table: pa.Table) -> pa.Table:
    """The table with a single quote before text that a spreadsheet would run as a formula.

    Such text begins with = + - @, tab or an end of line.
    """
    for position, column in enumerate(table.schema):
        if _is_text(column.type):
            texts = table[column.name].cast(pa.large_string())
            safe = pc.replace_substring_regex(texts, FORMULA, r"'\0")
            table = table.set_column(position, column.name, safe)
    return table


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))
