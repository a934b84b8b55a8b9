"""Small clips made for the media tests, and a short way to run the stage on them."""

import subprocess
from pathlib import Path
from typing import Any

import av

from concord.config import Config
from concord.media.ffmpeg import find_ffmpeg
from concord.media.protocol import media_protocol
from concord.media.shard import process_shard
from concord.media.store import Container
from concord.protocol import digest
from concord.tables import MEDIA, PLAN, read_metadata, read_table, write_table

PICTURE = ("-f", "lavfi", "-i", "testsrc=size=160x120:rate=25:duration=1")
TONE = ("-f", "lavfi", "-i", "sine=frequency=440:duration=1:sample_rate=44100")
SILENCE = ("-f", "lavfi", "-i", "anullsrc=r=44100:cl=stereo:duration=1")
H264 = ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p")
EVENT_S = 1.0


def make(path: Path, *arguments: str | Path) -> Path:
    """A file made by ffmpeg."""
    command = [find_ffmpeg().path, "-v", "error", "-nostdin", "-y", *map(str, arguments)]
    subprocess.run([*command, f"file:{path}"], check=True)
    return path


def clip(path: Path, *, silent: bool = False) -> Path:
    """One second of picture with a tone, or with silence."""
    return make(path, *PICTURE, *(SILENCE if silent else TONE), *H264)


def event(path: Path) -> Path:
    """Three seconds, with a flash and a beep of a quarter of a second after one second."""
    when = f"between(t,{EVENT_S},{EVENT_S + 0.25})"
    picture = f"color=black:s=64x64:r=40:d=3,drawbox=c=white:t=fill:enable='{when}'"
    sound = f"aevalsrc='0.5*sin(2000*t)*{when}':s=44100:d=3"
    inputs = ("-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", sound)
    return make(path, *inputs, *H264, "-g", "10", "-bf", "2")


def protocol(filters: bool = False, silence_db: float = -60, **media: Any) -> dict[str, Any]:
    """The protocol of a default configuration with some keys of `media` changed."""
    settings = {"filter": filters, **media}
    config = {"collections": {"c": "c"}, "media": settings, "audio": {"silence_db": silence_db}}
    return media_protocol(Config.model_validate(config), "c")


def write_plan(path: Path, clips: list[Path], sounds: dict[str, Path] | None = None) -> None:
    """A plan file whose keys change with a file's content."""
    rows = [
        {
            "clip_id": c.name,
            "path": str(c),
            "audio_path": str(sounds[c.name]) if sounds and c.name in sounds else None,
            "key": digest(str(c), c.read_bytes() if c.is_file() else ""),
        }
        for c in clips
    ]
    write_table(path, PLAN, rows)


def run(
    folder: Path,
    clips: list[Path],
    settings: dict[str, Any] | None = None,
    *,
    sounds: dict[str, Path] | None = None,
    **options: Any,
) -> dict[str, dict[str, Any]]:
    """Rows by clip_id after the stage ran on the clips; outputs lie in folder/shard."""
    write_plan(folder / "plan.parquet", clips, sounds)
    return run_planned(folder, settings, **options)


def run_planned(
    folder: Path,
    settings: dict[str, Any] | None = None,
    *,
    timeout_s: float = 60,
    memory_mb: int = 2000,
    keep_proxies: bool = True,
    container: Container = "files",
) -> dict[str, dict[str, Any]]:
    """As `run`, of the clips in the plan file that is there."""
    output = folder / "shard" / "media.parquet"
    process_shard(
        folder / "plan.parquet",
        output,
        settings or protocol(),
        workers=2,
        timeout_s=timeout_s,
        memory_mb=memory_mb,
        keep_proxies=keep_proxies,
        container=container,
    )
    return {row["clip_id"]: row for row in read_table(output, MEDIA).to_pylist()}


def processed(folder: Path) -> int:
    """How many clips the last run of the stage opened."""
    count: int = read_metadata(folder / "shard" / "media.parquet")["run"]["processed"]
    return count


def proxy_frames(folder: Path, row: dict[str, Any]) -> list[Any]:
    """Frames of a row's proxy as RGB arrays [H, W, 3]."""
    with av.open(str(folder / "shard" / "video" / row["proxy"])) as container:
        assert container.streams.video[0].average_rate == 20
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def wave(folder: Path, row: dict[str, Any]) -> Any:
    """Samples of a row's wave, float, and a check that it is 16 kHz mono."""
    import soundfile

    samples, rate = soundfile.read(folder / "shard" / "audio" / row["wave"], dtype="float32")
    assert (rate, samples.ndim) == (16000, 1)
    return samples
