"""Pictures: sizes, rotation, aspect, depth, alpha, rate, choice of streams."""

from pathlib import Path

import av
import numpy as np
import pytest
from media_clips import H264, PICTURE, make, processed, protocol, proxy_frames, run


def source(size: str, seconds: float = 0.4, rate: int = 25) -> tuple[str, ...]:
    return ("-f", "lavfi", "-i", f"testsrc2=size={size}:rate={rate}:duration={seconds}")


@pytest.mark.parametrize(
    ("size", "extra", "expected"),
    [
        ("320x180", (), (398, 224)),
        ("180x320", (), (224, 398)),
        ("321x181", ("-pix_fmt", "yuv444p"), (398, 224)),
        ("160x120", ("-vf", "setsar=2"), (598, 224)),
        ("2048x8", (), (4096, 16)),
        ("2x2", (), (224, 224)),
    ],
)
def test_short_side_keeps_the_shown_aspect(
    tmp_path: Path, size: str, extra: tuple[str, ...], expected: tuple[int, int]
) -> None:
    codec = ("-c:v", "ffv1", *extra)
    row = run(tmp_path, [make(tmp_path / "a.mkv", *source(size), *codec)])["a.mkv"]
    height, width, _ = proxy_frames(tmp_path, row)[0].shape
    assert (width, height) == expected
    assert row["frames"] == 8
    assert row["duration_s"] == pytest.approx(0.4)


def test_stretch_makes_a_square(tmp_path: Path) -> None:
    path = make(tmp_path / "a.mp4", *source("320x180"), *H264)
    row = run(tmp_path, [path], protocol(fit="stretch"))["a.mp4"]
    assert proxy_frames(tmp_path, row)[0].shape == (224, 224, 3)
    assert (row["width"], row["height"], row["fps"]) == (320, 180, 25)


def test_proxy_is_h264_420_without_sound(tmp_path: Path) -> None:
    path = make(tmp_path / "a.mkv", *source("64x64"), "-c:v", "ffv1", "-pix_fmt", "yuv444p10le")
    row = run(tmp_path, [path])["a.mkv"]
    with av.open(str(tmp_path / "shard/video" / row["proxy"])) as container:
        assert [s.type for s in container.streams] == ["video"]
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.pix_fmt) == ("h264", "yuv420p")


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_rotation_is_applied(tmp_path: Path, degrees: int) -> None:
    """The white upper half ends where a clockwise turn takes it."""
    picture = "color=black:s=64x48:r=25:d=0.4,drawbox=h=24:c=white:t=fill"
    plain = make(tmp_path / "plain.mp4", "-f", "lavfi", "-i", picture, *H264)
    turned = tmp_path / "turned.mp4"
    with av.open(str(plain)) as given, av.open(str(turned), "w") as made:
        stream = made.add_stream_from_template(given.streams.video[0])
        stream.set_display_rotation(-degrees)
        for packet in given.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                made.mux(packet)
    row = run(tmp_path, [turned])["turned.mp4"]
    frame = proxy_frames(tmp_path, row)[0].mean(axis=2)
    height, width = frame.shape
    halves = {
        90: frame[:, width // 2 + 8 :],
        180: frame[height // 2 + 8 :],
        270: frame[:, : width // 2 - 8],
    }
    assert row["rotation"] == degrees
    assert (row["width"], row["height"]) == ((64, 48) if degrees == 180 else (48, 64))
    assert halves[degrees].mean() > 200
    assert frame.mean() == pytest.approx(128, abs=20)


def test_alpha_lies_on_black(tmp_path: Path) -> None:
    """Half transparent white is grey; the colour under full transparency does not show."""
    picture = "color=white@0.5:s=64x64:r=25:d=0.4,format=rgba"
    half = make(tmp_path / "half.mov", "-f", "lavfi", "-i", picture, "-c:v", "png")
    none = make(
        tmp_path / "none.mov", "-f", "lavfi", "-i", picture.replace("0.5", "0.0"), "-c:v", "png"
    )
    rows = run(tmp_path, [half, none])
    assert proxy_frames(tmp_path, rows["half.mov"])[2].mean() == pytest.approx(128, abs=6)
    assert proxy_frames(tmp_path, rows["none.mov"])[2].mean() < 4
    assert rows["none.mov"]["black_fraction"] == 1


def test_gif_and_variable_rate_keep_their_time(tmp_path: Path) -> None:
    gif = make(tmp_path / "a.gif", *source("64x64", 1, 10))
    # 25 frames a second for one second, then 5 a second for one.
    select = "select='lt(t,1)+not(mod(n,5))'"
    varied = make(
        tmp_path / "v.mkv", *source("64x64", 2), "-vf", select, "-fps_mode", "vfr", "-c:v", "ffv1"
    )
    rows = run(tmp_path, [gif, varied])
    assert rows["a.gif"]["frames"] == 20
    assert rows["a.gif"]["video_codec"] == "gif"
    assert rows["v.mkv"]["frames"] == pytest.approx(40, abs=4)


def test_black_and_frozen_shares(tmp_path: Path) -> None:
    """One second of black, one of a still, two of motion."""
    parts = "color=black:s=64x64:r=20:d=1[a];color=red:s=64x64:r=20:d=1[b];"
    moving = "testsrc2=s=64x64:r=20:d=2[c];[a][b][c]concat=n=3"
    path = make(tmp_path / "a.mp4", "-filter_complex", parts + moving, *H264)
    row = run(tmp_path, [path])["a.mp4"]
    assert row["black_fraction"] == pytest.approx(0.25, abs=0.03)
    assert row["frozen_fraction"] == pytest.approx(0.5, abs=0.06)


def test_still_picture_is_one_frame_and_all_black_ends_at_one(tmp_path: Path) -> None:
    still = make(tmp_path / "still.webm", *source("64x64", 0.001, 1000), "-frames:v", "1")
    black = ("-f", "lavfi", "-i", "color=black:s=64x64:r=20:d=3")
    dark = make(tmp_path / "dark.mp4", *black, *H264)
    rows = run(tmp_path, [still, dark])
    assert rows["still.webm"]["frames"] == 1
    assert rows["dark.mp4"]["black_fraction"] == 1
    assert rows["dark.mp4"]["frozen_fraction"] == 1


def test_default_streams_are_chosen_and_named(tmp_path: Path) -> None:
    colours = [x for c in ("red", "blue") for x in ("-f", "lavfi", "-i", f"color={c}:s=64x64:d=1")]
    tones = [x for f in (300, 3000) for x in ("-f", "lavfi", "-i", f"sine={f}:d=1")]
    maps = [x for i in range(4) for x in ("-map", str(i))]
    flags = [x for i in range(4) for x in (f"-disposition:{i}", "default" if i % 2 else "0")]
    path = make(tmp_path / "a.mkv", *colours, *tones, *maps, *flags, *H264, "-c:a", "flac")
    row = run(tmp_path, [path])["a.mkv"]
    assert row["streams"] == "0:video:h264 1:video:h264 2:audio:flac 3:audio:flac"
    assert (row["video_stream"], row["audio_stream"]) == (1, 3)
    red, _, blue = proxy_frames(tmp_path, row)[5].mean(axis=(0, 1))
    assert blue > 200 > red


def test_cover_is_no_picture(tmp_path: Path) -> None:
    cover = make(tmp_path / "cover.jpg", *source("64x64"), "-frames:v", "1")
    tone = ("-f", "lavfi", "-i", "sine=d=1", "-i", cover)
    attached = ("-map", "0", "-map", "1", "-c:v", "copy", "-disposition:v", "attached_pic")
    path = make(tmp_path / "a.mp4", *tone, *attached)
    row = run(tmp_path, [path])["a.mp4"]
    assert (row["status"], row["video_status"]) == ("ok", "skipped")
    assert row["video_reason"] == "no_video_stream"


def test_too_many_pixels_are_not_opened(tmp_path: Path) -> None:
    path = make(tmp_path / "a.mp4", *source("640x480"), *H264)
    row = run(tmp_path, [path], protocol(max_pixels=640 * 480 - 1))["a.mp4"]
    assert (row["status"], row["reason"], row["video_status"]) == ("failed", "too_large", "skipped")
    assert run(tmp_path, [path], protocol(max_pixels=640 * 480))["a.mp4"]["status"] == "ok"


def test_same_clip_same_bytes(tmp_path: Path) -> None:
    path = make(tmp_path / "a.mp4", *PICTURE, *H264)
    outputs = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        row = run(tmp_path / name, [path])["a.mp4"]
        assert processed(tmp_path / name) == 1
        outputs.append((tmp_path / name / "shard/video" / row["proxy"]).read_bytes())
    assert outputs[0] == outputs[1]


def test_encoder_settings_are_used(tmp_path: Path) -> None:
    path = make(tmp_path / "a.mp4", *PICTURE, *H264)
    sizes = []
    for crf in (10, 40):
        encoder = {"preset": "fast", "crf": crf, "options": ""}
        row = run(tmp_path, [path], protocol(encoder=encoder))["a.mp4"]
        sizes.append((tmp_path / "shard/video" / row["proxy"]).stat().st_size)
    assert sizes[0] > 3 * sizes[1]
    assert np.all(np.array(sizes) > 0)
