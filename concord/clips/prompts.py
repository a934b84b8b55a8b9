"""Prompt sets: the texts that clips are judged against."""

import math
from pathlib import Path
from typing import Any

import pyarrow as pa

from concord.clips.records import Records, read_records, shown
from concord.config_data import PromptSet
from concord.errors import UserError
from concord.protocol import digest
from concord.tables import TEXTS

PROMPTS = pa.schema(
    [
        ("index", pa.int64()),
        ("video_prompt", pa.string()),
        ("audio_prompt", pa.string()),
        ("stem", pa.string()),
    ]
)


def read_prompts(prompts: PromptSet) -> pa.Table:
    """The prompts in the order of their file: index, video_prompt, audio_prompt, stem.

    Texts are as written, except that blank ones become empty; a column that the file lacks is
    null. With a stem column, an index column is not needed: rows are then counted from 0.
    Raises UserError with all mistakes of the file.
    """
    path = prompts.path.expanduser() if isinstance(prompts.path, Path) else prompts.path
    wanted = {
        "index": prompts.index,
        "video_prompt": prompts.video_prompt,
        "audio_prompt": prompts.audio_prompt,
        "stem": prompts.stem,
    }
    records = read_records(path, [name for name in wanted.values() if name])
    problems = _missing(prompts, records)
    if not len(records):
        problems.append(f"{path}: no prompts in it; expected at least one")
    columns: dict[str, list[Any] | None] = {
        key: _texts(records, name, problems) if name else None
        for key, name in wanted.items()
        if key != "index"
    }
    columns["index"] = read_indices(records, prompts.index, problems)
    if columns["index"] is None:
        columns["index"] = list(range(len(records)))
    else:
        problems += _duplicates(records, columns["index"])
    if problems:
        raise UserError(*shown(problems))
    data = {
        name: columns[name] if columns[name] is not None else [None] * len(records)
        for name in PROMPTS.names
    }
    return pa.table(data, schema=PROMPTS)


def texts(prompts: pa.Table) -> pa.Table:
    """The unique non-empty texts of a prompt set as TEXTS, in the order of text_id."""
    found = {
        text: digest(text)
        for name in ("video_prompt", "audio_prompt")
        for text in prompts[name].unique().to_pylist()
        if text
    }
    pairs = sorted((text_id, text) for text, text_id in found.items())
    columns = [[pair[0] for pair in pairs], [pair[1] for pair in pairs]]
    return pa.table(columns, schema=TEXTS.schema)


def read_indices(
    records: Records, column: str, problems: list[str], required: bool = True
) -> list[int | None] | None:
    """A column of whole numbers, None if there is no such column; mistakes join `problems`.

    Empty values are a mistake only if `required`.
    """
    values = records.columns.get(column)
    if values is None:
        return None
    indices: list[int | None] = []
    for row, value in enumerate(values):
        index = _whole(value)
        if index is None and (required or value not in (None, "")):
            problems.append(
                f"{records.where(row)}: {column}: expected a whole number, found {value!r}"
            )
        indices.append(index)
    return indices


def _missing(prompts: PromptSet, records: Records) -> list[str]:
    problems = []
    texts = (prompts.video_prompt, prompts.audio_prompt)
    if not any(name in records.names for name in texts) and len(records):
        problems.append(f"{records.missing(texts[0])} (nor is there {texts[1]!r})")
    needed = prompts.stem or prompts.index
    if needed not in records.names and len(records):
        problems.append(records.missing(needed))
    return problems


def _texts(records: Records, column: str, problems: list[str]) -> list[str] | None:
    values = records.columns.get(column)
    if values is None:
        return None
    found: list[str] = []
    for row, value in enumerate(values):
        text = "" if value is None else value
        if not isinstance(text, str) or not _encodes(text):
            problems.append(f"{records.where(row)}: {column}: expected text, found {value!r}")
            text = ""
        found.append(text if text.strip() else "")
    return found


def _encodes(text: str) -> bool:
    """Whether the text is valid Unicode: JSON escapes can make halves of surrogate pairs."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _whole(value: Any) -> int | None:
    """The whole number that a value of JSON, CSV or Parquet stands for; None if it is none."""
    if isinstance(value, str):
        try:
            value = int(value) if value.strip().lstrip("+-").isdigit() else float(value)
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    number = int(value)
    return number if number == value and abs(number) < 2**63 else None


def _duplicates(records: Records, indices: list[int | None]) -> list[str]:
    first: dict[int, int] = {}
    problems = []
    for row, index in enumerate(indices):
        if index is None:
            continue
        if index in first:
            problems.append(
                f"{records.where(row)}: index {index} is already that of {records.unit} "
                f"{records.lines[first[index]]}; every prompt needs an index of its own"
            )
        else:
            first[index] = row
    return problems
