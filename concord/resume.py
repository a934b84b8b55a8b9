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
from collections.abc import Callable, Iterable
from io import BufferedRandom
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa

from concord.errors import UserError
from concord.files import atomic_path
from concord.tables import Table, read_metadata, read_table, to_arrow, write_table

Row = dict[str, Any]


class Resume:
    """The rows of one shard's table that are done, by their key; survives a kill at any moment.

    Use as a context manager: `done` before the work, `add` after each clip, `finish` at the end.
    """

    def __init__(self, output: Path, table: Table) -> None:
        if "key" not in table.names:
            raise ValueError(f"{table.name} has no key column")
        self.output, self.table = output, table
        self.previous = output.with_name(f".{output.name}.previous")
        self.journal = output.with_name(f".{output.name}.journal")

    def __enter__(self) -> "Resume":
        self.output.parent.mkdir(parents=True, exist_ok=True)
        self._file = _open_locked(self.journal)
        self.done: dict[str, Row] = {row["key"]: row for row in self._read_previous()}
        self.done.update((row["key"], row) for row in self._read_journal())
        self._added = 0
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def add(self, row: Row) -> None:
        """Record one finished row; after this call a kill no longer loses it."""
        line = json.dumps(row, default=_encode, ensure_ascii=True) + "\n"
        self._file.write(line.encode())
        self._file.flush()
        os.fsync(self._file.fileno())
        self.done[row["key"]] = row
        self._added += 1

    def finish(self, keys: Iterable[str], **metadata: Any) -> None:
        """Write the table with the rows of `keys`, in that order, and drop all others."""
        rows = [self.done[key] for key in keys]
        run = {"processed": self._added, "reused": len(rows) - self._added}
        write_table(self.output, self.table, rows, run=run, **metadata)
        _link(self.output, self.previous)
        self.journal.unlink()

    def _read_previous(self) -> list[Row]:
        if not self.previous.exists():
            return []
        try:
            return _rows(read_table(self.previous, self.table))
        except UserError:
            # The output it was a link of is reported where it is read; here the work is done again.
            return []

    def _read_journal(self) -> list[Row]:
        self._file.seek(0)
        content = self._file.read()
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) != len(content):
            self._file.truncate(len(whole))
        rows: list[Row] = []
        for line in whole.splitlines():
            try:
                row = {k: _decode(v) for k, v in json.loads(line).items()}
                to_arrow(self.table, [row])
            except (ValueError, pa.ArrowException):
                continue  # written by an older version, or damaged: the clip is done again
            if row.get("key"):
                rows.append(row)
        return rows


def _open_locked(path: Path) -> BufferedRandom:
    """Open a journal for this process alone, waiting for one that a killed run left working."""
    while True:
        file = path.open("a+b")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"{path}: waiting for a process of an earlier run", file=sys.stderr, flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        if path.exists() and path.stat().st_ino == os.fstat(file.fileno()).st_ino:
            return file  # else the other process has finished and removed this journal
        file.close()


def forget(output: Path, table: Table, unwanted: Callable[[Row], bool]) -> int:
    """Drop finished rows, and with them the output, so that the next run does them again.

    Returns the number of dropped rows; nothing changes if it is 0.
    """
    if not output.exists():
        return 0
    rows = _rows(read_table(output, table))
    kept = [row for row in rows if not unwanted(row)]
    if len(kept) < len(rows):
        note = read_metadata(output)
        previous = output.with_name(f".{output.name}.previous")
        write_table(previous, table, kept, protocol=note.get("protocol"))
        output.unlink()
    return len(rows) - len(kept)


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
