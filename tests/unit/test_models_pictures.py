"""Picture files of nobody's: what may be opened, and how large it may be."""

import tracemalloc
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
from embedding_inputs import write_proxy
from PIL import EpsImagePlugin, Image

from concord.config import Media
from concord.models.base import MAX_PIXELS, MediaFile
from concord.models.imagebind.pictures import read_image, read_map
from concord.models.pictures import FORMATS, FrameReader, Preprocessing, read_picture

POSTSCRIPT = b"""%!PS-Adobe-3.0 EPSF-3.0
%%BoundingBox: 0 0 40 30
%%EndComments
showpage
%%EOF
"""
READERS = pytest.mark.parametrize("read", [read_picture, read_image, read_map])


def write_picture(path: Path, kind: str | None = None) -> Path:
    """A picture of 40 x 30 pixels."""
    pixels = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, kind)
    return path


@READERS
def test_postscript_starts_no_program(tmp_path: Path, monkeypatch, read) -> None:
    """Whatever the file is called."""
    ghostscript = Mock(return_value=Image.new("RGB", (40, 30)).im)
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", ghostscript)
    path = tmp_path / "a.png"
    path.write_bytes(POSTSCRIPT)
    with pytest.raises(ValueError, match="unreadable"):
        read(MediaFile(path))
    assert not ghostscript.called


@READERS
@pytest.mark.parametrize("kind", FORMATS)
def test_pictures_are_known_by_their_content(tmp_path: Path, read, kind: str) -> None:
    assert read(MediaFile(write_picture(tmp_path / "a.picture", kind))).size


@READERS
def test_a_picture_may_be_as_large_as_the_configuration_says(tmp_path: Path, read) -> None:
    path = write_picture(tmp_path / "a.png")
    with pytest.raises(ValueError, match="too_large") as error:
        read(MediaFile(path, max_pixels=1199))
    assert error.value.args == ("too_large", "40 x 30 pixels")
    assert read(MediaFile(path, max_pixels=1200)).size


@READERS
def test_more_may_be_allowed_than_pillow_would(tmp_path: Path, monkeypatch, recwarn, read) -> None:
    path = tmp_path / "a.png"
    Image.new("L", (400, 300)).save(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 224 * 300)
    assert read(MediaFile(path)).size
    assert not recwarn.list


def test_maps_of_numbers_have_the_same_limit(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((30, 40)))
    with pytest.raises(ValueError, match="too_large"):
        read_map(MediaFile(tmp_path / "a.npy", max_pixels=1199))
    assert read_map(MediaFile(tmp_path / "a.npy", max_pixels=1200)).size


def test_the_limit_is_the_configured_one_unless_told() -> None:
    assert Media().max_pixels == MAX_PIXELS


def test_no_large_frames_pile_up(tmp_path: Path) -> None:
    """Of each only what the network sees is kept."""
    path, size, frames = tmp_path / "a.mp4", (1280, 960), 24
    write_proxy(path, frames, size)
    read = FrameReader(frames, Preprocessing(64, 64, "bilinear", "squash", 0))
    tracemalloc.start()
    try:
        assert read(MediaFile(path)).shape == (frames, 64, 64, 3)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 6 * 3 * size[0] * size[1]
