"""Temporary files: on this machine's own disk, gone with their job, and moved whole."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from media_clips import clip, processed, run

from concord.errors import UserError
from concord.scratch import PREFIX, move_file, scratch_folder, scratch_root

HOLD = (
    "from concord.scratch import scratch_folder\n"
    "with scratch_folder() as f: print(f, flush=True); input()"
)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for temporary files of this test."""
    monkeypatch.delenv("SLURM_TMPDIR", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", None)
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A disk of one megabyte."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a small disk cannot be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_where_temporary_files_go(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert scratch_root() == root
    own = root / "of this job"
    monkeypatch.setenv("SLURM_TMPDIR", str(own))
    assert scratch_root() == root, "SLURM names a folder that is not there"
    own.mkdir()
    assert scratch_root() == own


def test_folders_of_killed_processes_are_removed_and_no_others(root: Path) -> None:
    def hold() -> tuple[subprocess.Popen[str], Path]:
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert process.stdout
        return process, Path(process.stdout.readline().strip())

    (killed, left), (living, kept) = hold(), hold()
    other = root / "concord-gpus-0"
    other.mkdir()
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    (left / "deep").mkdir()
    (left / "deep" / "file").touch()
    with scratch_folder() as own:
        assert {path.name for path in root.iterdir()} == {kept.name, own.name, other.name}
    living.communicate("\n")
    assert living.returncode == 0
    assert list(root.iterdir()) == [other]


def test_a_link_in_the_place_of_a_left_over_is_not_followed(root: Path, tmp_path: Path) -> None:
    target = tmp_path / "valuable"
    target.mkdir()
    (target / "file").touch()
    (root / f"{PREFIX}x").symlink_to(target)
    with scratch_folder():
        pass
    assert (target / "file").exists()


def test_nothing_is_worked_on_in_the_results(root: Path, tmp_path: Path) -> None:
    """The folder of the shard sees finished files alone."""
    shard = tmp_path / "shard"
    shard.mkdir()
    watch = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import os, sys\n"
            "seen = set()\n"
            "while not os.path.exists(sys.argv[2]):\n"
            "    for folder, names, files in os.walk(sys.argv[1]): seen |= {*names, *files}\n"
            "print(*sorted(seen))",
            str(shard),
            str(tmp_path / "stop"),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    row = run(tmp_path, [clip(tmp_path / "a.mp4")])["a.mp4"]
    (tmp_path / "stop").touch()
    seen = set(watch.communicate()[0].split())
    assert {"video", "audio", row["proxy"], row["wave"]} <= seen
    assert not {name for name in seen if "work" in name or name.startswith("clip")}
    assert list(root.iterdir()) == []


def test_files_move_to_another_disk_whole(small: Path, tmp_path: Path) -> None:
    source, target = tmp_path / "a", small / "a"
    source.write_bytes(os.urandom(500_000))
    content = source.read_bytes()
    move_file(source, target)
    assert target.read_bytes() == content
    assert [path.name for path in small.iterdir()] == ["a"]
    source.write_bytes(content * 2)
    with pytest.raises(OSError, match="No space left"):
        move_file(source, target)
    assert target.read_bytes() == content
    assert [path.name for path in small.iterdir()] == ["a"]
    assert source.exists()


def test_a_full_folder_for_temporary_files_is_named(
    root: Path, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (small / "filled").write_bytes(bytes(1_000_000))
    monkeypatch.setenv("TMPDIR", str(small))
    monkeypatch.setattr(tempfile, "tempdir", None)
    with pytest.raises(UserError, match=rf"{small}.*No space left.*temporary files.*TMPDIR"):
        run(tmp_path, [clip(tmp_path / "a.mp4")])
    assert [path.name for path in small.iterdir()] == ["filled"]
    (small / "filled").unlink()
    assert run(tmp_path, [tmp_path / "a.mp4"])["a.mp4"]["status"] == "ok"
    assert processed(tmp_path) == 1


def test_a_full_disk_of_results_is_named(root: Path, small: Path, tmp_path: Path) -> None:
    path = clip(tmp_path / "a.mp4")
    (small / "shard" / "video").mkdir(parents=True)
    (small / "filled").write_bytes(bytes(248 * 4096))
    with pytest.raises(UserError, match=rf"{small}/shard/.*no room for it .No space left"):
        run(small, [path])
    assert not [*small.rglob(".tmp-*")]
    (small / "filled").unlink()
    assert run(small, [path])["a.mp4"]["status"] == "ok"
    assert list(root.iterdir()) == []
