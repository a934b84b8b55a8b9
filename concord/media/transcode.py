"""One clip through one ffmpeg call: proxy, wave and measurements in one decode.

Time. The zero of a clip is the earlier start of its chosen picture and sound. A picture that
starts later has its first frame repeated from zero on, a sound that starts later has silence before
it, and a gap in the sound becomes silence: so frame k of the proxy stands at k / fps seconds and
sample n of the wave at n / rate seconds of one common clock. Neither is cut to the length of the
other. A separate sound file starts with the picture. A sound that begins without timestamps is
placed by counting its samples.
"""

import os
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ffmpeg

from concord.errors import MachineError
from concord.media.measure import Log, count_frames, read_log
from concord.media.probe import OPEN_OPTIONS, Picture, Sound
from concord.scratch import full

MAX_SIDE_PX = 4096
"""Longest side of a proxy: H.264 decoders in browsers go no further."""

MIN_SAMPLES = 64
CANNOT_START = 127
LOG_BYTES = 2**16
"""Room for ffmpeg's log, taken before it starts, so that it can say when there is none left."""
_NO_DECODER = ("opening decoder", "no decoder found", "matches no streams")

PROXY, WAVE, STEADY = "proxy.mp4", "wave.wav", "steady.mka"


class ToolError(Exception):
    """ffmpeg did not end well.

    The first argument is a word of REASONS, or `undecodable`; the second is its last message.
    """


@dataclass(frozen=True)
class Source:
    """One clip as the worker sees it: a folder to work in, with safe names for the originals."""

    folder: Path
    clip: str
    sound_file: str | None
    picture: Picture | None
    sound: Sound | None
    clip_start_s: float
    sound_start_s: float

    @property
    def picture_shift_s(self) -> float:
        """Seconds to take from the picture's timestamps, as ffmpeg gives them, to reach zero."""
        return self._shift(self.clip_start_s, self.picture, None if self.sound_file else self.sound)

    @property
    def sound_shift_s(self) -> float:
        """The same for the sound."""
        if self.sound_file:
            return self._shift(self.sound_start_s, self.sound, None)
        return self._shift(self.clip_start_s, self.sound, self.picture)

    @property
    def picture_delay_s(self) -> float:
        """Seconds by which the picture starts after zero."""
        return self._delay(self.clip_start_s, self.picture, self.picture_shift_s)

    @property
    def sound_delay_s(self) -> float:
        """The same for the sound."""
        start_s = self.sound_start_s if self.sound_file else self.clip_start_s
        return self._delay(start_s, self.sound, self.sound_shift_s)

    @staticmethod
    def _delay(file_start_s: float, stream: Picture | Sound | None, shift_s: float) -> float:
        if stream is None or stream.start_s is None:
            return 0.0
        return max(0.0, stream.start_s - file_start_s - shift_s)

    @staticmethod
    def _shift(file_start_s: float, *streams: Picture | Sound | None) -> float:
        starts = [s.start_s for s in streams if s and s.start_s is not None]
        return min(starts) - file_start_s if starts else 0.0


@dataclass
class Result:
    """What ffmpeg said, and why a part (`v`, `a`) may be missing or damaged."""

    log: Log = field(default_factory=Log)
    errors: dict[str, ToolError] = field(default_factory=dict)


def proxy_size(picture: Picture, size_px: int, fit: str) -> tuple[int, int]:
    """Width and height of the proxy in pixels, both even.

    `short_side`: the short side, as shown with square pixels, becomes `size_px`, unless the long
    one would pass MAX_SIDE_PX. `stretch`: a square.
    """
    if fit == "stretch":
        return _even(size_px), _even(size_px)
    width, height = picture.width * picture.sample_aspect, float(picture.height)
    if picture.rotation in (90, 270):
        width, height = height, width
    scale = min(size_px / min(width, height), MAX_SIDE_PX / max(width, height))
    return _even(width * scale), _even(height * scale)


def _even(length: float) -> int:
    return max(2, 2 * round(length / 2))


def transcode(
    source: Source, protocol: dict[str, Any], executable: str, deadline: float, parts: str
) -> Result:
    """Make the parts of a clip, `v` (PROXY), `a` (WAVE) or `va`, in the source's folder.

    Where one damaged stream keeps the other from being made, each is tried alone. A picture too
    short for one frame of the proxy gives one. `deadline` is a time of the monotonic clock.
    Raises MachineError when the disk is full or cannot be written.
    """
    log, error = _call(_command(source, protocol, parts), source.folder, executable, deadline)
    if error is None:
        if "v" in parts and not count_frames(source.folder / PROXY):
            still = _proxy(source, protocol, still=True)
            log = log.merged(_call(still, source.folder, executable, deadline)[0])
        return _sound_again(Result(log), source, protocol, executable, deadline)
    if len(parts) == 1 or error.args[0] == "timeout":
        return Result(log, dict.fromkeys(parts, error))
    result = Result(log)
    for part in parts:
        log, error = _call(_command(source, protocol, part), source.folder, executable, deadline)
        result.log = result.log.merged(log)
        if error:
            result.errors[part] = error
    return _sound_again(result, source, protocol, executable, deadline)


def _sound_again(
    result: Result,
    source: Source,
    protocol: dict[str, Any],
    executable: str,
    deadline: float,
) -> Result:
    """Write WAVE once more where ffmpeg started its filters anew and so placed the sound anew.

    A picture that changes its size does that too, so the sound is tried alone first; a sound that
    itself changes is first written with one rate and one number of channels.
    """
    if len(result.log.volumes) <= 1 or "a" in result.errors:
        return result
    for make in (_wave, _steady, _steady_wave):
        log, error = _call(make(source, protocol), source.folder, executable, deadline)
        result.log = result.log.merged(log)
        if error:
            result.errors["a"] = error
            return result
        if len(log.volumes) == 1:
            return result
    return result


def _steady(source: Source, protocol: dict[str, Any]) -> Any:
    """The sound on the clip's clock, with its gaps, in one format."""
    assert source.sound is not None
    stream = _sound_stream(source)
    if source.sound.start_s is not None and source.sound_shift_s:
        stream = stream.filter("asetpts", f"PTS-({source.sound_shift_s:.6f})/TB")
    rate = source.sound.sample_rate_hz or protocol["sample_rate_hz"]
    return stream.output(STEADY, acodec="pcm_s16le", ar=rate, ac=1, **_PLAIN)


def _steady_wave(source: Source, protocol: dict[str, Any]) -> Any:
    assert source.sound is not None
    stream = ffmpeg.input(STEADY, threads=1, copyts=None)["a"]
    if source.sound.start_s is None:
        stream = stream.filter("asetpts", "N/SR/TB")
    stream = stream.filter("aresample", protocol["sample_rate_hz"], **{"async": 1, "first_pts": 0})
    return stream.output(WAVE, acodec="pcm_s16le", **_PLAIN)


MAX_FILE_BYTES = 2**32
"""Where a proxy or wave ends: a gap in the timestamps may stand for days, and would fill a disk."""

_PLAIN = {
    "fs": MAX_FILE_BYTES,
    "map_metadata": "-1",
    "map_chapters": "-1",
    "fflags": "+bitexact",
    "flags": "+bitexact",
    "threads": 1,
}


def _command(source: Source, protocol: dict[str, Any], parts: str) -> Any:
    outputs = []
    if "v" in parts and source.picture:
        outputs.append(_proxy(source, protocol))
    if "a" in parts and source.sound:
        outputs.append(_wave(source, protocol))
    return ffmpeg.merge_outputs(*outputs)


def _input(name: str) -> Any:
    # Frames that no other refers to are not deblocked: a tenth less decoding, SSIM above .9998.
    return ffmpeg.input(name, threads=1, skip_loop_filter="noref", **OPEN_OPTIONS)


def _proxy(source: Source, protocol: dict[str, Any], still: bool = False) -> Any:
    picture = source.picture
    assert picture is not None
    stream = _input(source.clip)[str(picture.index)]
    if picture.has_alpha:
        # Transparent is black; the colour stored there is arbitrary.
        stream = stream.filter("format", "gbrap").filter("premultiply", inplace=1)
    if source.picture_shift_s:
        stream = stream.filter("setpts", f"PTS-({source.picture_shift_s:.6f})/TB")
    if not still:
        stream = stream.filter("fps", fps=protocol["fps"], start_time=0)
    width, height = proxy_size(picture, protocol["size_px"], protocol["fit"])
    # Area averaging: a twentieth less time in all than bicubic, no ringing, SSIM .998 against it.
    stream = (
        stream.filter("scale", width, height, flags="area")
        .filter("setsar", 1)
        .filter("format", "yuv420p")
        .filter("blackdetect", d=0)
        .filter("freezedetect", n="-60dB", d=0.5)
    )
    encoder = {"preset": protocol["encoder"]["preset"], "crf": protocol["encoder"]["crf"]}
    if protocol["encoder"]["options"]:
        encoder["x264-params"] = protocol["encoder"]["options"]
    one = {"r": protocol["fps"], "frames:v": 1} if still else {}
    return stream.output(PROXY, vcodec="libx264", **encoder, **one, **_PLAIN)


def _wave(source: Source, protocol: dict[str, Any]) -> Any:
    assert source.sound is not None
    measured = (
        _sound_stream(source)
        .filter(
            "astats", measure_perchannel="none", measure_overall="Number_of_NaNs+Number_of_Infs"
        )
        .filter("volumedetect")
    )
    # A resampler gives nothing for less than its filter's length.
    shortest = max(MIN_SAMPLES, source.sound.sample_rate_hz // 20)
    padded = measured.filter("apad", whole_len=shortest)
    stream = _placed(padded, source).filter(
        "aformat",
        sample_fmts="s16",
        sample_rates=protocol["sample_rate_hz"],
        channel_layouts="mono",
    )
    return stream.output(WAVE, acodec="pcm_s16le", **_PLAIN)


def _sound_stream(source: Source) -> Any:
    assert source.sound is not None
    return _input(source.sound_file or source.clip)[str(source.sound.index)]


def _placed(stream: Any, source: Source) -> Any:
    """The sound on the clip's clock, with silence where there is none."""
    assert source.sound is not None
    if source.sound.start_s is None:
        stream = stream.filter("asetpts", "N/SR/TB")
    elif source.sound_shift_s:
        stream = stream.filter("asetpts", f"PTS-({source.sound_shift_s:.6f})/TB")
    return stream.filter("aresample", **{"async": 1, "first_pts": 0})


def _call(
    output: Any, folder: Path, executable: str, deadline: float
) -> tuple[Log, ToolError | None]:
    options = ("-hide_banner", "-nostdin", "-nostats", "-loglevel", "repeat+level+info")
    threads = ("-filter_threads", "1", "-filter_complex_threads", "1", "-max_error_rate", "1")
    command = ffmpeg.compile(
        output.global_args(*options, *threads), cmd=executable, overwrite_output=True
    )
    log_path = folder / "log"
    try:
        log_path.write_bytes(bytes(LOG_BYTES))
    except OSError as error:
        raise MachineError(full(folder, error.strerror)) from error
    timed_out = False
    with log_path.open("r+b") as log_file:
        try:
            code = subprocess.run(
                command,
                cwd=folder,
                env=_environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log_file,
                timeout=max(0.0, deadline - time.monotonic()),
            ).returncode
        except subprocess.TimeoutExpired:
            code, timed_out = -9, True
        log_file.truncate(os.lseek(log_file.fileno(), 0, os.SEEK_CUR))
    log = read_log(log_path)
    if code == CANNOT_START:
        raise MachineError(f"{executable}: does not start: {log_path.read_text(errors='replace')}")
    if log.machine_error or code == -signal.SIGXFSZ:
        raise MachineError(full(folder, log.machine_error or "File too large"))
    reason = "timeout" if timed_out else _reason(code, log)
    return log, ToolError(reason, log.last_error) if reason else None


def _environment() -> dict[str, str]:
    """Ours, without what would change ffmpeg's log."""
    return {k: v for k, v in os.environ.items() if k not in ("FFREPORT", "AV_LOG_FORCE_COLOR")}


def _reason(code: int, log: Log) -> str | None:
    if code == 0:
        return None
    if log.out_of_memory:
        return "memory_limit"
    if any(words in log.first_error for words in _NO_DECODER):
        return "unreadable"
    return "crashed" if code < 0 or log.stopped else "undecodable"


def link_inputs(folder: Path, clip: str, sound: str | None) -> tuple[str, str | None]:
    """Links with harmless names to the originals, so that no file name means anything to ffmpeg."""
    return _link(folder, "clip", clip), _link(folder, "sound", sound) if sound else None


def _link(folder: Path, role: str, path: str) -> str:
    # A plain extension is kept: it helps ffmpeg with formats that have no signature.
    suffix = Path(path).suffix.lower()
    name = role + (suffix if suffix[1:].isascii() and suffix[1:].isalnum() else "")
    (folder / name).symlink_to(Path(path).absolute())
    return name
