"""Which frames of a video ImageBind sees, and how they are resized.

Slices of two frames each leave here, uint8 or float32 [S, 2, H, W, 3] in 0..255, short side 224 px;
crops and normalisation follow on the device (views.py).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

import numpy as np

from concord.models.base import MAX_PIXELS, MediaFile
from concord.models.imagebind.views import CROPS, SIZE_PX, crop_offsets
from concord.models.originals import read_video_frames

CLIPS, CLIP_S = 5, 2
Pair = tuple[int, int]


def clip_pairs(total: int, rate: Fraction) -> list[Pair]:
    """15view: the first and the last frame of 5 slices of 2 s, spread evenly over the video.

    The arithmetic is the reference's (pytorchvideo's), floats and all, so that its choice is met
    where rounding decides: duration = total / rate; slice k starts at k * (duration - 2) / 4 s and
    has the frames from ceil(rate * start) to ceil(rate * end) - 1. A video shorter than 2 s has the
    same slice five times. Below one frame in 2 s a slice may hold no frame, and the reference
    stops; here it has the frame that is shown when it starts.
    """
    fps = float(rate)
    room = Fraction(max(total / fps - CLIP_S, 0)) / (CLIPS - 1)
    pairs = []
    for start in (k * room for k in range(CLIPS)):
        last = min(math.ceil(fps * (start + CLIP_S)), total) - 1
        pairs.append((min(math.ceil(fps * start), last), last))
    return pairs


def half_hertz_pairs(total: int, rate: Fraction) -> list[Pair]:
    """avbench-9view: every two consecutive frames of the video at 0.5 frames per second.

    Frame k is the last one before 2k + 1 s, as ffmpeg's fps filter chooses it, and there are
    floor(duration / 2) of them: 4 frames and 3 pairs in 8 s. A single one is paired with itself.
    """
    count = max(1, math.floor(total / rate / 2))
    chosen = [min(math.ceil((2 * k + 1) * rate), total) - 1 for k in range(count)]
    return list(pairwise(chosen)) or [(chosen[0], chosen[0])]


def resize_bilinear(frame: np.ndarray) -> np.ndarray:
    """A frame, uint8 [H, W, 3], with a short side of 224 px: float32, not antialiased.

    As torch's interpolate with align_corners=False, in its single precision; unchanged, still
    uint8, if it fits already. Raises ValueError with `too_large` for a picture too long and narrow
    to be resized.
    """
    height, width = frame.shape[:2]
    if width < height:
        rows, columns = _bounded(math.floor(height / width * SIZE_PX)), SIZE_PX
    else:
        rows, columns = SIZE_PX, _bounded(math.floor(width / height * SIZE_PX))
    if (rows, columns) != (height, width):
        above, below, down = _between(height, rows)
        left, right, across = _between(width, columns)
        across = across[:, None]
        upper, lower = (
            frame[at][:, left] * (1 - across) + frame[at][:, right] * across
            for at in (above, below)
        )
        down = down[:, None, None]
        frame = upper * (1 - down) + lower * down
    return _crops_alone(frame)


def _between(length: int, wanted: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The pixels of a line that each of `wanted` new ones lies between, and the second's share."""
    scale = float(np.float32(length) / np.float32(wanted))
    # rounded once, as torch's fused multiply-add does
    places = np.maximum(scale * (np.arange(wanted) + 0.5) - 0.5, 0).astype(np.float32)
    first = np.minimum(places.astype(np.intp), length - 1)
    return first, np.minimum(first + 1, length - 1), places - first.astype(np.float32)


def resize_bicubic(frame: np.ndarray) -> np.ndarray:
    """A frame, uint8 [H, W, 3], with a short side of 224 px: uint8, antialiased.

    Raises ValueError with `too_large` for a picture too long and narrow to be resized.
    """
    from PIL import Image

    image = Image.fromarray(frame)
    return _crops_alone(np.asarray(image.resize(short_side(image.size), Image.Resampling.BICUBIC)))


def short_side(size: Pair) -> Pair:
    """Width and height with a short side of 224 px, as torchvision rounds them.

    Raises ValueError with `too_large` for a picture too long and narrow to be resized.
    """
    width, height = size
    if width <= height:
        return SIZE_PX, _bounded(SIZE_PX * height // width)
    return _bounded(SIZE_PX * width // height), SIZE_PX


def _bounded(long_px: int) -> int:
    if long_px * SIZE_PX > MAX_PIXELS:
        raise ValueError("too_large", f"{long_px} pixels long when {SIZE_PX} wide")
    return long_px


def _crops_alone(frame: np.ndarray) -> np.ndarray:
    """Without what lies between the three crops, where they leave gaps."""
    axis = 0 if frame.shape[0] > frame.shape[1] else 1
    if frame.shape[axis] <= CROPS * SIZE_PX:
        return frame
    parts = [
        np.take(frame, range(at, at + SIZE_PX), axis) for at in crop_offsets(frame.shape[axis])
    ]
    return np.concatenate(parts, axis)


@dataclass(frozen=True)
class VideoReader:
    """Reads a video as slices of two frames, [S, 2, H, W, 3]; picklable."""

    pairs: Callable[[int, Fraction], list[Pair]]
    resize: Callable[[np.ndarray], np.ndarray]

    def __call__(self, file: MediaFile) -> np.ndarray:
        """Raises ValueError as read_video_frames does."""
        frames = np.stack(read_video_frames(file, self._choose, self.resize))
        return frames.reshape(-1, 2, *frames.shape[1:])

    def _choose(self, total: int, rate: Fraction) -> list[int]:
        return [index for pair in self.pairs(total, rate) for index in pair]


VIDEO_READERS = {
    "15view": VideoReader(clip_pairs, resize_bilinear),
    "avbench-9view": VideoReader(half_hertz_pairs, resize_bicubic),
}
"""By the option `views` of a named protocol."""
