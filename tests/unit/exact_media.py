"""Lossless files whose every frame and sample is known."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import soundfile

Draw = Callable[[int], np.ndarray]


def numbered(size: tuple[int, int]) -> Draw:
    """Frames, uint8 [H, W, 3], that hold their index in the first two channels, and noise."""
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0]), dtype=np.uint8)

    def draw(index: int) -> np.ndarray:
        frame = np.empty((size[1], size[0], 3), np.uint8)
        frame[..., 0], frame[..., 1], frame[..., 2] = index % 256, index // 256, noise
        return frame

    return draw


def index_of(frame: np.ndarray) -> int:
    """The index that a frame holds."""
    return int(frame[0, 0, 0]) + 256 * int(frame[0, 0, 1])


def write_video(
    path: Path,
    frames: int,
    rate: Fraction = Fraction(25),
    size: tuple[int, int] = (16, 12),
    draw: Draw | None = None,
    times: list[int] | None = None,
) -> Path:
    """Raw frames in QuickTime; `times`: in units of 1 / rate, where they do not follow evenly."""
    draw = draw or numbered(size)
    with av.open(str(path), "w", format="mov") as container:
        stream = container.add_stream("rawvideo", rate=rate)
        stream.width, stream.height, stream.pix_fmt = *size, "rgb24"
        stream.time_base = 1 / rate
        for index in range(frames):
            frame = av.VideoFrame.from_ndarray(draw(index), format="rgb24")
            frame.pts, frame.time_base = times[index] if times else index, 1 / rate
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def write_sound(
    path: Path, samples: np.ndarray, rate_hz: int = 16_000, subtype: str = "FLOAT"
) -> Path:
    """Samples [channels, samples] as a wave."""
    soundfile.write(path, samples.T, rate_hz, subtype=subtype)
    return path


def noise(channels: int, seconds: float, rate_hz: int = 16_000) -> np.ndarray:
    """Noise about a mean that drifts, float32 [channels, samples]."""
    count = round(seconds * rate_hz)
    values = np.random.default_rng(1).normal(0, 0.1, (channels, count))
    return (values + np.linspace(-0.2, 0.3, count)).astype(np.float32)
