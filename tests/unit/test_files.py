"""Files are the old one or the new one, and what a killed writer left is removed."""

import errno
import fcntl
import os
from pathlib import Path

import pytest

from concord import run
from concord.errors import UserError
from concord.files import atomic_path, write_text, write_text_if_changed


def test_an_error_leaves_the_old_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")

    def fail_half_way() -> None:
        with atomic_path(path) as temporary:
            temporary.write_text("half of the n")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_half_way()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_leftovers_of_dead_writers_go_and_those_of_living_ones_stay(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    dead, living = tmp_path / ".tmp-a.txt-1.txt", tmp_path / ".tmp-a.txt-2.txt"
    dead.write_text("x")
    with living.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        write_text(path, "new")
    assert sorted(tmp_path.iterdir()) == sorted([path, living])


def test_unchanged_text_keeps_its_time_stamp(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    assert write_text_if_changed(path, "a")
    before = path.stat().st_mtime_ns
    assert not write_text_if_changed(path, "a")
    assert path.stat().st_mtime_ns == before
    assert write_text_if_changed(path, "b")


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK])
def test_a_file_system_without_locks_is_told(tmp_path: Path, monkeypatch, number: int) -> None:
    """As Lustre without the mount option flock; two runs there would not see each other."""

    def refuse(handle: int, kind: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(UserError, match=r"\.lock: cannot be locked .*Lustre: flock; NFS"):
        run.lock_results(tmp_path)
