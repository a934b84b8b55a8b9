"""Pictures for image networks: frames of a clip or a picture file, resized and cropped.

Runs in decoder processes, where torch and open_clip would take seconds to load.
"""

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps

from concord.models.base import MediaFile
from concord.models.decode import Policy, read_frames
from concord.models.originals import check_size

FORMATS = ("BMP", "JPEG", "PNG", "TIFF", "WEBP")
"""Kinds of picture files that are read."""


@dataclass(frozen=True)
class Preprocessing:
    """How a picture becomes the network's input, as open_clip describes it."""

    height: int
    width: int
    interpolation: str
    resize_mode: str
    fill_color: int

    def __call__(self, picture: np.ndarray) -> np.ndarray:
        """Resize and crop a picture, uint8 [H, W, 3], to uint8 [height, width, 3].

        Equal, value for value, to open_clip's evaluation transform before its normalisation.
        """
        image = Image.fromarray(picture)
        method = Image.Resampling[self.interpolation.upper()]
        ratios = image.width / self.width, image.height / self.height
        if self.resize_mode == "squash":
            size = self.width, self.height
        elif self.resize_mode == "shortest" and self.width == self.height:
            short = min(image.size)
            size = image.width * self.width // short, image.height * self.height // short
        else:
            ratio = max(ratios) if self.resize_mode == "longest" else min(ratios)
            size = round(image.width / ratio), round(image.height / ratio)
            if self.resize_mode == "shortest":
                method = Image.Resampling.BICUBIC  # open_clip forgets the setting in this case
        image = image.resize(size, method)
        return self._crop_or_pad(np.asarray(image))

    def _crop_or_pad(self, pixels: np.ndarray) -> np.ndarray:
        missing = [
            max(0, want - have) for want, have in zip(self._size, pixels.shape, strict=False)
        ]
        border = [(m // 2, (m + 1) // 2) for m in missing]
        pixels = np.pad(pixels, [*border, (0, 0)], constant_values=self.fill_color)
        top, left = (
            round((have - want) / 2) for have, want in zip(pixels.shape, self._size, strict=False)
        )
        return pixels[top : top + self.height, left : left + self.width]

    @property
    def _size(self) -> tuple[int, int]:
        return self.height, self.width


@dataclass(frozen=True)
class FrameReader:
    """Reads frames of a clip as views, uint8 [frames, height, width, 3]."""

    frames: int
    preprocessing: Preprocessing
    frames_at: Policy = "centres"

    def __call__(self, file: MediaFile) -> np.ndarray:
        return read_frames(file, self.frames, self.frames_at, self.preprocessing)


@dataclass(frozen=True)
class PictureReader:
    """Reads a picture file as one view, uint8 [1, height, width, 3]."""

    preprocessing: Preprocessing

    def __call__(self, file: MediaFile) -> np.ndarray:
        return self.preprocessing(read_picture(file))[None]


def read_picture(file: MediaFile) -> np.ndarray:
    """A picture file as RGB, uint8 [H, W, 3], turned as its EXIF orientation says.

    Raises ValueError as open_picture does.
    """
    with _reasons():
        return np.asarray(ImageOps.exif_transpose(_open(file)).convert("RGB"))


def open_picture(file: MediaFile) -> Image.Image:
    """A picture file, decoded and as stored: of formats that Pillow itself reads, by content.

    Others, such as PostScript, would start programs, whatever the file is called. Raises ValueError
    with `too_large` before anything is decoded, or `unreadable` and the reader's words.
    """
    with _reasons():
        return _open(file)


def _open(file: MediaFile) -> Image.Image:
    with _without_own_limit(), Image.open(file.path, formats=FORMATS) as image:
        check_size(*image.size, file.max_pixels)
        image.load()
        return image


@contextmanager
def _without_own_limit() -> Iterator[None]:
    """Let Pillow open pictures that are larger than it guesses to be safe."""
    before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


@contextmanager
def _reasons() -> Iterator[None]:
    """Turn what Pillow raises into ValueErrors with a word of REASONS."""
    try:
        yield
    except MemoryError as error:
        raise ValueError("memory_limit", str(error)) from error
    except (OSError, SyntaxError, ValueError, struct.error) as error:
        if error.args[:1] == ("too_large",):
            raise
        raise ValueError("unreadable", str(error)) from error
