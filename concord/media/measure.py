"""What ffmpeg's log and the wave say about a clip."""

import math
import re
from dataclasses import dataclass, field
from pathlib import Path

_LINE = re.compile(r"^\[(?P<source>[^\]@]+?)(?: @ 0x[0-9a-f]+)?\] \[(?P<level>\w+)\] (?P<text>.*)$")
_BARE = re.compile(r"^\[(?P<level>error|fatal|panic)\] (?P<text>.*)$")
_STOPPED = "[info] Exiting normally, received signal "
_ADDRESS = re.compile(r" @ 0x[0-9a-f]+")
_NUMBER = r"(-?(?:[\d.]+(?:e[-+]?\d+)?|inf|nan))"
_VOLUME = re.compile(rf"^(mean_volume|max_volume|n_samples): {_NUMBER}")
_NOT_FINITE = re.compile(rf"^Number of (?:NaNs|Infs): {_NUMBER}")
_BLACK = re.compile(rf"black_start:\s*{_NUMBER} black_end:\s*{_NUMBER}")
_FREEZE = re.compile(rf"freeze_(start|end): {_NUMBER}")

_NO_MEMORY = re.compile(r"cannot allocate|failed to allocate|malloc|get_buffer\(\) failed", re.I)
NO_ROOM = re.compile(
    r"no space left on device|disk quota exceeded|read-only file system|file too large", re.I
)
_NOT_WRITTEN = re.compile(
    r"(?:writ|mux|output|trailer|proxy\.mp4|wave\.wav).*input/output error", re.I
)

SILENCE_DB = -60.0
WINDOW_S = 0.02
FLOOR_DB = -91.0
"""What volumedetect calls digital silence: less than one step of 16 bits."""

MAX_DETAIL = 300


@dataclass
class Volume:
    """What volumedetect said of a stretch of sound; samples of all channels, levels in dBFS."""

    samples: int
    mean_db: float = FLOOR_DB
    max_db: float = FLOOR_DB


@dataclass
class Log:
    """ffmpeg's log, read once.

    Where a sound changes its rate or its channels, ffmpeg starts its filters anew, and so there is
    a volume for each stretch.
    """

    volumes: list[Volume] = field(default_factory=list)
    not_finite: int = 0
    black_s: list[tuple[float, float]] = field(default_factory=list)
    frozen_s: list[tuple[float, float]] = field(default_factory=list)
    errors: int = 0
    first_error: str = ""
    last_error: str = ""
    out_of_memory: bool = False
    machine_error: str = ""
    stopped: bool = False
    """Whether a signal ended the call, before which ffmpeg finishes its files."""

    @property
    def mean_volume_db(self) -> float | None:
        """Root mean square level of the whole sound; None without samples."""
        samples = sum(v.samples for v in self.volumes)
        if not samples:
            return None
        power = sum(v.samples * 10 ** (v.mean_db / 10) for v in self.volumes) / samples
        return max(FLOOR_DB, round(10 * math.log10(power), 1))

    @property
    def max_volume_db(self) -> float | None:
        """Largest sample; None without samples."""
        return max((v.max_db for v in self.volumes), default=None)

    def merged(self, other: "Log") -> "Log":
        """This log with what a later call measured."""
        return Log(
            other.volumes or self.volumes,
            other.not_finite or self.not_finite,
            other.black_s or self.black_s,
            other.frozen_s or self.frozen_s,
            self.errors + other.errors,
            self.first_error or other.first_error,
            other.last_error or self.last_error,
            self.out_of_memory or other.out_of_memory,
            self.machine_error or other.machine_error,
            self.stopped or other.stopped,
        )

    @property
    def damage(self) -> str | None:
        """Errors in a few words; None if there were none."""
        if not self.errors:
            return None
        plural = "s" if self.errors > 1 else ""
        return f"{self.errors} decoding error{plural}, first: {self.first_error}"[:MAX_DETAIL]


def read_log(path: Path) -> Log:
    """Measurements and errors from the log of a call made with `-loglevel level+info`."""
    log = Log()
    with path.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            log.stopped |= line.startswith(_STOPPED)
            match = _LINE.match(line) or _BARE.match(line)
            if not match:
                continue
            if match["level"] in ("error", "fatal", "panic"):
                _note_error(log, match)
            elif match["level"] == "info" and "source" in match.groupdict():
                _note_measure(log, match["source"], match["text"])
    return log


def _note_error(log: Log, match: re.Match[str]) -> None:
    text = _ADDRESS.sub("", match["text"]).strip()
    log.errors += 1
    log.first_error = log.first_error or text
    log.last_error = text
    log.out_of_memory |= bool(_NO_MEMORY.search(text))
    if not log.machine_error and (NO_ROOM.search(text) or _NOT_WRITTEN.search(match[0])):
        log.machine_error = text


def _note_measure(log: Log, source: str, text: str) -> None:
    if source.startswith("Parsed_volumedetect") and (found := _VOLUME.match(text)):
        name, value = found[1], float(found[2])
        if name == "n_samples" and value:
            log.volumes.append(Volume(int(value)))
        elif name == "mean_volume" and log.volumes:
            log.volumes[-1].mean_db = max(FLOOR_DB, value)
        elif log.volumes:
            log.volumes[-1].max_db = max(FLOOR_DB, value)
    elif source.startswith("Parsed_astats") and (found := _NOT_FINITE.match(text)):
        # ffmpeg gives the number a channel, which may be a fraction.
        log.not_finite += math.ceil(float(found[1]))
    elif found := _BLACK.search(text):
        log.black_s.append((float(found[1]), float(found[2])))
    elif found := _FREEZE.search(text):
        if found[1] == "start":
            log.frozen_s.append((float(found[2]), math.inf))
        elif log.frozen_s:
            log.frozen_s[-1] = (log.frozen_s[-1][0], float(found[2]))


def share(intervals: list[tuple[float, float]], frames: int, fps: float) -> float:
    """Share of the frames inside the intervals (seconds), 0 to 1."""
    if not frames:
        return 0.0
    last = (frames - 1) / fps
    covered = sum((frames / fps if end >= last - 1e-3 else end) - start for start, end in intervals)
    return min(1.0, max(0.0, covered * fps / frames))


def measure_wave(wave: Path) -> tuple[float, float] | None:
    """Seconds of a mono 16 bit wave, and the share of it that is silent, 0 to 1.

    Silent are the windows of 20 ms whose RMS level is below -60 dBFS; a last window that is shorter
    counts by its length. None if the wave is missing, damaged or empty.
    """
    import numpy as np
    import soundfile

    try:
        samples, rate = soundfile.read(wave, dtype="float32")
    except soundfile.LibsndfileError:
        return None
    if not len(samples):
        return None
    window = max(1, round(rate * WINDOW_S))
    starts = np.arange(0, len(samples), window)
    lengths = np.minimum(window, len(samples) - starts)
    power = np.add.reduceat(samples.astype(np.float64) ** 2, starts) / lengths
    silent = power < 10 ** (SILENCE_DB / 10)
    return len(samples) / rate, float(lengths[silent].sum() / len(samples))


def count_frames(proxy: Path) -> int:
    """Frames in a proxy, by its index; 0 if it is missing or empty."""
    import av

    try:
        with av.open(str(proxy)) as container:
            return container.streams.video[0].frames if container.streams.video else 0
    except (av.FFmpegError, OSError):
        return 0
