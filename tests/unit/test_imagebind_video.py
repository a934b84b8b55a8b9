"""ImageBind's views of a video: equal to the reference's, and to its arithmetic once more."""

import math
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from exact_media import index_of, numbered, write_video
from torch.nn import functional as F
from torchvision.transforms import v2

from concord.models.base import MediaFile
from concord.models.imagebind import views
from concord.models.imagebind.video import (
    VIDEO_READERS,
    clip_pairs,
    half_hertz_pairs,
    resize_bicubic,
    resize_bilinear,
)

MEAN = torch.tensor([0.48145466, 0.4578275, 0.40821073]).reshape(3, 1, 1, 1)
STD = torch.tensor([0.26862954, 0.26130258, 0.27577711]).reshape(3, 1, 1, 1)
RATES = [
    Fraction(25),
    Fraction(24000, 1001),
    Fraction(30000, 1001),
    Fraction(25, 2),
    Fraction(2291200, 91571),
    Fraction(750000, 71393),
    Fraction(60),
    Fraction(1),
    Fraction(1, 2),
]


def expand(given: np.ndarray) -> torch.Tensor:
    return views.expand("video", {}, torch.from_numpy(np.array(given)))


@pytest.mark.shared
@pytest.mark.parametrize(
    "name", ["vggsound_tennis.mp4", "dog_walk_sidewalk.mp4", "gen_violin_portrait.mp4"]
)
def test_real_videos_give_the_reference_views(shared: Path, name: str) -> None:
    golden = np.load(shared / "golden/imagebind_preprocess.npz")
    found = expand(VIDEO_READERS["15view"](MediaFile(shared / "media/videos" / name)))
    pooled = F.avg_pool2d(found.flatten(0, 1), 16)
    np.testing.assert_allclose(pooled.flatten(), golden[f"video_pool16/{name}"].ravel(), atol=1e-3)
    sampled = found[..., ::32, ::32]
    np.testing.assert_allclose(sampled, golden[f"video_stride32/{name}"], atol=1e-3)


def brute_pairs(total: int, fps: float, duration: float | Fraction) -> list[tuple[int, int]]:
    """The reference's slices by asking of every frame whether it lies in them."""
    starts = [k * Fraction(max(duration - 2, 0)) / 4 for k in range(5)]
    slices = [[i for i in range(total) if fps * s <= i < fps * (s + 2)] for s in starts]
    return [(frames[0], frames[-1]) for frames in slices]


@pytest.mark.parametrize("rate", RATES, ids=str)
def test_frames_are_the_reference_choice(rate: Fraction) -> None:
    """Its floats decide; exact fractions would choose the same or, at a tie, a neighbour."""
    for total in [*range(1, 120), 250, 251, 299, 300, 301, 719, 1001]:
        found = clip_pairs(total, rate)
        assert found == brute_pairs(total, float(rate), total / float(rate))
        exact = brute_pairs(total, rate, total / rate)
        assert np.abs(np.subtract(found, exact)).max() <= 1


def test_slices_of_a_plain_clip() -> None:
    assert clip_pairs(250, Fraction(25)) == [(0, 49), (50, 99), (100, 149), (150, 199), (200, 249)]
    assert clip_pairs(30, Fraction(25)) == [(0, 29)] * 5
    assert clip_pairs(1, Fraction(25)) == [(0, 0)] * 5


def test_slices_without_a_frame_have_the_one_that_is_shown() -> None:
    """At one frame in 10 s; the reference stops here."""
    assert clip_pairs(3, Fraction(1, 10)) == [(0, 0), (0, 0), (1, 1), (2, 2), (2, 2)]


def ffmpeg_half_hertz(total: int, rate: Fraction) -> list[int]:
    """The frames that ffmpeg's own filter gives at 0.5 frames per second."""
    graph = av.filter.Graph()
    source = graph.add_buffer(width=16, height=16, format="rgb24", time_base=1 / rate)
    fps, sink = graph.add("fps", "1/2"), graph.add("buffersink")
    source.link_to(fps)
    fps.link_to(sink)
    graph.configure()
    draw = numbered((16, 16))
    for index in range(total):
        frame = av.VideoFrame.from_ndarray(draw(index), format="rgb24")
        frame.pts, frame.time_base, frame.duration = index, 1 / rate, 1
        graph.push(frame)
    graph.push(None)
    found = []
    while True:
        try:
            found.append(index_of(graph.pull().to_ndarray()))
        except av.FFmpegError:
            return found


@pytest.mark.parametrize("rate", RATES, ids=str)
@pytest.mark.parametrize("seconds", [2, 3.9, 4, 5, 8, 10.1])
def test_half_hertz_frames_are_those_of_ffmpeg(rate: Fraction, seconds: float) -> None:
    total = math.ceil(seconds * rate)
    pairs = half_hertz_pairs(total, rate)
    chosen = [pairs[0][0], *(second for _, second in pairs)]
    count = math.floor(total / rate / 2)
    assert len(pairs) == max(1, count - 1)
    assert [first for first, _ in pairs[1:]] == chosen[1:-1]
    assert chosen[: max(count, 1)] == ffmpeg_half_hertz(total, rate)[: max(count, 1)]


def test_half_hertz_pairs_of_8_seconds_and_of_short_clips() -> None:
    assert half_hertz_pairs(200, Fraction(25)) == [(24, 74), (74, 124), (124, 174)]
    assert half_hertz_pairs(75, Fraction(25)) == [(24, 24)]
    assert half_hertz_pairs(1, Fraction(25)) == [(0, 0)]


@pytest.mark.parametrize(
    "size", [(640, 360), (360, 640), (64, 64), (321, 181), (1, 1), (300, 101), (224, 300)]
)
def test_bilinear_is_torch_interpolate(size: tuple[int, int]) -> None:
    frame = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    expected = direct_resize(frame[None])[:, 0]
    found = resize_bilinear(frame).transpose(2, 0, 1)
    np.testing.assert_allclose(found / 255, expected, atol=1e-5)


def direct_resize(frames: np.ndarray) -> torch.Tensor:
    """Frames uint8 [T, H, W, 3] as float [3, T, h, w] in 0..1, as the reference resizes them."""
    video = torch.from_numpy(frames).permute(3, 0, 1, 2).float().contiguous() / 255
    height, width = video.shape[-2:]
    short = min(height, width)
    long_px = math.floor(float(max(height, width)) / short * 224)
    size = (long_px, 224) if width < height else (224, long_px)
    return F.interpolate(video, size=size, mode="bilinear", align_corners=False)


@pytest.mark.parametrize("size", [(96, 64), (64, 96), (64, 64), (225, 224)])
@pytest.mark.parametrize("rate", [Fraction(25), Fraction(24000, 1001), Fraction(25, 2)], ids=str)
def test_views_of_a_file_are_the_reference_views(
    tmp_path: Path, size: tuple[int, int], rate: Fraction
) -> None:
    """Landscape, portrait, square; slice by slice, three crops along the long side each."""
    total, draw = 70, numbered(size)
    path = write_video(tmp_path / "a.mov", total, rate, size)
    found = expand(VIDEO_READERS["15view"](MediaFile(path)))
    expected = []
    for pair in brute_pairs(total, float(rate), total / float(rate)):
        video = (direct_resize(np.stack([draw(i) for i in pair])) - MEAN) / STD
        height, width = video.shape[-2:]
        for third in range(3):
            top, left = math.ceil((height - 224) / 2), math.ceil((width - 224) / 2)
            if height > width:
                top = [0, top, height - 224][third]
            else:
                left = [0, left, width - 224][third]
            expected.append(video[..., top : top + 224, left : left + 224])
    assert found.shape == (15, 3, 2, 224, 224)
    torch.testing.assert_close(found, torch.stack(expected), atol=1e-5, rtol=0)


def test_avbench_views_of_8_seconds(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mov", 80, Fraction(10), (320, 240))
    given = VIDEO_READERS["avbench-9view"](MediaFile(path))
    found = expand(given)
    assert views.count("video", {}, given) == len(found) == 9
    frames = torch.from_numpy(np.stack([numbered((320, 240))(i) for i in (9, 29)]))
    resized = v2.Resize(224, v2.InterpolationMode.BICUBIC)(frames.permute(0, 3, 1, 2))
    expected = resized[..., :224].permute(1, 0, 2, 3) / 255
    torch.testing.assert_close(found[0], (expected - MEAN) / STD, atol=1.1 / 255 / 0.26, rtol=0)


def test_a_proxy_crosses_the_process_as_bytes(tmp_path: Path) -> None:
    """With 224 px on its short side there is nothing to resize, so nothing becomes a float."""
    path = write_video(tmp_path / "a.mov", 60, size=(300, 224))
    given = VIDEO_READERS["15view"](MediaFile(path))
    assert given.dtype == np.uint8
    assert [index_of(frame) for pair in given for frame in pair] == [
        i for pair in clip_pairs(60, Fraction(25)) for i in pair
    ]


@pytest.mark.parametrize("resize", [resize_bilinear, resize_bicubic])
@pytest.mark.parametrize("turned", [False, True])
def test_gaps_between_crops_are_not_kept(resize, turned: bool) -> None:
    """A very long picture comes as its three crops, side by side."""
    frame = np.random.default_rng(0).integers(0, 256, (224, 1000, 3), dtype=np.uint8)
    found = resize(frame.transpose(1, 0, 2) if turned else frame)
    found = found.transpose(1, 0, 2) if turned else found
    assert views.crop_offsets(found.shape[1]) == [0, 224, 448]
    np.testing.assert_array_equal(
        found, np.concatenate([frame[:, a : a + 224] for a in (0, 388, 776)], 1)
    )


def test_too_long_pictures_are_refused() -> None:
    with pytest.raises(ValueError, match="too_large"):
        resize_bilinear(np.zeros((2, 4000, 3), np.uint8))


def test_video_reader_loads_no_torch(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mov", 10)
    code = (
        "import sys; from pathlib import Path; from concord.models.base import MediaFile; "
        "from concord.models.imagebind.video import VIDEO_READERS; "
        f"[read(MediaFile(Path({str(path)!r}))) for read in VIDEO_READERS.values()]; "
        "print('torch' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"
