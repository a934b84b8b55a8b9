"""The files that a manifest names."""

import errno
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from stat import S_ISREG
from typing import Any

import pyarrow as pa

from concord.clips.files import FOUND, Files, absolute, below, printable
from concord.clips.prompts import read_indices
from concord.clips.records import Records, read_records, shown
from concord.config import Collection
from concord.errors import UserError
from concord.models.base import Modality

LABELS = ("label", "group")


def read_manifest(
    path: Path,
    prefix: str,
    kinds: Mapping[str, str],
    companions: Sequence[Modality],
    collection: Collection,
) -> pa.Table:
    """The files that a manifest names, as FOUND, with the `companions` that it has columns for.

    Raises UserError with the mistakes in it.
    """
    labels = {key: column for key in LABELS if (column := getattr(collection, key))}
    labels = {key: column for key, column in labels.items() if column != "parent"}
    modalities = ("audio", *companions)
    beside = [f"{modality}_path" for modality in modalities]
    records = read_records(path, ("path", "index", *beside, *labels.values()))
    problems = [records.missing("path")] if "path" not in records.names else []
    problems += [
        f"{key}: {records.missing(column)}"
        for key, column in labels.items()
        if column not in records.names
    ]
    if problems:
        raise UserError(*problems)
    folder = os.path.dirname(absolute(path))  # noqa: PTH120
    files, paths = Files(prefix, kinds), []
    for row in range(len(records)):
        if target := _target(records, row, "path", folder, problems):
            paths.append(target)
            files.add(below(target, folder), Path(target))
    columns: dict[str, list[Any] | None] = {
        "index": read_indices(records, "index", problems, required=False)
    }
    for modality in modalities:
        columns |= _beside(records, modality, folder, files, problems)
    if problems:
        raise UserError(*shown(problems))
    columns |= {key: _texts(records, name) for key, name in labels.items()}
    return _table(files, paths, prefix, columns)


def _table(
    files: Files, paths: list[str], prefix: str, columns: Mapping[str, list[Any] | None]
) -> pa.Table:
    files.escape()
    clip_ids = pa.array([prefix + relative for relative in files.relative], pa.string())
    table = files.table_with(pa.array(map(printable, paths), pa.string()), clip_ids)
    data = dict(zip(table.column_names, table.columns, strict=True))
    data |= {
        name: pa.array(values, FOUND.field(name).type)
        for name, values in columns.items()
        if values is not None
    }
    return pa.table(data, schema=FOUND)


def _beside(
    records: Records, modality: Modality, folder: str, files: Files, problems: list[str]
) -> dict[str, list[Any] | None]:
    """Paths and stamps of each row's file of a modality; a missing file has no stamp.

    A missing sound is trouble for its clip.
    """
    name = f"{modality}_path"
    paths: list[str | None] = []
    stamps: list[str | None] = []
    for row, value in enumerate(records.columns.get(name, [None] * len(records))):
        path = None
        if value not in (None, ""):
            path = _target(records, row, name, folder, problems)
            if modality == "audio" and files.kind[row : row + 1] == ["image"]:
                problems.append(
                    f"{records.where(row)}: path: found an image with a sound, expected the sound "
                    "as `path` and the image as `image_path`"
                )
        stamp = None
        if path and not problems:
            try:
                stamp = _stamp(path)
            except OSError as error:
                if modality == "audio":
                    files.trouble[row] = ("failed", "missing", f"{name}: {error.strerror}")
        paths.append(path and printable(path))
        stamps.append(stamp)
    return {name: paths, f"{modality}_stamp": stamps}


def _stamp(path: str) -> str:
    state = Path(path).stat()
    if not S_ISREG(state.st_mode):
        raise OSError(errno.EINVAL, "not a file")
    return f"{state.st_size} {state.st_mtime_ns}"


def _texts(records: Records, column: str) -> list[str | None]:
    """A column of labels as text, null where there is none.

    Whole numbers are the same with and without a fraction, as pandas writes those of a column with
    gaps. Raises UserError with the rows that hold neither text nor a number.
    """
    values = records.columns[column]
    problems = [
        f"{records.where(row)}: {column}: expected text or a number, found {value!r}"
        for row, value in enumerate(values)
        if isinstance(value, list | dict)
    ]
    if problems:
        raise UserError(*shown(problems))
    return [_text(value) for value in values]


def _text(value: Any) -> str | None:
    if value is None or value != value:
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip() or None


def _target(
    records: Records, row: int, column: str, folder: str, problems: list[str]
) -> str | None:
    value = records.columns[column][row]
    if not isinstance(value, str) or not value or "\0" in value:
        problems.append(f"{records.where(row)}: {column}: expected a path, found {value!r}")
        return None
    return os.path.normpath(os.path.join(folder, value))  # noqa: PTH118
