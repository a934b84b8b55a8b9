"""Frames come from the centres of equal intervals; what cannot be read says so."""

import av
import numpy as np
import pytest
from embedding_inputs import write_proxy

from concord.models.base import MediaFile
from concord.models.decode import indices, read_frames


@pytest.mark.parametrize(
    ("count", "total", "expected"),
    [
        (8, 8, [0, 1, 2, 3, 4, 5, 6, 7]),
        (8, 80, [5, 15, 25, 35, 45, 55, 65, 75]),
        (4, 2, [0, 0, 1, 1]),
        (3, 1, [0, 0, 0]),
        (1, 5, [2]),
    ],
)
def test_centres(count, total, expected):
    assert indices("centres", count, total) == expected


@pytest.mark.parametrize(
    ("count", "total", "expected"),
    [(8, 80, [0, 10, 20, 30, 40, 50, 60, 70]), (4, 11, [0, 2, 4, 6]), (3, 2, [0, 0, 0])],
)
def test_left(count, total, expected):
    """The last frames of a clip are never among them: the old recipe, as it was."""
    assert indices("left", count, total) == expected


def test_unknown_policy_is_refused():
    with pytest.raises(ValueError, match="'right', expected one of centres, left"):
        indices("right", 8, 80)


def test_frames_are_the_ones_at_the_centres(tmp_path):
    """Frame i has the grey level 10 * i, which survives encoding."""
    frames = read_frames(MediaFile(write_proxy(tmp_path / "a.mp4", frames=25)), 5)
    assert frames.shape == (5, 64, 96, 3)
    assert frames.dtype == np.uint8
    levels = frames.reshape(5, -1).mean(axis=1)
    np.testing.assert_allclose(levels, [20 + 2.5, 72.5, 122.5, 172.5, 222.5], atol=4)


def test_frames_equal_a_full_decode(tmp_path):
    path = write_proxy(tmp_path / "a.mp4", frames=47)
    with av.open(str(path)) as container:
        every = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    chosen = indices("centres", 8, 47)
    np.testing.assert_array_equal(read_frames(MediaFile(path), 8), [every[i] for i in chosen])


def test_short_clip_repeats_frames(tmp_path):
    frames = read_frames(MediaFile(write_proxy(tmp_path / "a.mp4", frames=2)), 8)
    assert len(np.unique(frames.reshape(8, -1), axis=0)) == 2


def test_truncated_file_gives_what_decodes(tmp_path):
    """The index names more frames than there are data: the centres are of those that decode."""
    path = write_proxy(tmp_path / "a.mkv", frames=40)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])
    frames = read_frames(MediaFile(path), 4)
    levels = frames.reshape(4, -1).mean(axis=1)
    assert (np.diff(levels) > 0).sum() >= 2


@pytest.mark.parametrize("content", [b"", b"no video at all" * 100])
def test_unreadable_file_says_so(tmp_path, content):
    path = tmp_path / "a.mp4"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="unreadable"):
        read_frames(MediaFile(path), 8)


def test_missing_file_is_unreadable(tmp_path):
    with pytest.raises(ValueError, match="unreadable"):
        read_frames(MediaFile(tmp_path / "none.mp4"), 8)
