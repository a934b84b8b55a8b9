"""Proxies in one tar: the same files, read in place, old or new at any moment, never trusted."""

import multiprocessing
import shutil
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from media_clips import H264, PICTURE, SILENCE, TONE, clip, make, processed, protocol, run

from concord.media import tar
from concord.media.file import MediaFile
from concord.media.proxies import Limits, Proxies
from concord.media.shard import drop_proxies, repack_shard
from concord.media.store import is_in
from concord.resume import Resume
from concord.tables import MEDIA, read_table

Row = dict[str, Any]
TAR = "shard/proxies.tar"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Path], dict[str, Row], Path]:
    """Three clips, one without sound, with their rows and their shard as files."""
    folder = tmp_path_factory.mktemp("made")
    hue = ("-f", "lavfi", "-i", "testsrc2=s=160x120:r=10:d=1,hue=h=90")
    clips = [
        clip(folder / "a.mp4"),
        make(folder / "b.mp4", *hue, *SILENCE, *H264),
        make(folder / "c.mp4", *PICTURE, *H264),
    ]
    return clips, run(folder, clips), folder / "shard"


@pytest.fixture
def packed(tmp_path: Path, made: tuple[list[Path], dict[str, Row], Path]) -> dict[str, Row]:
    """Their rows; their shard lies in tmp_path, with a tar."""
    shutil.copytree(made[2], tmp_path / "shard")
    repack_shard(tmp_path / "shard/media.parquet", "tar")
    return made[1]


def contents(shard: Path) -> dict[str, bytes]:
    """The files of a shard's clips by name, as files or in the tar."""
    loose = [path for kind in ("video", "audio") for path in shard.glob(f"{kind}/*")]
    found = {path.relative_to(shard).as_posix(): path.read_bytes() for path in loose}
    return found | {k: v.open().read() for k, v in tar.members(shard / tar.TAR).items()}


def read(folder: Path, row: Row) -> list[bytes | None]:
    """What a reader of the row's proxy and wave gets."""
    proxies = Proxies(folder / "shard", protocol(), folder, Limits(60, 2000))
    with proxies.open(row) as files:
        return [file.open().read() if file else None for file in files]


def expected(made: tuple[list[Path], dict[str, Row], Path], name: str) -> list[bytes | None]:
    row, files = made[1][name], contents(made[2])
    names = (f"video/{row['proxy']}", f"audio/{row['wave']}")
    return [files.get(name) for name in names]


def test_both_containers_hold_the_same(
    tmp_path: Path, made: tuple[list[Path], dict[str, Row], Path], packed: dict[str, Row]
) -> None:
    """Made at once or moved, there and back; other programs read the tar too."""
    moved = (tmp_path / TAR).read_bytes()
    inside = sorted(path.name for path in (tmp_path / "shard").iterdir())
    assert inside == [".media.parquet.previous", "media.parquet", "proxies.tar"]
    assert contents(tmp_path / "shard") == contents(made[2])
    with tarfile.open(tmp_path / TAR) as file:
        assert {m.name: file.extractfile(m).read() for m in file} == contents(made[2])  # type: ignore[union-attr]
    for name, row in packed.items():
        assert read(tmp_path, row) == expected(made, name)
    repack_shard(tmp_path / "shard/media.parquet", "files")
    assert not (tmp_path / TAR).exists()
    assert contents(tmp_path / "shard") == contents(made[2])

    (tmp_path / "once").mkdir()
    assert run(tmp_path / "once", made[0], container="tar") == packed
    assert (tmp_path / "once" / TAR).read_bytes() == moved
    assert is_in(tmp_path / "once/shard", "tar")


def test_only_new_clips_are_made(
    tmp_path: Path, made: tuple[list[Path], dict[str, Row], Path], packed: dict[str, Row]
) -> None:
    (a, b, c), rows, _ = made
    added = make(tmp_path / "d.mp4", *PICTURE, *TONE, *H264)
    grown = run(tmp_path, [b, added, a], container="tar")
    assert processed(tmp_path) == 1
    assert [grown[name] for name in ("a.mp4", "b.mp4")] == [rows["a.mp4"], rows["b.mp4"]]
    names = [f"video/{row['proxy']}" for row in grown.values()]
    assert [n for n in tar.members(tmp_path / TAR) if n.startswith("video/")] == names
    assert run(tmp_path, [a, b, c], container="files") == rows
    assert processed(tmp_path) == 1, "c, which had left"
    assert contents(tmp_path / "shard") == contents(made[2])
    assert is_in(tmp_path / "shard", "files")


def test_dropped_and_made_again(
    tmp_path: Path, made: tuple[list[Path], dict[str, Row], Path], packed: dict[str, Row]
) -> None:
    drop_proxies(tmp_path / "shard/media.parquet")
    assert contents(tmp_path / "shard") == {}
    assert read(tmp_path, packed["c.mp4"]) == expected(made, "c.mp4")
    assert run(tmp_path, made[0], container="tar", keep_proxies=False) == packed
    assert processed(tmp_path) == 0
    assert run(tmp_path, made[0], container="tar") == packed
    assert contents(tmp_path / "shard") == contents(made[2])


def cut(path: Path) -> None:
    """The tar ends within its last file."""
    content = path.read_bytes().rstrip(b"\0")
    path.write_bytes(content[:-1000])


def spoil(path: Path) -> None:
    """One byte within the first file is another."""
    content = bytearray(path.read_bytes())
    content[512 + 5000] ^= 1
    path.write_bytes(content)


def spoil_header(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[130] ^= 1
    path.write_bytes(content)


def exchange(path: Path) -> None:
    """The files stand under each other's names; a and c have the same picture."""
    files = {**tar.members(path)}
    tar.write(path, dict(zip(files, reversed(files.values()), strict=True)))


@pytest.mark.parametrize("harm", [cut, spoil, spoil_header, exchange, Path.unlink])
def test_what_is_damaged_is_made_again(
    tmp_path: Path,
    made: tuple[list[Path], dict[str, Row], Path],
    packed: dict[str, Row],
    capsys: pytest.CaptureFixture[str],
    harm: Callable[[Path], None],
) -> None:
    """By the first who reads it, for all others, beside the tar until it is packed."""
    harm(tmp_path / TAR)
    mark = tmp_path / "shard/.repacked.tar"
    mark.touch()
    damaged = (tmp_path / TAR).exists()
    for again in (damaged, False):
        capsys.readouterr()
        for name, row in packed.items():
            assert read(tmp_path, row) == expected(made, name)
        assert ("damaged" in capsys.readouterr().err) == again
    assert mark.exists() == is_in(tmp_path / "shard", "tar") == (not damaged)
    if damaged:
        repack_shard(tmp_path / "shard/media.parquet", "tar")
        assert is_in(tmp_path / "shard", "tar")
        assert contents(tmp_path / "shard") == contents(made[2])


@pytest.mark.parametrize("harm", [cut, spoil, spoil_header, exchange, Path.unlink])
def test_the_media_stage_makes_what_is_damaged_again(
    tmp_path: Path,
    made: tuple[list[Path], dict[str, Row], Path],
    packed: dict[str, Row],
    harm: Callable[[Path], None],
) -> None:
    harm(tmp_path / TAR)
    assert run(tmp_path, made[0], container="tar") == packed
    assert processed(tmp_path) == {cut: 1, spoil: 1, exchange: 2}.get(harm, 3)
    assert contents(tmp_path / "shard") == contents(made[2])


def entry(name: str, content: bytes = b"evil", **values: Any) -> bytes:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    for key, value in values.items():
        setattr(member, key, value)
    return member.tobuf(tarfile.GNU_FORMAT) + content + bytes(-len(content) % 512)


HOSTILE = {
    "outside": entry("video/../../../../evil"),
    "absolute": entry("/tmp/evil"),
    "elsewhere": entry("evil/evil.mp4"),
    "link": entry("video/evil.mp4", b"", type=tarfile.SYMTYPE, linkname="/etc/passwd"),
    "hard link": entry("video/evil.mp4", b"", type=tarfile.LNKTYPE, linkname="/etc/passwd"),
    "folder": entry("video/evil", b"", type=tarfile.DIRTYPE),
    "device": entry("video/evil", b"", type=tarfile.CHRTYPE),
    "sparse": entry("video/evil", b"", type=tarfile.GNUTYPE_SPARSE),
    "long name": entry("video/evil", b"", type=tarfile.GNUTYPE_LONGNAME),
    "extended": entry("video/evil", b"20 size=99999999999\n", type=tarfile.XHDTYPE),
    "twice": entry("video/evil.mp4") * 2,
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_what_concord_does_not_write_is_refused(
    tmp_path: Path,
    made: tuple[list[Path], dict[str, Row], Path],
    packed: dict[str, Row],
    capsys: pytest.CaptureFixture[str],
    kind: str,
) -> None:
    path = tmp_path / TAR
    path.write_bytes(HOSTILE[kind] + path.read_bytes())
    before = set(tmp_path.rglob("*"))
    assert not tar.members(path)
    told = capsys.readouterr().err
    assert f"{path}: refused" in told
    repack_shard(tmp_path / "shard/media.parquet", "files")
    assert {p for p in tmp_path.rglob("*") if p.is_file()} <= before
    assert contents(tmp_path / "shard") == {}, "nothing came out of it"
    assert read(tmp_path, packed["c.mp4"]) == expected(made, "c.mp4")


@pytest.mark.parametrize("size", [10**9, 2**62, -512, -1])
def test_absurd_sizes_end_the_tar(tmp_path: Path, packed: dict[str, Row], size: int) -> None:
    path = tmp_path / TAR
    good = path.read_bytes()
    first = next(iter(tar.members(path).values()))
    end = first.offset + -(-first.size // 512) * 512  # type: ignore[operator]
    path.write_bytes(good[:end] + entry("video/evil.mp4", b"", size=size) + good[end:])
    assert list(tar.members(path).values()) == [first]


def back_and_forth(media: Path) -> None:
    while True:
        repack_shard(media, "tar")
        repack_shard(media, "files")


def test_a_kill_at_any_moment_leaves_the_old_or_the_new(
    tmp_path: Path, made: tuple[list[Path], dict[str, Row], Path]
) -> None:
    """Between files and tar, there and back; what the readers find is always whole."""
    shard = tmp_path / "shard"
    shutil.copytree(made[2], shard)
    media = shard / "media.parquet"
    good = contents(made[2])
    for number in range(20):
        process = multiprocessing.get_context("fork").Process(target=back_and_forth, args=[media])
        process.start()
        time.sleep(0.005 + 0.002 * number)
        process.kill()
        process.join()
        found = contents(shard)
        assert {name: found[name] for name in good} == good
    repack_shard(media, "tar")
    assert contents(shard) == good
    assert not list(shard.rglob(".tmp-*"))
    assert read_table(media, MEDIA).to_pylist() == list(made[1].values())


def test_a_killed_stage_goes_on(
    tmp_path: Path, made: tuple[list[Path], dict[str, Row], Path], packed: dict[str, Row]
) -> None:
    """Files lie beside the tar until all are made, and none is made twice."""
    shard = tmp_path / "shard"
    rows = packed["a.mp4"], packed["b.mp4"]
    (shard / "media.parquet").unlink()
    (shard / ".media.parquet.previous").unlink()
    with Resume(shard / "media.parquet", MEDIA) as journal:
        journal.add(*rows)
    for name, content in contents(shard).items():
        if rows[1]["key"] in name:
            (shard / name).parent.mkdir(exist_ok=True)
            (shard / name).write_bytes(content)
    tar.write(shard / tar.TAR, {n: f for n, f in members(shard) if rows[0]["key"] in n})
    assert run(tmp_path, made[0], container="tar") == packed
    assert processed(tmp_path) == 1
    assert contents(shard) == contents(made[2])


def members(shard: Path) -> list[tuple[str, MediaFile]]:
    return list(tar.members(shard / tar.TAR).items())


def test_a_shard_without_files(tmp_path: Path, packed: dict[str, Row]) -> None:
    assert run(tmp_path, [], container="tar") == {}
    assert tar.members(tmp_path / TAR) == {}
    assert run(tmp_path, [], container="files") == {}
    assert is_in(tmp_path / "shard", "files")
