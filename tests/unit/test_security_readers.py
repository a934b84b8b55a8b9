"""What lies under a media file's name: no reader opens anything else, or more than it can hold.

The media stage is tested so in test_media_safety.py, pickled weights in the tests of their families
(test_imagebind_network.py, test_models_open_clip.py, test_transformers_checkpoints.py).
"""

import os
import socket
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from hostile import PLAYLISTS, chunk, liar, npy, png
from media_clips import clip, make, run

from concord.commands import estimates
from concord.config import Config
from concord.media import transcode
from concord.memory import limit_memory
from concord.models.base import MediaFile
from concord.models.imagebind.pictures import read_image, read_imu, read_map
from concord.models.originals import read_audio, read_video_frames
from concord.models.pictures import PictureReader, Preprocessing, read_picture
from concord.parallel import Failure, parallel_map
from concord.report.media import place_picture

LIMIT_MB = 600
CONFIG = Config.model_validate({"collections": {"c": "c"}})


@contextmanager
def nobody_calls() -> Iterator[int]:
    """The port of a server that must not be visited."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.05)
        yield server.getsockname()[1]
        with pytest.raises(TimeoutError):
            server.accept()


def frames(file: MediaFile) -> Any:
    return read_video_frames(file, lambda total, rate: [0])


READERS: dict[str, Callable[[MediaFile], Any]] = {
    "clip.mp4": frames,
    "clip.gif": frames,
    "sound.wav": partial(read_audio, sample_rate_hz=16000),
    "sound.mp3": partial(read_audio, sample_rate_hz=16000),
    "image.png": read_picture,
    "image.jpg": read_image,
    "depth.tiff": read_map,
}


@pytest.mark.parametrize("kind", PLAYLISTS)
def test_no_reader_follows_a_playlist(tmp_path: Path, kind: str) -> None:
    """The list names a good clip or a server that would notice; each reader refuses the list."""
    good = str(clip(tmp_path / "target.ts"))
    with nobody_calls() as port:
        for target in (good, f"http://127.0.0.1:{port}/target.ts"):
            for name, read in READERS.items():
                with pytest.raises(ValueError, match=r"unreadable|no_frames"):
                    read(MediaFile(liar(tmp_path / name, kind, target, port)))
            listed = liar(tmp_path / "clip.mp4", kind, target, port)
            assert estimates._probe(str(listed), 10**6) is None
            row = {
                "clip_id": "c",
                "key": "k",
                "modality": "image",
                "path": str(tmp_path / "image.png"),
            }
            shown = place_picture(CONFIG, row, tmp_path / "page")
            assert shown.problem == "image.png cannot be read as a picture"


@pytest.mark.parametrize("kind", ["hls", "concat", "sdp"])
def test_a_playlist_is_no_sound_beside_a_clip(tmp_path: Path, kind: str) -> None:
    good = clip(tmp_path / "good.mp4")
    with nobody_calls() as port:
        sound = liar(tmp_path / "sound.wav", kind, str(good), port)
        row = run(tmp_path, [good], sounds={"good.mp4": sound})["good.mp4"]
    assert (row["video_status"], row["audio_status"]) == ("ok", "failed")
    assert row["audio_reason"] == "unreadable"


def test_the_page_waits_for_no_pipe_and_decodes_no_huge_picture(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "huge.png").write_bytes(png(10_000, 10_000))
    for name in ("pipe.png", "huge.png"):
        row = {"clip_id": name, "key": name, "modality": "image", "path": str(tmp_path / name)}
        assert place_picture(CONFIG, row, tmp_path / "page").problem
    assert not list((tmp_path / "page").iterdir())


PICTURE = PictureReader(Preprocessing(224, 224, "bicubic", "shortest", 0))
TOO_MUCH = {"too_large", "memory_limit", "unreadable"}


def look(job: tuple[str, str]) -> Any:
    readers = {"picture": PICTURE, "image": read_image, "map": read_map, "imu": read_imu}
    return readers[job[0]](MediaFile(Path(job[1]))).shape


def test_pictures_and_arrays_that_claim_too_much_cost_their_own_row(tmp_path: Path) -> None:
    """In decoder processes with the usual limits; a good picture at the end is still read."""
    note = zlib.compress(bytes(300_000_000), 1)
    files = {
        "square.png": png(100_000, 100_000, b""),
        "real.png": png(30_000, 30_000),
        "wide.png": png(36_000_000, 1),
        "tall.png": png(1, 36_000_000),
        "note.png": png(8, 8, extra=chunk(b"zTXt", b"k\0\0" + note)),
        "overflow.npy": npy("(6, 4611686018427387904)"),
        "absent.npy": npy("(1000000, 1000000)"),
        "negative.npy": npy("(6, -5)"),
        "objects.npy": npy("(6, 10)", "|O"),
        "letters.npy": npy("(6, 10)", "<U100000"),
        "sparse.npy": npy("(100000, 100000)"),
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    os.truncate(tmp_path / "sparse.npy", 128 + 80_000_000_000)
    good = tmp_path / "good.png"
    good.write_bytes(png(300, 300))
    readers = {".png": ("picture", "image", "map"), ".npy": ("map", "imu")}
    jobs = [(kind, str(tmp_path / name)) for name in files for kind in readers[name[-4:]]]
    with parallel_map(
        look,
        [*jobs, ("image", str(good))],
        workers=2,
        ahead=4,
        timeout_s=60,
        prepare=partial(limit_memory, LIMIT_MB),
    ) as results:
        *found, last = results
    assert last == (224, 224, 3)
    for job, result in zip(jobs, found, strict=True):
        assert isinstance(result, Failure), job
        assert result.reason in TOO_MUCH, (job, result)


def gapped(path: Path, gap_s: int) -> Path:
    """Two tenths of a second of sound, the second of them hours later."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=16000, layout="mono")
        for start in (0, gap_s):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1600), np.int16), layout="mono")
            frame.sample_rate, frame.time_base = 16000, Fraction(1, 16000)
            frame.pts = start * 16000
            container.mux(stream.encode(frame))
    return path


def test_a_gap_of_hours_fills_neither_memory_nor_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """10 kB of sound that stand for an hour of silence, 115 MB as a wave."""
    seen: list[int] = []
    inside = transcode._call

    def call(*arguments: Any) -> Any:
        found = inside(*arguments)
        seen.append((arguments[1] / transcode.WAVE).stat().st_size)
        return found

    monkeypatch.setitem(transcode._PLAIN, "fs", 10_000_000)
    monkeypatch.setattr(transcode, "_call", call)
    from test_media_safety import _job

    from concord.media.clip import process

    row = process(_job(gapped(tmp_path / "gap.mkv", 3600), tmp_path))
    assert row["status"] == "ok"
    assert row["audio_duration_s"] < 400
    assert max(seen) < 11_000_000


def test_a_wave_that_claims_hours_is_as_long_as_it_is(tmp_path: Path) -> None:
    head = b"RIFF" + struct.pack("<I", 0xFFFFFFF0) + b"WAVEfmt "
    head += struct.pack("<IHHIIHH", 16, 1, 1, 16000, 32000, 2, 16)
    claims = tmp_path / "claims.wav"
    claims.write_bytes(head + b"data" + struct.pack("<I", 0xFFFFFF00) + bytes(32000))
    assert run(tmp_path, [claims])["claims.wav"]["audio_duration_s"] == pytest.approx(1, abs=0.1)


def test_a_clip_that_claims_a_huge_picture_or_billions_of_frames(tmp_path: Path) -> None:
    picture = ("-f", "lavfi", "-i", "color=red:s=64x64:r=25:d=1")
    content = make(tmp_path / "png.mov", *picture, "-c:v", "png").read_bytes()
    size = struct.pack(">II", 64, 64)
    huge = content.replace(b"IHDR" + size, b"IHDR" + struct.pack(">II", 100_000, 100_000))
    claims = huge.replace(struct.pack(">HH", 64, 64), struct.pack(">HH", 65535, 65535))
    (tmp_path / "huge.mov").write_bytes(huge)
    (tmp_path / "claims.mov").write_bytes(claims)
    (tmp_path / "still.mp4").write_bytes(png(100_000, 100_000))
    many = bytearray(make(tmp_path / "many.mp4", *picture, "-c:v", "mpeg4").read_bytes())
    times = many.index(b"stts") + 12
    many[times : times + 8] = struct.pack(">II", 0x7FFFFFFF, 0x7FFFFF)
    (tmp_path / "many.mp4").write_bytes(many)
    names = ("huge.mov", "claims.mov", "still.mp4", "many.mp4")
    rows = run(tmp_path, [tmp_path / name for name in names], memory_mb=LIMIT_MB)
    reasons = {name: rows[name]["video_reason"] for name in names}
    assert reasons.pop("many.mp4") is None
    assert rows["many.mp4"]["frames"] <= 25
    assert set(reasons.values()) <= {"no_frames", "too_large"}
