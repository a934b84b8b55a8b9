"""Row-by-row resumption of a shard's table.

Snakemake deletes a job's output before the job runs, so what was already done lives beside it: the
last finished table (a hard link, so it costs no space) and a journal of the rows done since.
"""

import base64
import fcntl
import json
import os
import shutil
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa

from concord.errors import UserError
from concord.files import atomic_path, told_faults
from concord.tables import Table, read_if_sound, read_metadata, read_table, to_arrow, write_table

Row = dict[str, Any]

DOUBTFUL = frozenset({"crashed", "missing"})
"""Reasons for which the machine may be at fault: too little memory, a disk that went away."""


class Resume:
    """The rows of one shard's table that are done, by their key; survives a kill at any moment.

    Use as a context manager: `done` before the work, `add` after each clip, `finish` at the end.
    Clips that failed for one of the DOUBTFUL reasons are not done: whenever their job runs again,
    which may have more memory then, it tries them again.
    """

    def __init__(self, output: Path, table: Table) -> None:
        if "key" not in table.names:
            raise ValueError(f"{table.name} has no key column")
        self.output, self.table = output, table
        self.previous, self.journal = _beside(output)

    def __enter__(self) -> "Resume":
        with told_faults(self.journal):
            self.output.parent.mkdir(parents=True, exist_ok=True)
            self._file = _open_locked(self.journal)
        self._added = 0
        try:
            rows = [*_readable(self.previous, self.table), *self._read_journal()]
        except BaseException:
            self._file.close()
            raise
        self.done: dict[str, Row] = {}
        self._doubtful: dict[str, Row] = {}
        for row in rows:
            (self._doubtful if _is_doubtful(row) else self.done)[row["key"]] = row
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if os.fstat(self._file.fileno()).st_size == 0 and _is_at(self._file, self.journal):
            self.journal.unlink()
        self._file.close()

    def add(self, *rows: Row) -> None:
        """Record finished rows; after this call a kill no longer loses them."""
        lines = b"".join(_line(row) for row in rows)
        whole = os.fstat(self._file.fileno()).st_size
        with told_faults(self.journal):
            try:
                while lines:
                    lines = lines[self._file.write(lines) :]
                os.fsync(self._file.fileno())
            except OSError:
                self._file.truncate(whole)  # else half a line would spoil the next one
                raise
        self.done.update((row["key"], row) for row in rows)
        self._added += len(rows)

    def settle(self, *rows: Row) -> None:
        """Record rows that take no work; those that are known need not be recorded again."""
        known = [row for row in rows if row["key"] in self._doubtful]
        self.done.update((row["key"], row) for row in known)
        self.add(*(row for row in rows if row["key"] not in self._doubtful))

    def finish(self, keys: Iterable[str], **metadata: Any) -> None:
        """Write the table with the rows of `keys`, in that order, and drop all others.

        `run` among the metadata is completed by the numbers of processed and reused rows.
        """
        rows = [self.done[key] for key in keys]
        metadata["run"] = {
            "processed": self._added,
            "reused": len(rows) - self._added,
            **metadata.get("run", {}),
        }
        write_table(self.output, self.table, rows, **metadata)
        _link(self.output, self.previous)
        self.journal.unlink()

    def known(self) -> dict[str, Row]:
        """The rows that are done, by key, and those of the output as it stands."""
        published = _rows(read_table(self.output, self.table)) if self.output.exists() else []
        return {row["key"]: row for row in published} | self._doubtful | self.done

    def forget(self, unwanted: Callable[[Row], bool]) -> int:
        """Drop known rows, and with them the output; returns how many were dropped."""
        known, note = self.known(), self._note()
        self.done = {key: row for key, row in known.items() if not unwanted(row)}
        write_table(self.previous, self.table, self.done.values(), **note)
        self._file.truncate(0)
        self.output.unlink(missing_ok=True)
        return len(known) - len(self.done)

    def _note(self) -> dict[str, Any]:
        """What the output, or else the last finished table, says of its rows."""
        for path in (self.output, self.previous):
            with suppress(UserError):
                note = read_metadata(path)
                return {k: v for k, v in note.items() if k not in ("table", "version")}
        return {}

    def _read_journal(self) -> list[Row]:
        self._file.seek(0)
        content = self._file.readall()
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) != len(content):
            self._file.truncate(len(whole))
        return list(_journaled(whole, self.table))


def _is_doubtful(row: Row) -> bool:
    reasons = (row.get(f"{part}reason") for part in ("", "video_", "audio_"))
    return not DOUBTFUL.isdisjoint(reasons)


def _journaled(whole: bytes, table: Table) -> Iterator[Row]:
    """The rows of a journal's whole lines."""
    for line in whole.splitlines():
        try:
            row = _row(line)
            to_arrow(table, [row])
        except MemoryError:  # pyarrow's is an ArrowException too
            raise
        except (ValueError, pa.ArrowException):
            continue  # written by an older version, or damaged: the clip is done again
        if row.get("key"):
            yield row


def _readable(path: Path, table: Table) -> list[Row]:
    """The rows of a table; none if it is not there or damaged, or of another version.

    The output that a damaged one was a link of is reported where it is read; here the work is done
    again.
    """
    found = read_if_sound(path, table)
    return [] if found is None else _rows(found)


def rows_beside(output: Path, table: Table) -> dict[str, Row]:
    """The rows of another job's table, by key, as they stand; waits for no process, writes nothing.

    Its last finished table and, of an unfinished one, the whole lines of its journal.
    """
    previous, journal = _beside(output)
    rows = _readable(previous, table) or _readable(output, table)
    content = journal.read_bytes() if journal.exists() else b""
    rows += _journaled(content[: content.rfind(b"\n") + 1], table)
    return {row["key"]: row for row in rows}


def _line(row: Row) -> bytes:
    """A line of a journal: a checksum of the rest, and the row as JSON."""
    text = json.dumps(row, default=_encode, ensure_ascii=True).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


def _row(line: bytes) -> Row:
    """The row of a line; raises ValueError if the line is not as it was written."""
    checksum, _, text = line.partition(b" ")
    if checksum != b"%08x" % zlib.crc32(text):
        raise ValueError("another checksum")
    return {name: _decode(value) for name, value in json.loads(text).items()}


def _open_locked(path: Path) -> FileIO:
    """Open a journal for this process alone, waiting for one that a killed run left working."""
    while True:
        file = path.open("a+b", buffering=0)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"{path}: waiting for a process of an earlier run", file=sys.stderr, flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        if _is_at(file, path):
            return file  # else the other process has finished and removed this journal
        file.close()


def _is_at(file: FileIO, path: Path) -> bool:
    return path.exists() and path.stat().st_ino == os.fstat(file.fileno()).st_ino


def finished_rows(output: Path, table: Table) -> list[Row]:
    """All rows of a shard that are done, of an unfinished shard too; none if it never ran."""
    if not any(path.exists() for path in (output, *_beside(output))):
        return []
    with Resume(output, table) as resume:
        return list(resume.known().values())


def forget(output: Path, table: Table, unwanted: Callable[[Row], bool]) -> int:
    """Drop finished rows, and with them the output, so that the next run does them again.

    Returns the number of dropped rows; nothing changes if it is 0.
    """
    if not any(map(unwanted, finished_rows(output, table))):
        return 0
    with Resume(output, table) as resume:
        return resume.forget(unwanted)


def previous_of(output: Path) -> Path:
    """The last finished table of an output."""
    return output.with_name(f".{output.name}.previous")


def _beside(output: Path) -> tuple[Path, Path]:
    """The last finished table and the journal of an output."""
    return previous_of(output), output.with_name(f".{output.name}.journal")


def _rows(data: pa.Table) -> list[Row]:
    """Rows as dicts; lists become float32 arrays."""
    vectors = [f.name for f in data.schema if pa.types.is_list(f.type)]
    rows: list[Row] = data.drop_columns(vectors).to_pylist()
    for name in vectors:
        for row, value in zip(rows, data[name], strict=True):
            row[name] = value.values.to_numpy() if value.is_valid else None
    return rows


def _link(source: Path, target: Path) -> None:
    with atomic_path(target) as temporary:
        temporary.unlink()
        try:
            os.link(source, temporary)
        except OSError:
            shutil.copyfile(source, temporary)


def _encode(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return {"f32": base64.b64encode(value.astype("<f4").tobytes()).decode()}
    raise TypeError(f"{type(value)} cannot be written to a journal")


def _decode(value: Any) -> Any:
    if isinstance(value, dict) and "f32" in value:
        return np.frombuffer(base64.b64decode(value["f32"]), dtype="<f4")
    return value
