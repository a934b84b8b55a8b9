"""Small clips with sound beside the page, so that a reader can watch what the scores say."""

import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from concord.config import Config
from concord.files import atomic_path
from concord.media.ffmpeg import find_ffmpeg

TIMEOUT_S = 60


@dataclass(frozen=True)
class Clip:
    """Where a clip lies, relative to the page; None where there is nothing to show."""

    file: str | None
    poster: str | None


def place(config: Config, row: dict[str, Any], folder: Path) -> Clip:
    """Put the clip of a row of ALL_MEDIA into `folder`: proxy and wave in one file, and a poster.

    Proxies that were deleted are made again from the original. A clip that cannot be shown is
    shown as such; the page never fails for it.
    """
    target = folder / f"{row['key']}.mp4"
    if not target.exists():
        with tempfile.TemporaryDirectory() as scratch:
            proxy, wave = _sources(config, row, Path(scratch))
            if proxy is None or not _mux(proxy, wave, target):
                return Clip(None, None)
    poster = target.with_suffix(".jpg")
    if not poster.exists():
        _run(["-i", str(target), "-frames:v", "1", "-q:v", "6"], poster)
    return Clip(
        f"{folder.name}/{target.name}", f"{folder.name}/{poster.name}" if poster.exists() else None
    )


def _sources(config: Config, row: dict[str, Any], scratch: Path) -> tuple[Path | None, Path | None]:
    folder = config.results / "media" / row["collection"] / row["shard"]
    proxy = folder / "video" / row["proxy"] if row["proxy"] else None
    wave = folder / "audio" / row["wave"] if row["wave"] else None
    if any(path is not None and not path.exists() for path in (proxy, wave)):
        from concord.media.protocol import media_protocol
        from concord.media.shard import restore

        return restore(row, media_protocol(config, row["collection"]), scratch)
    return proxy, wave


def _mux(proxy: Path, wave: Path | None, target: Path) -> bool:
    sound = ["-i", str(wave), "-c:a", "aac", "-b:a", "96k"] if wave else []
    return _run(["-i", str(proxy), *sound, "-c:v", "copy", "-movflags", "+faststart"], target)


def _run(arguments: list[str], target: Path) -> bool:
    """Run ffmpeg into `target`, which appears whole or not at all; says whether it did."""
    target.parent.mkdir(parents=True, exist_ok=True)
    command = [
        find_ffmpeg().path,
        "-nostdin",
        "-v",
        "error",
        "-y",
        "-protocol_whitelist",
        "file,pipe",
    ]
    try:
        with atomic_path(target) as temporary:
            subprocess.run(
                [*command, *arguments, str(temporary)],
                check=True, capture_output=True, timeout=TIMEOUT_S,
            )  # fmt: skip
    except (subprocess.SubprocessError, OSError):
        return False
    return True
