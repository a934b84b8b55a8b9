"""Still pictures, depth and thermal maps, and motion readings as ImageBind takes them."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from concord.models.base import MediaFile
from concord.models.imagebind.video import short_side
from concord.models.imagebind.views import SIZE_PX
from concord.models.originals import check_size
from concord.models.pictures import open_picture

if TYPE_CHECKING:
    from PIL import Image

AXES, STEPS = 6, 2000


def read_image(file: MediaFile) -> np.ndarray:
    """A picture, uint8 [224, 224, 3]: short side 224 px (bicubic), centre crop.

    Stored orientation, as in the reference, which knows no EXIF. Raises ValueError with
    `unreadable` or `too_large`.
    """
    return np.asarray(_centre(open_picture(file).convert("RGB")))


def read_map(file: MediaFile) -> np.ndarray:
    """A depth or thermal map, float32 [1, 1, 224, 224]: short side 224 px (bicubic), centre crop.

    .npy: numbers [H, W], used as they are. Any other file: a picture, as one channel, whose
    integers are scaled to 0..1 by the range of their type (8 or 16 bits).
    Raises ValueError with `unreadable`, `not_finite` or `too_large`.
    """
    from PIL import Image

    if file.path.suffix.lower() == ".npy":
        numbers = _open_numbers(file.path)
        rows, columns = numbers.shape
        check_size(columns, rows, file.max_pixels)
        image = Image.fromarray(_as_float(numbers))
    else:
        image = _one_channel(open_picture(file))
    cut = _centre(image)
    values = np.asarray(cut, np.float32) / (255 if cut.mode == "L" else 1)
    return _finite(values)[None, None]


def read_imu(file: MediaFile) -> np.ndarray:
    """Motion readings, float32 [1, 6, 2000], of an .npy file [6, samples] or [samples, 6].

    The first 2000 samples; a shorter recording has zeros after it. Six samples of six axes are
    taken as [6, samples]. Raises ValueError with `unreadable`, `no_samples` or `not_finite`.
    """
    readings = _open_numbers(file.path)
    if readings.shape[0] != AXES:
        readings = readings.T
    if readings.shape[0] != AXES:
        raise ValueError("unreadable", f"shape {readings.T.shape}, expected [{AXES}, samples]")
    views = np.zeros((1, AXES, STEPS), np.float32)
    readings = readings[:, :STEPS]
    views[0, :, : readings.shape[1]] = _as_float(readings)
    return _finite(views)


def _one_channel(image: "Image.Image") -> "Image.Image":
    """A picture in mode L, or in mode F if its numbers need more than 8 bits."""
    from PIL import Image

    if image.mode.startswith("I;16"):
        return Image.fromarray(np.asarray(image, np.float32) / (2**16 - 1))
    if image.mode == "I":
        raise ValueError("unreadable", "integers of 32 bits; save the numbers as .npy")
    return image if image.mode == "F" else image.convert("L")


def _open_numbers(path: Path) -> np.ndarray:
    """An .npy file's array [rows, columns], which is read where it is used."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ValueError("unreadable", str(error)) from error
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu" or array.ndim != 2:
        raise ValueError("unreadable", "expected an array of numbers with two axes")
    if not array.size:
        raise ValueError("no_samples")
    return array


def _as_float(numbers: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        return np.asarray(numbers, np.float32)


def _finite(values: np.ndarray) -> np.ndarray:
    if not np.isfinite(values).all():
        raise ValueError("not_finite")
    return values


def _centre(image: "Image.Image") -> "Image.Image":
    """Short side 224 px, then the square in the middle, as torchvision cuts it."""
    from PIL import Image

    image = image.resize(short_side(image.size), Image.Resampling.BICUBIC)
    left, top = (round((length - SIZE_PX) / 2) for length in image.size)
    return image.crop((left, top, left + SIZE_PX, top + SIZE_PX))
