"""Small clips with sound, and pictures, beside the page: what the scores are about."""

import errno
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from concord.config import Config
from concord.errors import MachineError, UserError
from concord.files import NO_ROOM, atomic_path, fault
from concord.media.ffmpeg import find_ffmpeg
from concord.media.file import URL_PROTOCOLS, MediaFile
from concord.media.measure import NO_ROOM as NO_ROOM_SAID
from concord.media.protocol import media_protocol
from concord.media.proxies import Limits, Proxies
from concord.remote.fetch import UnusableError
from concord.remote.originals import Beside
from concord.scratch import scratch_folder

TIMEOUT_S = 60
SMALLER = "scale=w='min(480,iw)':h=-2"
PICTURES = "bmp_pipe,jpeg_pipe,png_pipe,tiff_pipe,webp_pipe"  # no playlist passes for a picture
STRETCHED = "format=rgb48le,normalize,"  # maps may use a small part of their range


@dataclass(frozen=True)
class Clip:
    """Where a clip and its poster lie, relative to the page; or why it cannot be shown.

    Of a still picture there is only the poster.
    """

    file: str | None = None
    poster: str | None = None
    problem: str | None = None


def place(config: Config, row: Mapping[str, Any], folder: Path) -> Clip:
    """Put the clip of a row of ALL_MEDIA into `folder`: proxy and wave in one file, and a poster.

    Proxies that were deleted are made again from the original. A clip that cannot be shown says
    so; the page never fails for it. Raises MachineError if there is no room.
    """
    target = folder / f"{row['key']}.mp4"
    poster = target.with_suffix(".jpg")
    if not (target.exists() and poster.exists()):
        try:
            with (
                _machine_faults(target),
                scratch_folder() as scratch,
                _proxies(config, row, scratch).open(row) as (proxy, wave),
            ):
                if proxy is None:
                    return Clip(problem="there is no picture")
                _mux(proxy, wave, target, poster, (row["duration_s"] or 0) / 2)
        except MachineError:
            raise
        except UnusableError as error:
            return Clip(problem=error.detail)
        except (UserError, subprocess.SubprocessError, OSError) as error:
            return Clip(problem=str(error))
    return Clip(f"{folder.name}/{target.name}", f"{folder.name}/{poster.name}")


def place_picture(config: Config, row: Mapping[str, Any], folder: Path) -> Clip:
    """Put the image, depth map or thermal image of a row of COMPANION_FILES into `folder`, small.

    A file that cannot be shown says so; the page never fails for it. Raises MachineError if there
    is no room.
    """
    target = folder / f"{row['key']}.jpg"
    if not target.exists():
        try:
            shape = SMALLER if row["modality"] == "image" else STRETCHED + SMALLER
            with _machine_faults(target), _opened(row) as file, atomic_path(target) as picture:
                command = [
                    find_ffmpeg().path, "-v", "error", "-y", "-threads", "1",
                    "-protocol_whitelist", "pipe,file", "-format_whitelist", PICTURES,
                    "-max_pixels", str(config.media.max_pixels), "-i", "pipe:0",
                    "-frames:v", "1", "-vf", shape, "-q:v", "5", "-update", "1", f"file:{picture}",
                ]  # fmt: skip
                subprocess.run(
                    command, stdin=file, check=True, capture_output=True, timeout=TIMEOUT_S
                )
        except MachineError:
            raise
        except (UserError, UnusableError, subprocess.SubprocessError, OSError):
            return Clip(problem=f"{Path(row['path']).name} cannot be read as a picture")
    return Clip(poster=f"{folder.name}/{target.name}")


@contextmanager
def _machine_faults(target: Path) -> Iterator[None]:
    """Raise MachineError where a disk is full, by the system's word or by ffmpeg's."""
    try:
        yield
    except subprocess.CalledProcessError as error:
        said = NO_ROOM_SAID.search((error.stderr or b"").decode("utf-8", "replace"))
        if said:
            raise MachineError(fault(OSError(errno.ENOSPC, said[0]), target)) from error
        raise
    except OSError as error:
        if error.errno in NO_ROOM:
            place = Path(error.filename) if error.filename else target
            raise MachineError(fault(error, place)) from error
        raise


def _proxies(config: Config, row: Mapping[str, Any], scratch: Path) -> Proxies:
    shard = config.results / "media" / row["collection"] / row["shard"]
    limits = Limits(config.media.timeout_s, config.media.memory_mb)
    return Proxies(shard, media_protocol(config, row["collection"]), scratch, limits)


@contextmanager
def _opened(row: Mapping[str, Any]) -> Iterator[IO[bytes]]:
    """The file of a row of COMPANION_FILES; an object is fetched for the time of the block."""
    with scratch_folder() as scratch:
        source = Path(*Beside.of_row(row).fetch(scratch, [row["path"]]))
        if not source.is_file():  # a pipe would never answer
            raise UserError(f"{source}: not a file")
        with source.open("rb") as file:
            yield file


def _mux(
    proxy: MediaFile, wave: MediaFile | None, target: Path, poster: Path, middle_s: float
) -> None:
    """Write `target` and `poster`, the frame at `middle_s`, whole or not at all."""
    target.parent.mkdir(parents=True, exist_ok=True)
    safe = ["-protocol_whitelist", URL_PROTOCOLS]
    sound = [*safe, "-i", wave.url] if wave else []
    choice = ["-map", "0:v", *(["-map", "1:a", "-c:a", "aac", "-b:a", "96k"] if wave else [])]
    with ExitStack() as stack:
        clip, picture = (stack.enter_context(atomic_path(path)) for path in (target, poster))
        command = [
            find_ffmpeg().path, "-nostdin", "-v", "error", "-y",
            *safe, "-i", proxy.url, *sound,
            *choice, "-c:v", "copy", "-movflags", "+faststart", f"file:{clip}",
            "-map", "0:v", "-ss", f"{middle_s:.3f}", "-frames:v", "1", "-q:v", "6",
            "-update", "1", f"file:{picture}",
        ]  # fmt: skip
        subprocess.run(command, check=True, capture_output=True, timeout=TIMEOUT_S)
