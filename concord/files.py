"""Files that are either the old one or the new one, whatever happens in between."""

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`, renamed onto it when the block ends without an error.

    The content is on disk before the rename, so that a crash leaves the old file or the new one.
    What a killed writer of the same path left behind is removed.
    """
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
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                stale.unlink(missing_ok=True)
        except OSError:
            continue  # still being written, or already gone


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_text_if_changed(path: Path, text: str) -> bool:
    """Write UTF-8 text atomically unless the file already holds it; says whether it wrote."""
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return False
    write_text(path, text)
    return True


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
