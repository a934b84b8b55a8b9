"""One clip: from the file to its row. Runs in a worker process, which may crash or be killed."""

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av

from concord.errors import MachineError
from concord.files import fault
from concord.media.file import MediaFile
from concord.media.gate import gate
from concord.media.measure import count_frames, measure_wave, share
from concord.media.probe import Picture, Probe, Sound, probe
from concord.media.store import COLUMNS, FOLDERS, Part, measured
from concord.media.transcode import (
    PROXY,
    WAVE,
    Result,
    Source,
    ToolError,
    link_inputs,
    transcode,
)
from concord.scratch import move_file

Row = dict[str, Any]
NO_FILES = dict.fromkeys(f"{name}_{of}" for name in COLUMNS.values() for of in ("bytes", "digest"))


@dataclass(frozen=True)
class Job:
    """What a worker needs to know about a clip; all builtins, so that it travels as JSON.

    `keys` are the row's key if transcoded and if kept from it by the gate. `parts` is what is made
    of the clip: the proxy (`v`), the wave (`a`), or both; it is made below `scratch` and then moved
    to video/ and audio/ below `folder`.
    """

    clip_id: str
    path: str
    audio_path: str | None
    source_key: str
    keys: tuple[str, str]
    folder: str
    protocol: dict[str, Any]
    executable: str
    timeout_s: float
    scratch: str
    parts: str = "va"

    def row(self) -> Row:
        """The columns that are known before the clip is opened."""
        return {
            "clip_id": self.clip_id,
            "key": self.keys[0],
            "source_key": self.source_key,
            "path": self.path,
            "audio_path": self.audio_path,
            "reason": None,
            "detail": None,
            "duration_s": None,
            "proxy": None,
            "wave": None,
            **NO_FILES,
        }


def process(job: Job) -> Row:
    """Measure and transcode one clip; returns its row of the media table.

    The finished proxy and wave are moved to video/ and audio/ below `job.folder`, named by the
    row's key. A clip's own faults are statuses of the row.
    Raises MachineError if the machine is at fault.
    """
    row = job.row()
    deadline = time.monotonic() + job.timeout_s
    for path in (job.path, job.audio_path):
        if path and not Path(path).exists():
            return closed(row, "missing", path)
    with tempfile.TemporaryDirectory(dir=job.scratch) as folder:
        try:
            _make(job, row, _open(job, row, Path(folder)), deadline)
        except MemoryError:
            return closed(job.row(), "memory_limit")
    return row


def closed(row: Row, reason: str, detail: str | None = None) -> Row:
    """The row of a clip of which nothing can be used, for one and the same reason."""
    return row | {
        "status": "failed",
        "reason": reason,
        "detail": detail,
        "video_status": "failed",
        "video_reason": reason,
        "audio_status": "failed",
        "audio_reason": reason,
    }


def gate_reason(row: Row, protocol: dict[str, Any]) -> str | None:
    """Why the gate keeps a clip from being transcoded; None if it does not.

    A clip of which nothing can be used fails for its own reason.
    """
    if not protocol["filter"]:
        return None
    usable = row["video_status"] == "ok" or row["audio_status"] == "ok"
    if not usable and row["video_reason"] != "no_frames":
        return None
    return gate(row, protocol["require"], protocol["silence_db"])[1]


def filtered(row: Row, reason: str, key: str) -> Row:
    """The row as it is when the gate keeps the clip from being transcoded."""
    changes: Row = {"status": "skipped", "reason": reason, "key": key}
    changes |= dict.fromkeys(("proxy", "wave", "frames", "black_fraction", "frozen_fraction"))
    changes |= NO_FILES
    if row["video_reason"] in (None, "no_frames"):
        changes |= {"video_status": "skipped", "video_reason": reason, "duration_s": None}
    return row | changes


def _open(job: Job, row: Row, folder: Path) -> Source:
    """Look into the files, choose streams, and fill in what the headers tell."""
    names = link_inputs(folder, job.path, job.audio_path)
    max_pixels = job.protocol["max_pixels"]
    clip, damage = _probe(folder / names[0], max_pixels)
    heard, heard_damage = _probe(folder / names[1], max_pixels) if names[1] else (clip, damage)
    row["detail"] = damage or heard_damage
    row["streams"] = clip.streams + (f" + {heard.streams}" if names[1] else "")
    row["video_status"], row["video_reason"] = _picture_state(clip, max_pixels)
    row["audio_status"], row["audio_reason"] = _sound_state(heard)
    _describe(row, clip.picture, heard.sound)
    return Source(
        folder, names[0], names[1], clip.picture, heard.sound, clip.start_s, heard.start_s
    )


def _probe(path: Path, max_pixels: int) -> tuple[Probe, str | None]:
    try:
        return probe(path, max_pixels), None
    except MemoryError:
        raise
    except (av.FFmpegError, OSError) as error:
        return Probe("", 0.0, None, None), error.strerror


def _picture_state(found: Probe, max_pixels: int) -> tuple[str, str | None]:
    picture = found.picture
    if picture is None:
        return ("skipped", "no_video_stream") if found.sound else ("failed", "unreadable")
    if picture.width * picture.height > max_pixels:
        return "skipped", "too_large"
    return ("ok", None) if picture.width and picture.height else ("failed", "no_frames")


def _sound_state(found: Probe) -> tuple[str, str | None]:
    if found.sound:
        return "ok", None
    return ("skipped", "no_audio_stream") if found.picture else ("failed", "unreadable")


def _describe(row: Row, picture: Picture | None, sound: Sound | None) -> None:
    if picture:
        turned = picture.rotation in (90, 270)
        row["width"] = picture.height if turned else picture.width
        row["height"] = picture.width if turned else picture.height
        row["fps"], row["rotation"] = picture.fps, picture.rotation
        row["video_codec"], row["video_stream"] = picture.codec, picture.index
    if sound:
        row["audio_codec"], row["audio_stream"] = sound.codec, sound.index
        row["sample_rate_hz"], row["channels"] = sound.sample_rate_hz, sound.channels


def _make(job: Job, row: Row, source: Source, deadline: float) -> None:
    """Transcode what can be used; under a filtering gate the picture waits for the sound."""
    protocol = job.protocol
    usable = (part for part, name in FOLDERS.items() if row[f"{name}_status"] == "ok")
    waiting = "".join(part for part in usable if part in job.parts)
    steps = ["a", "v"] if protocol["filter"] and protocol["require"] != "none" else ["va"]
    for step in steps:
        if step == "v" and (reason := gate_reason(row, protocol)):
            row.update(filtered(row, reason, job.keys[1]))
            return
        if parts := "".join(p for p in step if p in waiting):
            result = transcode(source, protocol, job.executable, deadline, parts)
            _settle(row, source, protocol, result, parts)
    _finish(job, row, source)


def _settle(row: Row, source: Source, protocol: dict[str, Any], result: Result, parts: str) -> None:
    """Fill in what one ffmpeg call made and measured."""
    notes = [row["detail"], result.log.damage]
    row["detail"] = "; ".join(dict.fromkeys(n for n in notes if n)) or None
    if "v" in parts:
        _settle_picture(row, source, protocol["fps"], result)
    if "a" in parts:
        _settle_sound(row, source, result)


def _settle_picture(row: Row, source: Source, fps: float, result: Result) -> None:
    error = result.errors.get("v")
    frames = 0 if _is_fatal(error) else count_frames(source.folder / PROXY)
    if not frames:
        row["video_status"], row["video_reason"] = "failed", _reason(result, "v", "no_frames")
        return
    row["frames"] = frames
    row["duration_s"] = frames / fps - source.picture_delay_s
    row["black_fraction"] = share(result.log.black_s, frames, fps)
    row["frozen_fraction"] = share(result.log.frozen_s, frames, fps)


def _settle_sound(row: Row, source: Source, result: Result) -> None:
    error, log = result.errors.get("a"), result.log
    usable = log.mean_volume_db is not None and not _is_fatal(error)
    heard = measure_wave(source.folder / WAVE) if usable else None
    if heard is None:
        row["audio_status"], row["audio_reason"] = "failed", _reason(result, "a", "no_samples")
    elif log.not_finite:
        row["audio_status"], row["audio_reason"] = "failed", "not_finite"
        row["detail"] = f"{log.not_finite} samples are NaN or infinite"
    else:
        length_s, row["silent_fraction"] = heard
        row["audio_duration_s"] = max(0.0, length_s - source.sound_delay_s)
        row["mean_volume_db"] = log.mean_volume_db
        row["max_volume_db"] = log.max_volume_db


def _is_fatal(error: ToolError | None) -> bool:
    """Whether ffmpeg was stopped, so that what it left behind is not all there is."""
    return error is not None and error.args[0] in ("timeout", "crashed", "memory_limit")


def _reason(result: Result, part: str, otherwise: str) -> str:
    """Why nothing was made of a part."""
    error = result.errors.get(part)
    if error and error.args[0] != "undecodable":
        return str(error.args[0])
    return "memory_limit" if result.log.out_of_memory else otherwise


def _finish(job: Job, row: Row, source: Source) -> None:
    """Decide the clip's status and move its files to their places."""
    has_picture, has_sound = row["video_status"] == "ok", row["audio_status"] == "ok"
    row["status"] = "ok" if has_picture or has_sound else "failed"
    if "unreadable" in (row["video_reason"], row["audio_reason"]) and row["status"] == "failed":
        row.update(closed(row, "unreadable", row["detail"]))
    elif row["status"] == "failed":
        row["reason"] = row["audio_reason"] if source.picture is None else row["video_reason"]
    if row["duration_s"] is None and has_sound:
        row["duration_s"] = row["audio_duration_s"]
    if has_picture and "v" in job.parts:
        row.update(_place(source.folder / PROXY, job, "v", f"{row['key']}.mp4"))
    if has_sound and "a" in job.parts:
        row.update(_place(source.folder / WAVE, job, "a", f"{row['key']}.wav"))


def _place(file: Path, job: Job, part: Part, name: str) -> Row:
    """Move a finished file to its place; returns what the row knows of it."""
    known = measured(MediaFile(file), part) | {COLUMNS[part]: name}
    target = Path(job.folder, FOLDERS[part], name)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        move_file(file, target)
    except OSError as error:
        raise MachineError(fault(error, target)) from error
    return known
