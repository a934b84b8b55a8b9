"""Pictures for image networks: frames of a clip or a picture file, resized and cropped.

Runs in decoder processes, where torch and open_clip would take seconds to load.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from concord.models.base import MediaFile
from concord.models.decode import Policy, read_frames


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
        frames = read_frames(file.path, self.frames, self.frames_at, file.stream)
        return np.stack([self.preprocessing(frame) for frame in frames])


@dataclass(frozen=True)
class PictureReader:
    """Reads a picture file as one view, uint8 [1, height, width, 3]."""

    preprocessing: Preprocessing

    def __call__(self, file: MediaFile) -> np.ndarray:
        return self.preprocessing(read_picture(file.path))[None]


def read_picture(path: Path) -> np.ndarray:
    """A picture file as RGB, uint8 [H, W, 3], turned as its EXIF orientation says.

    Raises ValueError with `unreadable` and the reader's words.
    """
    try:
        with Image.open(path) as image:
            return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError("unreadable", str(error)) from error
