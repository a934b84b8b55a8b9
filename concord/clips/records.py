"""Lists that users write: JSON, JSONL, CSV and Parquet as columns, with clear errors."""

import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from concord.errors import UserError, did_you_mean
from concord.remote.urls import Place
from concord.tables import REASONS

SUFFIXES = (".json", ".jsonl", ".csv", ".tsv", ".parquet")
_SHOWN = 5
_TEXTS = (pa.string(), pa.large_string(), pa.binary(), pa.large_binary())
MAX_ROWS = 50_000_000
MAX_COLUMN_BYTES = 2**31
"""A few kilobytes of Parquet may stand for more rows and text than any memory holds."""


@dataclass
class Records:
    """Some columns of a list.

    `names` are all the columns there are, `columns` the values of those that were asked for, and
    `lines` where each row stands in the file, counted as `unit` (line or row) from 1.
    """

    path: Place
    unit: str
    names: list[str]
    columns: dict[str, list[Any]] = field(default_factory=dict)
    lines: Sequence[int] = ()

    def __len__(self) -> int:
        return len(self.lines)

    def where(self, row: int) -> str:
        return f"{self.path}, {self.unit} {self.lines[row]}"

    def missing(self, column: str) -> str:
        """The text of the mistake that `column` is not there."""
        there = ", ".join(self.names) or "none"
        hint = did_you_mean(column, self.names)
        return f"{self.path}: no column {column!r}; there is: {there}{hint}"


def read_records(path: Place, columns: Iterable[str]) -> Records:
    """Read those of `columns` that a JSON list, JSONL, CSV, TSV or Parquet file or object has.

    Text is UTF-8, with or without a byte-order mark. CSV values are text, others keep their type.
    Raises UserError with file, line and what was expected.
    """
    wanted = set(columns)
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise UserError(f"{path}: expected a file that ends in {', '.join(SUFFIXES)}")
    with _local(path) as file, _explained(path):
        if suffix == ".parquet":
            return _parquet(file, path, wanted)
        text = file.read_text(encoding="utf-8-sig")
    if suffix == ".json":
        return _objects(path, _items(path, text), "row", wanted)
    if suffix == ".jsonl":
        return _objects(path, _lines(path, text), "line", wanted)
    return _delimited(path, text, wanted)


def shown(problems: list[str]) -> list[str]:
    """The first few of many mistakes of one file, and how many more there are."""
    more = len(problems) - _SHOWN
    return problems if more <= 0 else [*problems[:_SHOWN], f"... and {more} more like these"]


@contextmanager
def _local(path: Place) -> Iterator[Path]:
    """The file itself, or a copy of the object for the time of the block."""
    if isinstance(path, Path):
        yield path
        return
    from concord.remote.fetch import UnusableError, local_copy

    try:
        with local_copy(path) as copy:
            yield copy
    except UnusableError as error:
        raise UserError(f"{path}: {REASONS[error.reason]} ({error.detail})") from error


@contextmanager
def _explained(path: Place) -> Iterator[None]:
    try:
        yield
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path}: expected UTF-8, found byte 0x{error.object[error.start]:02x} at offset "
            f"{error.start}; save the file as UTF-8"
        ) from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from error
    except pa.ArrowException as error:
        raise UserError(f"{path}: cannot be read as Parquet: {error}") from error


def _parquet(source: Path, path: Place, wanted: set[str]) -> Records:
    schema = pq.read_schema(source)
    names = schema.names
    chosen = [name for name in names if name in wanted]
    # Texts that repeat stay short until it is known how long they are all together.
    texts = [name for name in chosen if schema.field(name).type in _TEXTS]
    for name in chosen:
        if pa.types.is_nested(kind := schema.field(name).type):
            raise UserError(f"{path}: {name}: expected text or numbers, found {kind}")
    with pq.ParquetFile(source, read_dictionary=texts) as file:
        _check_size(path, file.metadata)
        data = file.read(chosen)
        rows = file.metadata.num_rows
    columns = {}
    for name in chosen:
        if (size := sum(map(_text_bytes, data[name].chunks))) > MAX_COLUMN_BYTES:
            raise UserError(_too_much(path, f"{size:,} bytes of text in the column {name!r}"))
        columns[name] = data[name].to_pylist()
    return Records(path, "row", names, columns, range(1, rows + 1))


def _check_size(path: Place, metadata: pq.FileMetaData) -> None:
    """Raise UserError for a file that says it is larger than any list of clips or prompts."""
    groups = [metadata.row_group(at) for at in range(metadata.num_row_groups)]
    parts = [group.column(at) for group in groups for at in range(group.num_columns)]
    values = max([metadata.num_rows, *(part.num_values for part in parts)])
    if values > MAX_ROWS:
        raise UserError(_too_much(path, f"{values:,} values in a column"))
    if (size := sum(part.total_uncompressed_size for part in parts)) > MAX_COLUMN_BYTES:
        raise UserError(_too_much(path, f"{size:,} bytes of data"))


def _text_bytes(part: pa.Array) -> int:
    """Bytes of the texts of a column that holds each once, when all are written out."""
    if not pa.types.is_dictionary(part.type) or not len(part.dictionary):
        return 0
    counts = pc.value_counts(part.indices.drop_null())
    lengths = pc.binary_length(part.dictionary).take(counts.field("values"))
    return int(pc.sum(pc.multiply(lengths.cast(pa.int64()), counts.field("counts"))).as_py() or 0)


def _too_much(path: Place, found: str) -> str:
    return (
        f"{path}: found {found}, expected at most {MAX_ROWS:,} rows and {MAX_COLUMN_BYTES:,} bytes "
        "of text a column; divide the list among several collections"
    )


def _items(path: Place, text: str) -> Iterator[tuple[int, Any]]:
    try:
        items = json.loads(text)
    except (RecursionError, ValueError) as error:
        if not isinstance(error, json.JSONDecodeError):
            raise UserError(f"{path}: {_odd_json(error)}") from error
        advice = "; if it holds one object a line, name it .jsonl" if error.pos else ""
        raise UserError(
            f"{path}, line {error.lineno}, column {error.colno}: not valid JSON: "
            f"{error.msg}{advice}"
        ) from error
    if not isinstance(items, list):
        raise UserError(f"{path}: expected a JSON list of objects, found {_kind(items)}")
    yield from enumerate(items, start=1)


def _lines(path: Place, text: str) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                yield number, json.loads(line)
            except (RecursionError, ValueError) as error:
                if not isinstance(error, json.JSONDecodeError):
                    raise UserError(f"{path}, line {number}: {_odd_json(error)}") from error
                raise UserError(
                    f"{path}, line {number}: not valid JSON: {error.msg}; "
                    "expected one object a line"
                ) from error


def _odd_json(error: RecursionError | ValueError) -> str:
    if isinstance(error, RecursionError):
        return "lists or objects in each other too deep to be read; expected one level of objects"
    return "a number of thousands of digits; expected whole numbers below 2^63 and texts"


def _objects(path: Place, items: Iterable[tuple[int, Any]], unit: str, wanted: set[str]) -> Records:
    names: dict[str, None] = {}
    lines: list[int] = []
    rows: list[dict[str, Any]] = []
    for number, item in items:
        if not isinstance(item, dict):
            raise UserError(f"{path}, {unit} {number}: expected an object, found {_kind(item)}")
        names.update(dict.fromkeys(item))
        lines.append(number)
        rows.append(item)
    columns = {name: [row.get(name) for row in rows] for name in names if name in wanted}
    return Records(path, unit, list(names), columns, lines)


def _delimited(path: Place, text: str, wanted: set[str]) -> Records:
    head = text.lstrip().split("\n", 1)[0]
    delimiter = max(",", ";", "\t", key=head.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows: list[list[str]] = []
    lines: list[int] = []
    start = 1
    try:
        for row in reader:
            if row:
                rows.append(row)
                lines.append(start)
            start = reader.line_num + 1
    except csv.Error as error:
        raise UserError(f"{path}, line {start}: not valid CSV: {error}") from error
    if not rows:
        raise UserError(f"{path}: empty; expected a line with column names")
    names = [name.strip() for name in rows[0]]
    wrong = [
        f"{path}, line {line}: expected {len(names)} fields, found {len(row)}; "
        f"put quotes around texts that contain {delimiter!r}"
        for line, row in zip(lines, rows, strict=True)
        if len(row) != len(names)
    ]
    if wrong:
        raise UserError(*shown(wrong))
    columns = {
        name: [row[at] for row in rows[1:]] for at, name in enumerate(names) if name in wanted
    }
    return Records(path, "line", names, columns, lines[1:])


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a text", type(None): "null"}
    return names.get(type(value), f"the value {value!r}")
