"""The files that a manifest names."""

import errno
import os
import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from stat import S_ISREG
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from concord.clips.files import FOUND, Files, absolute, below, printable
from concord.clips.objects import stamps_of
from concord.clips.prompts import read_indices
from concord.clips.records import Records, read_records, shown
from concord.config_data import Collection
from concord.errors import UserError
from concord.models.base import Modality
from concord.remote.urls import Place, Url, is_address, is_remote, names_object

if TYPE_CHECKING:
    from concord.remote.storage import Stamp

LABELS = ("label", "group")


def read_manifest(
    path: Place,
    prefix: str,
    kinds: Mapping[str, str],
    companions: Sequence[Modality],
    collection: Collection,
    allowed: Sequence[Url] = (),
) -> pa.Table:
    """The files that a manifest names, as FOUND, with the `companions` that it has columns for.

    Cells may hold addresses that lie in one of `allowed`; those of a manifest that is an object
    itself lie in its bucket, or in one of them. Raises UserError with the mistakes in it.
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
    cells = Cells(records, path, allowed)
    targets = {column: cells.targets(column) for column in ("path", *beside)}
    problems += cells.problems
    if problems:
        raise UserError(*shown(problems))
    known = stamps_of(filter(is_remote, chain(*targets.values())))
    files, paths = Files(prefix, kinds), []
    for target in filter(None, targets["path"]):
        paths.append(target)
        if is_remote(target):
            files.add_object(below(target, cells.folder), known[target])
        else:
            files.add(below(target, cells.folder), Path(target))
    columns: dict[str, list[Any] | None] = {
        "index": read_indices(records, "index", problems, required=False)
    }
    for modality in modalities:
        columns |= _beside(records, modality, targets[f"{modality}_path"], known, files, problems)
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
    records: Records,
    modality: Modality,
    targets: list[str | None],
    known: "Mapping[str, Stamp | None]",
    files: Files,
    problems: list[str],
) -> dict[str, list[Any] | None]:
    """Paths and stamps of each row's file of a modality; a missing file has no stamp.

    `known` has the stamps of objects. A missing sound is trouble for its clip.
    """
    name = f"{modality}_path"
    stamps: list[str | None] = []
    for row, path in enumerate(targets):
        if path and modality == "audio" and files.kind[row] == "image":
            problems.append(
                f"{records.where(row)}: path: found an image with a sound, expected the sound "
                "as `path` and the image as `image_path`"
            )
        stamp = None
        if path and not problems:
            try:
                stamp = _stamp(path, known)
            except OSError as error:
                if modality == "audio":
                    files.trouble[row] = ("failed", "missing", f"{name}: {error.strerror}")
        stamps.append(stamp)
    paths = [path and printable(path) for path in targets]
    return {name: paths, f"{modality}_stamp": stamps}


def _stamp(path: str, known: "Mapping[str, Stamp | None]") -> str:
    if is_remote(path):
        if stamp := known[path]:
            return str(stamp)
        raise FileNotFoundError(errno.ENOENT, "there is no such object")
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


@dataclass
class Cells:
    """What the cells of a manifest name: local paths, and addresses as far as they are allowed."""

    records: Records
    manifest: Place
    allowed: Sequence[Url]
    problems: list[str] = field(default_factory=list)

    @property
    def folder(self) -> str:
        """The folder of the manifest, where relative paths start."""
        if isinstance(self.manifest, Url):
            return self.manifest.folder
        return os.path.dirname(absolute(self.manifest))  # noqa: PTH120

    def targets(self, column: str) -> list[str | None]:
        """Absolute path, or address, of each row's cell; None where it is empty, or wrong.

        Every row has to have a `path`.
        """
        values = self.records.columns.get(column, [None] * len(self.records))
        needed = column == "path"
        return [
            self._target(row, column, value) if needed or value not in (None, "") else None
            for row, value in enumerate(values)
        ]

    def _target(self, row: int, column: str, value: Any) -> str | None:
        if not isinstance(value, str) or not value or "\0" in value:
            self._wrong(row, column, f"expected a path, found {value!r}")
            return None
        own = self.manifest
        if names_object(value) or (isinstance(own, Url) and is_address(value)):
            return self._address(row, column, value)
        if not isinstance(own, Url):
            return os.path.normpath(os.path.join(self.folder, value))  # noqa: PTH118
        key = posixpath.normpath(posixpath.join(own.folder.key, value))
        if value.startswith("/") or key.startswith(".."):
            what = f"found {value!r} in a manifest that is an object"
            self._wrong(row, column, f"{what}, expected a path below its bucket, or an address")
            return None
        return str(Url(f"{own.scheme}://{own.bucket}/{key}"))

    def _address(self, row: int, column: str, value: str) -> str | None:
        """An object that the user, and not the manifest alone, asks for."""
        try:
            url = Url(value)
        except ValueError as error:
            words = str(error).removeprefix("Input should ")
            self._wrong(row, column, f"expected {words}, found {value!r}")
            return None
        own = isinstance(self.manifest, Url) and self.manifest.bucket == url.bucket
        if not own and not any(place.holds(url) for place in self.allowed):
            self._wrong(
                row,
                column,
                f"found the address {value!r}, which lies in none of remote.manifests; if "
                "manifests may name objects there, write "
                f"`remote: {{manifests: [{url.scheme}://{url.bucket}]}}`",
            )
            return None
        return str(url)

    def _wrong(self, row: int, column: str, what: str) -> None:
        self.problems.append(f"{self.records.where(row)}: {column}: {what}")
