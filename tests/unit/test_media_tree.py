"""The tree: names, what is written, what is cleaned up, what is told."""

import shutil
from pathlib import Path

import av
import pytest
from media_clips import H264, PICTURE, clip, make, protocol, proxy_frames, run

from concord.errors import UserError
from concord.media.paths import Written, unusual_names, usual_name
from concord.media.shard import drop_proxies
from concord.media.tree import write_tree


def write(folder: Path, unusual: dict[str, str] | None = None) -> set[str]:
    """Write the tree of the shard below the folder; returns the paths in it."""
    tree = folder / "tree"
    write_tree(
        folder / "shard/media.parquet",
        tree,
        unusual or {},
        protocol=protocol(),
        workers=2,
        timeout_s=60,
        memory_mb=1500,
    )
    files = (p.relative_to(tree).as_posix() for p in tree.rglob("*") if p.is_file())
    return {f for f in files if not f.startswith(".")}


def times(folder: Path) -> dict[str, int]:
    return {p.name: p.stat().st_mtime_ns for p in (folder / "tree").rglob("*.mp4")}


def test_names() -> None:
    ids = ["a.mp4", "a.gif", "a.gif.mp4", "b.MP4", "c/d.mkv", "c/d.avi", "e.webm", "../x/f.mov"]
    unusual = unusual_names(ids)
    names = {i: unusual.get(i, usual_name(i)) for i in ids}
    assert len(set(names.values())) == len(ids)
    assert names["a.mp4"] == "a.mp4"
    assert names["a.gif.mp4"] == "a.gif.mp4"
    assert names["b.MP4"] == "b.mp4"
    assert names["c/d.mkv"] == "c/d.mkv.mp4"
    assert names["e.webm"] == "e.mp4"
    assert names["../x/f.mov"] == "x/f.mp4"


def test_long_names_are_shortened_and_stay_apart() -> None:
    ids = [f"sub/{'é' * 126}{n}.gif" for n in range(3)] + [f"{'x' * 251}.gif"]
    names = [usual_name(i) for i in ids]
    assert names[3] == "x" * 251 + ".mp4"
    assert all(len(Path(n).name.encode()) <= 255 and n.endswith(".mp4") for n in names)
    assert len({*names}) == 4
    clash = [f"{'x' * 251}.gif", f"{'x' * 251}.mov"]
    appended = unusual_names(clash)
    assert len({*appended.values()}) == 2
    assert all(len(n.encode()) <= 255 for n in appended.values())


def test_proxies_with_sound_under_their_paths(tmp_path: Path) -> None:
    clips = [
        clip(tmp_path / "loud.mp4"),
        make(tmp_path / "mute.mkv", *PICTURE, *H264),
        make(tmp_path / "sound.wav", "-f", "lavfi", "-i", "sine=d=1"),
    ]
    rows = run(tmp_path, clips)
    assert write(tmp_path) == {"loud.mp4", "mute.mp4"}
    with av.open(str(tmp_path / "tree/loud.mp4")) as container:
        assert [s.codec_context.name for s in container.streams] == ["h264", "aac"]
        shown = [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]
    kept = proxy_frames(tmp_path, rows["loud.mp4"])
    assert len(shown) == len(kept) == 20
    assert all((a == b).all() for a, b in zip(shown, kept, strict=True))

    before = times(tmp_path)
    (tmp_path / "tree/mute.mp4").unlink()
    run(tmp_path, clips)
    assert write(tmp_path) == {"loud.mp4", "mute.mp4"}
    assert times(tmp_path)["loud.mp4"] == before["loud.mp4"]
    run(tmp_path, clips[1:])
    assert write(tmp_path, {"mute.mkv": "mute.mkv.mp4"}) == {"mute.mkv.mp4"}


def test_dropped_proxies_are_made_again_for_it(tmp_path: Path) -> None:
    run(tmp_path, [clip(tmp_path / "a.mp4")])
    drop_proxies(tmp_path / "shard/media.parquet")
    assert write(tmp_path) == {"a.mp4"}
    assert not (tmp_path / "shard/video").exists()


def test_a_clip_that_cannot_be_written_is_told_and_the_others_are_there(tmp_path: Path) -> None:
    run(tmp_path, [clip(tmp_path / "a.mp4"), clip(tmp_path / "b.mp4")])
    drop_proxies(tmp_path / "shard/media.parquet")
    (tmp_path / "a.mp4").write_bytes(b"")
    with pytest.raises(UserError, match=r"^a\.mp4: not written: .*changed"):
        write(tmp_path)
    assert (tmp_path / "tree/b.mp4").exists()


def test_a_name_that_went_to_another_shard_is_left_alone(tmp_path: Path) -> None:
    run(tmp_path, [clip(tmp_path / "a.mkv")])
    write(tmp_path)
    theirs = tmp_path / "theirs.mp4"
    shutil.copyfile(tmp_path / "tree/a.mp4", theirs)
    Written(tmp_path / "tree", "0001").place(theirs, "a.mp4", "their key")
    assert write(tmp_path, {"a.mkv": "a.mkv.mp4"}) == {"a.mp4", "a.mkv.mp4"}
    Written(tmp_path / "tree", "0001").remove()
    assert not (tmp_path / "tree/a.mp4").exists()


def test_a_kill_in_the_middle_leaves_no_file_unknown(tmp_path: Path) -> None:
    run(tmp_path, [clip(tmp_path / "a.mp4")])
    write(tmp_path)
    listed = tmp_path / "tree/.shard.list"
    listed.write_text(listed.read_text() + '["b.mp4", "ke')
    assert Written(tmp_path / "tree", "shard").entries.keys() == {"a.mp4"}
