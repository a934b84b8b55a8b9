"""CSV twins of the tables, for spreadsheets."""

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from concord.files import atomic_path

FORMULA = r"^[=+\-@\t\r]"


def write_csv(parquet: Path) -> None:
    """Write the table at `parquet` as CSV beside it: UTF-8, a header, text quoted, null empty.

    Formulas are quoted as by `without_formulas`; the Parquet file holds them unchanged.
    """
    table = without_formulas(pq.read_table(parquet))
    with atomic_path(parquet.with_suffix(".csv")) as temporary:
        pyarrow.csv.write_csv(table, temporary)


def without_formulas(table: pa.Table) -> pa.Table:
    """The table with a single quote before text that a spreadsheet would run as a formula.

    Such text begins with = + - @, tab or carriage return.
    """
    for position, column in enumerate(table.schema):
        if pa.types.is_string(column.type):
            safe = pc.replace_substring_regex(table[column.name], FORMULA, r"'\0")
            table = table.set_column(position, column.name, safe)
    return table
