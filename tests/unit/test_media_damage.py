"""Proxies and waves that are no longer what was written: noticed, told, made again."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import pytest
import soundfile
from media_clips import H264, SILENCE, clip, make, processed, protocol, run

from concord.media.ffmpeg import find_ffmpeg
from concord.media.file import URL_PROTOCOLS, MediaFile
from concord.media.proxies import Limits, Proxies
from concord.media.store import find
from concord.tables import MEDIA, read_table, write_table

Row = dict[str, Any]


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def swap(path: Path) -> None:
    """A file of the same kind that decodes, in the place of this one."""
    path.write_bytes(path.with_name(f"other{path.suffix}").read_bytes())


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Path], dict[str, Row], Path]:
    """Two clips, their rows and their shard, with the second's files under other names too."""
    folder = tmp_path_factory.mktemp("made")
    picture = ("-f", "lavfi", "-i", "testsrc2=s=160x120:r=10:d=1,hue=h=90")
    other = make(folder / "b.mp4", *picture, *SILENCE, *H264)
    clips = [clip(folder / "a.mp4"), other]
    rows = run(folder, clips)
    for kind, column in (("video", "proxy"), ("audio", "wave")):
        path = folder / "shard" / kind / rows["b.mp4"][column]
        (path.parent / f"other{path.suffix}").write_bytes(path.read_bytes())
    return clips, rows, folder / "shard"


@pytest.fixture
def two(tmp_path: Path, made: tuple[list[Path], dict[str, Row], Path]) -> dict[str, Row]:
    """The rows of two clips whose shard lies in tmp_path."""
    shutil.copytree(made[2], tmp_path / "shard")
    return made[1]


def proxies(folder: Path) -> Proxies:
    return Proxies(folder / "shard", protocol(), folder, Limits(60, 2000))


@pytest.mark.parametrize("harm", [truncate, flip, swap, Path.unlink])
@pytest.mark.parametrize("part", ["v", "a"])
def test_a_damaged_file_is_made_again_alone(
    tmp_path: Path,
    two: dict[str, Row],
    capsys: pytest.CaptureFixture[str],
    harm: Callable[[Path], None],
    part: str,
) -> None:
    row = two["a.mp4"]
    paths = {
        "v": tmp_path / "shard/video" / row["proxy"],
        "a": tmp_path / "shard/audio" / row["wave"],
    }
    good = {name: path.read_bytes() for name, path in paths.items()}
    harm(paths[part])
    capsys.readouterr()
    with proxies(tmp_path).open(row) as opened:
        found = dict(zip("va", opened, strict=True))
        for name, file in found.items():
            assert file is not None
            assert file.open().read() == good[name]
            assert (file.path == paths[name]) == (name != part)
    told = capsys.readouterr().err
    assert ("is damaged" in told) == paths[part].exists(), "what was deleted stays so"
    if paths[part].exists():
        assert paths[part].read_bytes() == good[part], "so that this happens once"
    with proxies(tmp_path).open(row, "a" if part == "v" else "v") as others:
        assert [file.path for file in others if file] == [paths["a" if part == "v" else "v"]]


def test_the_media_stage_makes_a_cut_file_again(
    tmp_path: Path, two: dict[str, Row], made: tuple[list[Path], dict[str, Row], Path]
) -> None:
    path = tmp_path / "shard/video" / two["a.mp4"]["proxy"]
    good = path.read_bytes()
    truncate(path)
    assert run(tmp_path, made[0]) == two
    assert processed(tmp_path) == 1
    assert path.read_bytes() == good


def test_tables_of_the_version_before_are_read_and_completed(
    tmp_path: Path, two: dict[str, Row], made: tuple[list[Path], dict[str, Row], Path]
) -> None:
    """They do not know sizes and digests, so nothing is checked until their shard runs again."""
    from dataclasses import replace

    old = [c for c in MEDIA.columns if not c.name.endswith(("_bytes", "_digest"))]
    path = tmp_path / "shard/media.parquet"
    before = read_table(path, MEDIA).select([c.name for c in old])
    for file in (path, path.with_name(".media.parquet.previous")):
        write_table(file, replace(MEDIA, version=2, columns=tuple(old)), before.to_pylist())
    row = read_table(path, MEDIA).to_pylist()[0]
    assert row["proxy_bytes"] is row["wave_digest"] is None
    assert row["proxy"] == two["a.mp4"]["proxy"]
    assert read_table(path, MEDIA, ["clip_id", "wave_bytes"]).column_names == [
        "clip_id", "wave_bytes"
    ]  # fmt: skip
    assert find(path.parent, row, "v")
    assert run(tmp_path, made[0]) == two
    assert processed(tmp_path) == 0


def test_a_part_of_a_file_is_read_like_a_file(tmp_path: Path, two: dict[str, Row]) -> None:
    """By PyAV, soundfile and ffmpeg."""
    paths = [
        tmp_path / "shard/video" / two["a.mp4"]["proxy"],
        tmp_path / "shard/audio" / two["a.mp4"]["wave"],
    ]
    contents = [path.read_bytes() for path in paths]
    whole = tmp_path / "a 'b', c%: d"
    whole.write_bytes(b"x" * 700 + contents[0] + b"y" * 300 + contents[1] + b"z" * 1000)
    picture = MediaFile(whole, offset=700, size=len(contents[0]))
    sound = MediaFile(whole, offset=1000 + len(contents[0]), size=len(contents[1]))
    assert [file.open().read() for file in (picture, sound)] == contents
    with av.open(picture.source()) as part, av.open(str(paths[0])) as file:
        frames = [[f.to_ndarray().tobytes() for f in c.decode(video=0)] for c in (part, file)]
    assert frames[0] == frames[1]
    assert len(frames[0]) == 20
    assert (soundfile.read(sound.source())[0] == soundfile.read(paths[1])[0]).all()
    safe = ["-protocol_whitelist", URL_PROTOCOLS]
    command = [find_ffmpeg().path, "-v", "error", *safe, "-i", picture.url, *safe, "-i", sound.url]
    subprocess.run([*command, "-c", "copy", str(tmp_path / "both.mkv")], check=True)
    with av.open(str(tmp_path / "both.mkv")) as both:
        assert [stream.type for stream in both.streams] == ["video", "audio"]
