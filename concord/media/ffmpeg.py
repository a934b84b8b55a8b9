"""Which ffmpeg is used."""

import functools
import shutil
import subprocess
from dataclasses import dataclass
from typing import Literal

from concord.errors import UserError


@dataclass(frozen=True)
class Ffmpeg:
    """The chosen executable, for use and for the provenance."""

    path: str
    version: str
    source: Literal["system", "imageio_ffmpeg"]


@functools.cache
def find_ffmpeg() -> Ffmpeg:
    """The system's ffmpeg if it encodes with libx264, else the one imageio_ffmpeg carries.

    Raises UserError if neither does.
    """
    system = shutil.which("ffmpeg")
    if system and _has_x264(system):
        return Ffmpeg(system, _version(system), "system")
    try:
        import imageio_ffmpeg

        carried = imageio_ffmpeg.get_ffmpeg_exe()
    except (ImportError, RuntimeError):
        carried = None
    if carried and _has_x264(carried):
        return Ffmpeg(carried, _version(carried), "imageio_ffmpeg")
    raise UserError(
        f"ffmpeg: found {system or 'none'} on PATH without libx264, and none in the package "
        "imageio-ffmpeg; expected one with libx264; install ffmpeg or run `make` again"
    )


def _has_x264(path: str) -> bool:
    return " libx264 " in _ask(path, "-encoders")


def _version(path: str) -> str:
    words = _ask(path, "-version").split(maxsplit=3)
    return words[2] if len(words) > 2 else "unknown"


def _ask(path: str, question: str) -> str:
    try:
        return subprocess.run(
            [path, "-hide_banner", question],
            capture_output=True,
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
            timeout=60,
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""
