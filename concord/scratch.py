"""Temporary files on this machine's own disk, which go away with the job that made them."""

import errno
import fcntl
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from concord.errors import MachineError, UserError

PREFIX = "concord-work-"


def scratch_root() -> Path:
    """The folder for temporary files: SLURM_TMPDIR where a site gives one, else TMPDIR or /tmp.

    Snakemake sets TMPDIR from its resource `tmpdir`. Raises UserError if none can be written.
    """
    given = os.environ.get("SLURM_TMPDIR")
    if given and os.access(given, os.W_OK | os.X_OK):
        return Path(given)
    try:
        return Path(tempfile.gettempdir())
    except FileNotFoundError as error:
        raise UserError(
            f"no folder for temporary files can be written ({error.strerror}: {error.filename}); "
            "make room in /tmp, or set TMPDIR to a folder with room"
        ) from error


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder for this process alone, among the temporary files; gone after the block.

    It is locked as long as the process lives; those that killed processes left are removed.
    Raises UserError if there is no room for it.
    """
    root = scratch_root()
    for stale in root.glob(f"{PREFIX}*"):
        _remove_stale(stale)
    folder, handle = _locked_folder(root)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(handle)


def _locked_folder(root: Path) -> tuple[Path, int]:
    while True:
        try:
            folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=root))
        except OSError as error:
            raise MachineError(full(root, error.strerror)) from error
        with suppress(FileNotFoundError):
            handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            with suppress(OSError):  # a file system without locks: nobody removes the folder
                fcntl.flock(handle, fcntl.LOCK_EX)
            if folder.exists():
                return folder, handle
            os.close(handle)  # another process took it for a left-over before it was locked


def _remove_stale(folder: Path) -> None:
    with suppress(OSError):  # gone by now, or another user's
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(handle)


def full(path: Path, problem: str | None) -> str:
    """What to say when temporary files cannot be written below `path`."""
    return (
        f"{path}: {problem}; this is the folder for temporary files: make room there, or set "
        "TMPDIR to a folder with room"
    )


def move_file(file: Path, target: Path) -> None:
    """Move a finished file to its place, on any file system: it is there whole or not at all.

    Raises OSError.
    """
    try:
        file.replace(target)
        return
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
    with file.open("rb") as source:
        copy_file(source, target)
    file.unlink()


def copy_file(source: BinaryIO, target: Path) -> None:
    """Copy what is left of a file whole or not at all: as `.tmp-*` beside its place, then renamed.

    Raises OSError.
    """
    temporary = target.with_name(f".tmp-{uuid.uuid4().hex}")
    try:
        with temporary.open("xb") as copy:
            shutil.copyfileobj(source, copy, 2**20)
            copy.flush()
            os.fsync(copy.fileno())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
