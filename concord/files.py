"""Files that are either the old one or the new one, whatever happens in between."""

import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from concord.errors import MachineError

NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
"""Errors of a disk, or of a user's share of it, that is full."""
_FORBIDDEN = (errno.EROFS, errno.EACCES, errno.EPERM)
_LOCKLESS = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK)
"""What flock says on a file system that was mounted without locks."""


@contextmanager
def told_faults(path: Path) -> Iterator[None]:
    """Raise a MachineError where `path` cannot be written: no room, or not allowed."""
    try:
        yield
    except OSError as error:
        if error.errno not in (*NO_ROOM, *_FORBIDDEN, *_LOCKLESS):
            raise
        raise MachineError(fault(error, path)) from error


def fault(error: OSError, path: Path) -> str:
    """What an error in writing `path` means, and what to do."""
    if error.errno in _LOCKLESS:
        return (
            f"{path}: cannot be locked ({os.strerror(error.errno or 0)}), so two processes might "
            "write it at once; have its file system mounted with locks (Lustre: flock; NFS: "
            "version 4, or without nolock), or set `results:` to another"
        )
    if error.errno not in NO_ROOM:
        return (
            f"{path}: cannot be written ({os.strerror(error.errno or 0)}); let this user write to "
            "its folder, and run the same command again"
        )
    room = ""
    with suppress(OSError):
        folder = next(parent for parent in path.absolute().parents if parent.is_dir())
        room = f", {shutil.disk_usage(folder).free // 2**20} MB are free in {folder}"
    return (
        f"{path}: there is no room for it ({os.strerror(error.errno or 0)}{room}); make room there "
        "and run the same command again: what is done is kept, and `python -m concord plan` "
        "estimates what the whole run needs"
    )


def check_in_sight(paths: Sequence[str]) -> None:
    """Check that of files which all were there when the run was planned, one still is.

    One may be deleted while a run is at work; where all are gone, or the folder of the only one, it
    is rather what holds them. Raises MachineError then.
    """
    alone = len(paths) == 1 and Path(paths[0]).parent.is_dir()
    if paths and not alone and not any(map(os.path.exists, paths)):
        raise MachineError(
            f"{os.path.commonpath(paths)}: expected originals of this job ({len(paths)}), which "
            "were there when the run was planned, found none; mount or restore what holds them, "
            "and run the same command again: what is done is kept"
        )


def is_current(output: Path, inputs: Iterable[Path]) -> bool:
    """Whether a file is there, and is no older than what it is made from."""
    try:
        made = output.stat().st_mtime_ns
        return all(path.stat().st_mtime_ns <= made for path in inputs)
    except OSError:
        return False


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`, renamed onto it when the block ends without an error.

    The content is on disk before the rename, so that a crash leaves the old file or the new one.
    What a killed writer of the same path left behind is removed. Raises MachineError if there is no
    room, or if it may not be written.
    """
    with told_faults(path), _beside(path) as temporary:
        yield temporary


@contextmanager
def _beside(path: Path) -> Iterator[Path]:
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_stale(path)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=_prefix(path), suffix=path.suffix)
    fcntl.flock(handle, fcntl.LOCK_EX)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb") as f:
            os.fsync(f.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
        os.close(handle)


def _prefix(path: Path) -> str:
    return f".tmp-{path.name}-"


def _remove_stale(path: Path) -> None:
    """Remove temporary files of `path` whose writer, which held a lock on them, is gone."""
    for name in os.listdir(path.parent):  # noqa: PTH208 (names alone, without a Path for each)
        if not name.startswith(_prefix(path)):
            continue
        stale = path.with_name(name)
        try:
            with stale.open("rb") as file:
                lock_to_look(file)
                stale.unlink(missing_ok=True)
        except OSError:
            continue  # still being written, or already gone


def lock_to_look(file: BinaryIO) -> None:
    """Lock a file that is open for reading; raises BlockingIOError if a process holds it for good.

    The lock is a shared one: NFS gives an exclusive one only to those who opened it for writing.
    """
    fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_text_if_changed(path: Path, text: str) -> bool:
    """Write UTF-8 text atomically unless the file already holds it; says whether it wrote."""
    if path.exists() and path.read_bytes() == text.encode():
        return False
    write_text(path, text)
    return True


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
