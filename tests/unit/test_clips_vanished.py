"""Clips that are gone all at once: nothing is planned, so nothing of theirs is deleted."""

import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from planned_clips import configure, fill, members, stamps
from storage import Bucket

from concord import tables
from concord.clips import scan
from concord.clips.plan import plan, problems
from concord.config import Config
from concord.errors import MachineError, UserError


def measured(config: Config) -> Config:
    """The configuration, when its clips are planned and have media."""
    for shard in plan(config)["c"]:
        (config.results / "media/c" / shard).mkdir(parents=True, exist_ok=True)
    return config


def refused(config: Config) -> str:
    """What the plan says that is not made; all stays as it was, and `check` says the same."""
    before = stamps(config)
    with pytest.raises(UserError) as error:
        plan(config)
    assert stamps(config) == before
    assert problems(config) == list(error.value.args)
    (text,) = error.value.args
    assert f"delete {config.results}/clips/c/clips.parquet and run again" in text
    return text.partition(";")[0]


def test_a_path_that_is_empty_is_missed(tmp_path: Path) -> None:
    fill(tmp_path / "a", *(f"{i}.mp4" for i in range(9)))
    fill(tmp_path / "b", "sub/1.mp4", "2.mp4")
    collection = {"path": [tmp_path / "a", tmp_path / "b"]}
    config = measured(configure(tmp_path, collection=collection))
    planned = members(config)
    (tmp_path / "b").rename(tmp_path / "elsewhere")
    (tmp_path / "b").mkdir()
    expected = f"collections.c: 2 of 11 clips with results are gone (all 2 in {tmp_path}/b)"
    assert refused(config) == expected
    (tmp_path / "b").rmdir()
    (tmp_path / "elsewhere").rename(tmp_path / "b")
    plan(config)
    assert members(config) == planned


def test_few_that_others_took_the_place_of_are_not_missed(tmp_path: Path) -> None:
    folder = fill(tmp_path / "clips", "1.mp4", "2.mp4")
    config = measured(configure(tmp_path))
    shutil.rmtree(folder)
    fill(folder, "number3.mp4")
    plan(config)
    assert members(config).keys() == {"number3.mp4"}


def test_a_folder_of_many_is_missed_and_one_of_few_is_not(tmp_path: Path) -> None:
    folder = fill(tmp_path / "clips", *(f"a/{i:02d}.mp4" for i in range(30)))
    fill(folder, *(f"b/x/{i}.mp4" for i in range(5)), *(f"b/y/{i}.mp4" for i in range(6)))
    config = measured(configure(tmp_path))
    shutil.rmtree(folder / "b/y")
    plan(config)
    assert len(members(config)) == 35
    fill(folder, *(f"b/z/{i}.mp4" for i in range(5)))
    measured(config)
    shutil.rmtree(folder / "b")
    expected = f"collections.c: 10 of 40 clips with results are gone (all 10 in {folder}/b)"
    assert refused(config) == expected


def test_most_of_the_clips_are_missed_wherever_they_lay(tmp_path: Path) -> None:
    folder = fill(tmp_path / "clips", *(f"{i}.mp4" for i in range(19)))
    config = measured(configure(tmp_path))
    for i in range(10):
        (folder / f"{i}.mp4").unlink()
    assert refused(config) == "collections.c: 10 of 19 clips with results are gone"
    (config.results / "clips/c/clips.parquet").unlink()
    plan(config)
    assert members(config).keys() == {f"{i}.mp4" for i in range(10, 19)}
    for i in range(10, 18):
        (folder / f"{i}.mp4").unlink()
    plan(config)
    assert members(config).keys() == {"18.mp4"}


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Folders that cannot be listed, by their names, while the rest of the disk can."""
    names: set[str] = set()
    entries = scan._entries

    def read(folder: str) -> Iterator["os.DirEntry[str]"]:
        if Path(folder).name in names:
            raise OSError(errno.EIO, os.strerror(errno.EIO), folder)
        return entries(folder)

    monkeypatch.setattr(scan, "_entries", read)
    return names


def test_a_folder_that_cannot_be_read_is_missed(tmp_path: Path, broken: set[str]) -> None:
    """Its clips may be seen by their paths; one that never had any is a row, as before."""
    folder = fill(tmp_path / "clips", *(f"a/{i}.mp4" for i in range(9)), "b/1.mp4", "lost/x.txt")
    broken.add("lost")
    config = measured(configure(tmp_path))
    broken.add("b")
    assert refused(config) == (
        f"collections.c: 1 of 10 clips with results are gone (1 in {folder}/b (Input/output error))"
    )
    broken.discard("b")
    plan(config)
    assert len(members(config)) == 10


def test_a_mount_that_is_dead_costs_only_what_lies_below_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even its state can be asked for, as of a server that went away."""
    fill(tmp_path / "clips", "dead/1.mp4", *(f"{i}.mp4" for i in range(9)))
    identity = scan._identity

    def ask(folder: Path) -> tuple[int, int]:
        if folder.name == "dead":
            raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN), folder)
        return identity(folder)

    monkeypatch.setattr(scan, "_identity", ask)
    config = configure(tmp_path)
    plan(config)
    assert members(config).keys() == {f"{i}.mp4" for i in range(9)}


def test_files_of_a_manifest_are_missed(tmp_path: Path) -> None:
    fill(tmp_path / "disk", *(f"{i}.mp4" for i in range(12)))
    fill(tmp_path / "own", *(f"{i}.mp4" for i in range(20)))
    lines = [*(f"disk/{i}.mp4" for i in range(12)), *(f"own/{i}.mp4" for i in range(20))]
    (tmp_path / "list.csv").write_text("\n".join(["path", *lines]))
    config = measured(configure(tmp_path, collection={"path": tmp_path / "list.csv"}))
    (tmp_path / "disk").rename(tmp_path / "unmounted")
    expected = f"collections.c: 12 of 32 clips with results are gone (all 12 in {tmp_path}/disk)"
    assert refused(config) == expected
    (tmp_path / "list.csv").write_text("\n".join(["path", *lines[12:]]))
    plan(config)
    assert len(members(config)) == 20


def test_objects_that_are_left_out_are_not_missed(tmp_path: Path, bucket: Bucket) -> None:
    """They are asked for, since the scan does not enter their folders any more."""
    remote = {"endpoint_url": bucket.endpoint_url, "retries": 2}
    fill(tmp_path / "c", *(f"{i}.mp4" for i in range(2)), *(f"sub/{i}.mp4" for i in range(12)))
    bucket.put_folder(tmp_path / "c", "c")
    objects = {"path": bucket.url("c")}
    config = measured(configure(tmp_path, collection=objects, remote=remote))
    plan(configure(tmp_path, collection=objects | {"recursive": False}, remote=remote))
    assert len(members(config)) == 2
    measured(config)
    for i in range(12):
        bucket.delete(f"c/sub/{i}.mp4")
    assert "12 of 14 clips with results are gone (all 12 in s3://" in refused(config)


def test_a_table_that_the_system_does_not_give_does_not_hide_what_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = fill(tmp_path / "clips", *(f"{i}.mp4" for i in range(12)))
    config = measured(configure(tmp_path))
    shutil.rmtree(folder)
    fill(folder, "other.mp4")
    opened = tables.pq.ParquetFile

    def stale(path: Path, **options: object) -> object:
        if path.name == "clips.parquet":
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        return opened(path, **options)

    monkeypatch.setattr(tables.pq, "ParquetFile", stale)
    with pytest.raises(MachineError, match=r"clips\.parquet"):
        plan(config)


def changed_by_hand(tmp_path: Path, change: str) -> dict[str, Any]:
    """Change what the clips are on purpose; returns the options of the configuration then."""
    clips = tmp_path / "clips"
    if change == "renamed":
        (clips / "b").rename(clips / "c")
    if change == "moved":
        clips.rename(tmp_path / "moved")
        return {"collection": {"path": tmp_path / "moved"}}
    if change == "another folder":
        return {"collection": {"path": clips / "a"}}
    if change == "not recursive":
        return {"collection": {"recursive": False}}
    if change == "left out":
        return {"media": {"skip_count": 20}}
    if change == "without results":
        shutil.rmtree(tmp_path / "results/media")
        shutil.rmtree(clips / "b")
    return {}


@pytest.mark.parametrize(
    "change",
    ["renamed", "moved", "another folder", "not recursive", "left out", "without results"],
)
def test_what_is_changed_on_purpose_is_not_missed(tmp_path: Path, change: str) -> None:
    fill(tmp_path / "clips", "0.mp4", *(f"{f}/{i}.mp4" for f in "ab" for i in range(15)))
    measured(configure(tmp_path))
    plan(configure(tmp_path, **changed_by_hand(tmp_path, change)))
