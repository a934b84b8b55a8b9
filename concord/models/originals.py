"""Pictures and sounds of any media file, originals included, for decoder processes.

Only local files are opened, one thread decodes, and a file that cannot be used is a ValueError
whose first argument is a word of REASONS. A damaged packet costs its own frames, not the file.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from math import gcd
from typing import Any

import numpy as np

from concord.media.probe import OPEN_OPTIONS, choose_streams
from concord.memory import outside_memory_limit
from concord.models.base import MediaFile

MAX_RESAMPLING_WEIGHTS = 2**26
"""Largest table of filter weights (256 MB) a pair of sample rates may need; odd ones need most."""

BLOCK_S = 60
"""Sound that is resampled at once, in seconds."""

MARGIN = 8
"""Steps of the resampler on either side of a block, more than its filter reaches."""

Choose = Callable[[int, Fraction], Sequence[int]]
"""From the number of frames and the average frame rate (1/s) to the indices of those wanted."""

Convert = Callable[[np.ndarray], np.ndarray]


def read_video_frames(
    file: MediaFile,
    choose: Choose,
    convert: Convert | None = None,
) -> list[np.ndarray]:
    """The frames that `choose` names, as RGB, uint8 [H, W, 3], upright, in the order named.

    The number of frames is that of the packets, as decord counts them; where fewer decode and one
    of the wanted is missing, `choose` is asked again with what decodes. Decodes in order, since
    seeking is not exact in every format, and no further than needed. `convert` is applied to every
    frame once, so that no large frames pile up. Frames of another size than the first are scaled to
    it. The rotation in the file is applied; pixels that are not square stay as stored.

    Raises ValueError with `no_video_stream`, `no_frames`, `too_large`, `unreadable` or
    `memory_limit`.
    """
    with _reasons(), _open(file, "video") as (container, stream):
        rate = stream.average_rate or stream.guessed_rate or Fraction(1)
        total = sum(p.size > 0 and not p.is_discard for p in _packets(container, stream))
    wanted = list(choose(total, rate)) if total else []
    kept, decoded = _pick(file, wanted, convert)
    if decoded and not kept.keys() >= set(wanted):
        wanted = list(choose(decoded, rate))
        kept, decoded = _pick(file, wanted, convert)
    if not kept:
        raise ValueError("no_frames")
    return [kept[i] for i in wanted]


def read_audio(file: MediaFile, sample_rate_hz: int, mono: bool = False) -> np.ndarray:
    """All samples of a file, float32 [channels, samples] in -1..1, at a sample rate.

    Integers are divided by their range (16 bit: 32768) and timestamps are ignored, as torchaudio
    does when it loads a file; another rate is resampled with torchaudio's windowed sinc. `mono`:
    the mean of the channels. Of what is decoded a minute is held, of what is returned all.

    Raises ValueError with `no_audio_stream`, `no_samples`, `not_finite`, `unreadable` or
    `memory_limit`.
    """
    sound = _Sound()
    with _reasons(), _open(file, "audio") as (container, stream):
        frames = _decoded(container, stream)
        first = next(frames, None)
        if first is None:
            raise ValueError("no_samples")
        resampling = _Resampling.between(first.sample_rate, sample_rate_hz)
        parts = _samples(chain([first], frames), first.layout, first.sample_rate)
        for before, block in resampling.blocks(parts):
            if not np.isfinite(block).all():
                raise ValueError("not_finite")
            mixed = block.mean(axis=0, keepdims=True) if mono else block
            sound.append(resampling(before, mixed))
        return sound.joined()


@contextmanager
def _reasons() -> Iterator[None]:
    """Turn what libraries raise into ValueErrors with a word of REASONS."""
    import av

    try:
        yield
    except MemoryError as error:
        raise ValueError("memory_limit", str(error)) from error
    except (av.FFmpegError, OSError) as error:
        raise ValueError("unreadable", error.strerror or str(error)) from error


@contextmanager
def _open(file: MediaFile, kind: str) -> Iterator[tuple[Any, Any]]:
    """The open file and its stream, a picture (`video`) or a sound (`audio`)."""
    import av

    source = file.source()
    with av.open(source, options=OPEN_OPTIONS, metadata_errors="replace") as container:
        if file.stream is None:
            stream = choose_streams(container)[kind == "audio"]
        else:
            stream = next((s for s in container.streams if s.index == file.stream), None)
        if stream is None or stream.type != kind:
            raise ValueError(f"no_{kind}_stream")
        if stream.codec_context is None:
            raise ValueError("unreadable", f"stream {stream.index}: unknown codec")
        if kind == "video":
            check_size(stream.width, stream.height, file.max_pixels)
        stream.codec_context.thread_count = 1
        yield container, stream


def check_size(width: int, height: int, max_pixels: int) -> None:
    """Raise ValueError with `too_large` for a picture or an array of more than `max_pixels`."""
    if width * height > max_pixels:
        raise ValueError("too_large", f"{width} x {height} pixels")


def _packets(container: Any, stream: Any) -> Iterator[Any]:
    """A stream's packets, up to the first fault of the file."""
    import av

    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except MemoryError:
            raise
        except av.FFmpegError:
            return
        if packet is None:
            return
        yield packet


def _decoded(container: Any, stream: Any) -> Iterator[Any]:
    """A stream's frames; damaged packets give none."""
    import av

    for packet in _packets(container, stream):
        try:
            yield from packet.decode()
        except MemoryError:
            raise
        except av.FFmpegError:
            continue


def _pick(
    file: MediaFile, indices: list[int], convert: Convert | None
) -> tuple[dict[int, np.ndarray], int]:
    """The frames of these indices, and how many were decoded until all were there."""
    from av.video.reformatter import VideoReformatter

    missing, kept, decoded = set(indices), {}, 0
    size: tuple[int, int] | None = None
    scaler = VideoReformatter()  # one for all frames: to set it up takes longer than to scale
    with _reasons(), _open(file, "video") as (container, stream):
        for index, frame in enumerate(_decoded(container, stream)):
            decoded = index + 1
            check_size(frame.width, frame.height, file.max_pixels)
            size = size or (frame.width, frame.height)
            if index in missing:
                pixels = _upright(scaler, frame, *size)
                kept[index] = convert(pixels) if convert else pixels
                missing.remove(index)
                if not missing:
                    break
    return kept, decoded


def _upright(scaler: Any, frame: Any, width: int, height: int) -> np.ndarray:
    """A frame as RGB, uint8 [H, W, 3], turned as the file says it is to be shown."""
    pixels = scaler.reformat(frame, width, height, "rgb24").to_ndarray()
    return np.ascontiguousarray(np.rot90(pixels, round(frame.rotation / 90)))


def _samples(frames: Iterable[Any], layout: Any, rate_hz: int) -> Iterator[np.ndarray]:
    """Samples of frames, float32 [channels, samples], in one layout and at one rate throughout."""
    import av

    resampler, kind = None, None
    for frame in frames:
        now = frame.format.name, frame.layout.name, frame.sample_rate
        if resampler is None or now != kind:
            if resampler:
                yield from map(_channels, resampler.resample(None))
            # interleaved: PyAV crashes where eight channels or more lie apart
            resampler, kind = av.AudioResampler("flt", layout, rate_hz), now
        yield from map(_channels, resampler.resample(frame))
    if resampler:
        yield from map(_channels, resampler.resample(None))


def _channels(frame: Any) -> np.ndarray:
    """Interleaved samples of a frame as [channels, samples]."""
    samples: np.ndarray = frame.to_ndarray().reshape(frame.samples, -1)
    return np.ascontiguousarray(samples.T)


@dataclass(frozen=True)
class _Resampling:
    """Gives sound another rate, a minute at a time: the filter takes several times its memory.

    `given` samples of the old rate pass in the same time, a step, as `made` of the new one. A block
    of `length` steps is resampled with `margin` steps on either side, where there are any.
    """

    rate_hz: int
    wanted_hz: int
    given: int
    made: int
    length: int
    margin: int

    @classmethod
    def between(cls, rate_hz: int, wanted_hz: int) -> "_Resampling":
        """Raises ValueError with `memory_limit` for rates that take too many filter weights."""
        common = gcd(rate_hz, wanted_hz)
        given, made = rate_hz // common, wanted_hz // common
        if given * made > MAX_RESAMPLING_WEIGHTS:
            raise ValueError("memory_limit", f"{rate_hz} Hz cannot be resampled to {wanted_hz} Hz")
        margin = MARGIN if given != made else 0
        return cls(rate_hz, wanted_hz, given, made, BLOCK_S * common, margin)

    def blocks(self, parts: Iterator[np.ndarray]) -> Iterator[tuple[int, np.ndarray]]:
        """Blocks with their margins of a sound in parts, and the steps of each one's first margin.

        Parts and blocks are [channels, samples].
        """
        held, count, before = list[np.ndarray](), 0, 0
        while True:
            wanted = (before + self.length + self.margin) * self.given
            for part in parts:
                held.append(part)
                count += part.shape[1]
                if count >= wanted:
                    break
            if count <= before * self.given:
                return
            whole = np.concatenate(held, axis=1)
            held.clear()
            yield before, whole[:, :wanted]
            held.append(whole[:, (before + self.length - self.margin) * self.given :].copy())
            count, before = held[0].shape[1], self.margin

    def __call__(self, before: int, block: np.ndarray) -> np.ndarray:
        """A block at the new rate, without its margins; the first has `before` steps."""
        if self.given == self.made:
            return block
        with outside_memory_limit():
            import torch
            from torchaudio.functional import resample

        try:
            with one_thread():
                made = resample(torch.from_numpy(block), self.rate_hz, self.wanted_hz).numpy()
        except RuntimeError as error:  # torch has no own error for a CPU without memory
            raise ValueError("memory_limit", str(error)) from error
        found: np.ndarray = made[:, before * self.made : (before + self.length) * self.made]
        return found


class _Sound:
    """A sound that grows by blocks [channels, samples], each channel where it is.

    What is large already is not copied when it grows, so that it is never there twice.
    """

    def __init__(self) -> None:
        self.channels: list[np.ndarray] = []

    def append(self, block: np.ndarray) -> None:
        """Add samples at the end. Raises MemoryError."""
        self.channels = self.channels or [np.empty(0, np.float32) for _ in block]
        for channel, samples in zip(self.channels, block, strict=True):
            _grow(channel, len(channel) + len(samples))
            channel[-len(samples) :] = samples

    def joined(self) -> np.ndarray:
        """The samples [channels, samples]; ends the growth. Raises ValueError with `no_samples`."""
        if not self.channels:
            raise ValueError("no_samples")
        whole, *others = self.channels
        count = len(whole)
        _grow(whole, count * len(self.channels))
        for index, channel in enumerate(others, start=1):
            whole[index * count : (index + 1) * count] = channel
        return whole.reshape(-1, count)


def _grow(array: np.ndarray, length: int) -> None:
    """Make an array that nothing else views longer, in place."""
    array.resize(length, refcheck=False)


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch compute with one thread, as befits one decoder process of several."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
