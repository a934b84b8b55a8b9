"""Any file's frames and samples, exactly; what cannot be used says so, and harms nobody."""

import tracemalloc
from fractions import Fraction
from functools import partial
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from exact_media import index_of, noise, numbered, write_sound, write_video
from expected_broken import expected_broken
from media_clips import TONE, make
from memory_tasks import load_and_take, take
from torchaudio.functional import resample

from concord.memory import limit_memory
from concord.models import originals
from concord.models.base import MediaFile
from concord.models.imagebind.audio import AudioReader
from concord.models.imagebind.video import VIDEO_READERS
from concord.models.originals import read_audio, read_video_frames
from concord.parallel import Failure, parallel_map
from concord.tables import REASONS


def first(total: int, rate: Fraction) -> list[int]:
    return [0]


# Pictures


def test_frames_come_exactly_and_in_the_order_named(tmp_path: Path) -> None:
    path, seen = write_video(tmp_path / "a.mov", 300, Fraction(24000, 1001)), []

    def choose(total: int, rate: Fraction) -> list[int]:
        seen.append((total, rate))
        return [299, 0, 257, 0]

    frames = read_video_frames(MediaFile(path), choose)
    assert seen == [(300, Fraction(24000, 1001))]
    for frame, index in zip(frames, [299, 0, 257, 0], strict=True):
        np.testing.assert_array_equal(frame, numbered((16, 12))(index))


def test_uneven_times_leave_the_average_rate(tmp_path: Path) -> None:
    """Frames are counted, not timed, as the reference does; 10 frames in 19 units of 1/25 s."""
    path = write_video(tmp_path / "a.mov", 10, times=[0, 1, 2, 3, 4, 5, 6, 7, 8, 18])
    rates = []
    frames = read_video_frames(
        MediaFile(path), lambda total, rate: rates.append(rate) or range(total)
    )
    assert [index_of(frame) for frame in frames] == list(range(10))
    assert rates[0] == Fraction(250, 19)


def test_frames_in_another_order_than_stored(tmp_path: Path) -> None:
    """With B-frames, packets come in another order than frames are shown."""
    bar = "255*between(X\\,2*N\\,2*N+1)"
    source = ("-f", "lavfi", "-i", f"nullsrc=s=64x64:r=25:d=1,geq={bar}:128:128")
    path = make(tmp_path / "a.mp4", *source, "-c:v", "libx264", "-bf", "3", "-g", "25")
    frames = read_video_frames(MediaFile(path), lambda total, _: range(total))
    assert [int(frame[32, :, 0].argmax()) // 2 for frame in frames] == list(range(25))


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_frames_are_turned_upright(tmp_path: Path, degrees: int) -> None:
    """As ffmpeg, and so the media stage, shows them."""
    pattern = ("-f", "lavfi", "-i", "testsrc=size=64x32:rate=5:duration=1")
    flat = make(tmp_path / "flat.mp4", *pattern, "-c:v", "libx264", "-qp", "0")
    turned = tmp_path / "a.mp4"
    with av.open(str(flat)) as given, av.open(str(turned), "w") as made:
        stream = made.add_stream_from_template(given.streams.video[0])
        stream.set_display_rotation(-degrees)
        for packet in given.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                made.mux(packet)
    shown = make(tmp_path / "shown.mkv", "-i", turned, "-c:v", "ffv1")
    found, expected = (read_video_frames(MediaFile(p), first)[0] for p in (turned, shown))
    assert found.shape == ((64, 32, 3) if degrees != 180 else (32, 64, 3))
    np.testing.assert_array_equal(found, expected)


def test_conversion_sees_every_frame_once(tmp_path: Path) -> None:
    path, seen = write_video(tmp_path / "a.mov", 9), []

    def convert(frame: np.ndarray) -> np.ndarray:
        seen.append(index_of(frame))
        return frame[:2, :2]

    frames = read_video_frames(MediaFile(path), lambda total, _: [5, 2, 5], convert)
    assert seen == [2, 5]
    assert [frame.shape for frame in frames] == [(2, 2, 3)] * 3


def test_the_named_stream_is_read(tmp_path: Path) -> None:
    """None: the one that the media stage would take."""
    pictures = [write_video(tmp_path / f"{n}.mov", n, size=(16 * n, 16)) for n in (1, 2)]
    inputs = [word for path in pictures for word in ("-i", path)]
    path = make(tmp_path / "a.mkv", *inputs, "-map", "0", "-map", "1", "-c:v", "ffv1")
    for stream, width in ((None, 16), (0, 16), (1, 32)):
        assert read_video_frames(MediaFile(path, stream), first)[0].shape == (16, width, 3)
    with pytest.raises(ValueError, match="no_video_stream"):
        read_video_frames(MediaFile(path, 2), first)


def test_missing_frames_lead_to_another_choice(tmp_path: Path) -> None:
    """The second half of the packets is damaged: what decodes is chosen from."""
    source = ("-f", "lavfi", "-i", "testsrc=size=160x120:rate=25:duration=2")
    path = make(tmp_path / "a.mkv", *source, "-c:v", "mpeg4", "-g", "1")
    totals = []
    content = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        packets = [(p.pos, p.size) for p in container.demux(video=0) if p.size]
    for position, size in packets[25:]:
        content[position + 8 : position + size] = bytes(size - 8)
    path.write_bytes(content)

    def choose(total: int, _: Fraction) -> list[int]:
        totals.append(total)
        return [0, total - 1]

    frames = read_video_frames(MediaFile(path), choose)
    assert totals[0] == 50
    assert len(frames) == 2
    assert all(total <= 50 for total in totals[1:])


def test_truncated_file_gives_what_decodes(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mov", 40)
    nut = make(tmp_path / "a.nut", "-i", path, "-c:v", "ffv1")
    nut.write_bytes(nut.read_bytes()[: nut.stat().st_size // 2])
    last = read_video_frames(MediaFile(nut), lambda total, _: [total - 1])[0]
    assert 10 < index_of(last) < 30


def test_pictures_that_change_midway_keep_their_first_size(tmp_path: Path) -> None:
    """Each frame as FFmpeg converts it alone, whatever the frames before it were like."""
    parts = []
    for size, pixels in (("64x48", "yuv420p"), ("40x30", "yuv444p"), ("64x48", "yuv422p")):
        made = tmp_path / f"{pixels}.ts"
        picture = ("-f", "lavfi", "-i", f"testsrc2=s={size}:r=5:d=1", "-pix_fmt", pixels)
        parts.append(make(made, *picture, "-c:v", "libx264").read_bytes())
    path = tmp_path / "all.ts"
    path.write_bytes(b"".join(parts))
    with av.open(str(path)) as container:
        decoded = list(container.decode(video=0))
    assert len({(frame.width, frame.format.name) for frame in decoded}) == 3
    frames = read_video_frames(MediaFile(path), lambda total, _: list(range(total)))
    for frame, alone in zip(frames, decoded, strict=True):
        expected = alone.to_ndarray(format="rgb24", width=64, height=48)
        np.testing.assert_array_equal(frame, expected)


def test_too_large_pictures_are_not_decoded(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mov", 2, size=(40, 30))
    with pytest.raises(ValueError, match="too_large") as error:
        read_video_frames(MediaFile(path, max_pixels=1199), first)
    assert error.value.args == ("too_large", "40 x 30 pixels")
    assert read_video_frames(MediaFile(path, max_pixels=1200), first)


def test_a_cover_is_no_picture(tmp_path: Path) -> None:
    cover = write_video(tmp_path / "c.mov", 1, size=(64, 64))
    disposition = ("-disposition:v", "attached_pic")
    path = make(
        tmp_path / "a.mp4",
        *TONE,
        "-i",
        cover,
        "-map",
        "0",
        "-map",
        "1",
        "-c:v",
        "mjpeg",
        "-pix_fmt",
        "yuvj420p",
        *disposition,
    )
    with pytest.raises(ValueError, match="no_video_stream"):
        read_video_frames(MediaFile(path), first)
    assert read_audio(MediaFile(path), 44_100).size


# Sound


@pytest.mark.parametrize(
    ("subtype", "scale"),
    [("PCM_16", 2**15), ("PCM_24", 2**23), ("PCM_U8", 2**7), ("FLOAT", None), ("DOUBLE", None)],
)
@pytest.mark.parametrize("channels", [1, 2, 6, 8, 9])
def test_waves_give_their_samples(
    tmp_path: Path, subtype: str, scale: int | None, channels: int
) -> None:
    """Every channel, in order; integers over their range."""
    samples = noise(channels, 0.3)
    found = read_audio(MediaFile(write_sound(tmp_path / "a.wav", samples, subtype=subtype)), 16_000)
    expected = samples if scale is None else np.rint(samples * scale) / scale
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1 / (scale or 1e9), rtol=0)
    if scale:
        np.testing.assert_array_equal(found * scale, np.rint(found * scale))


@pytest.mark.parametrize(("rate_hz", "wanted_hz"), [(44_100, 16_000), (16_000, 48_000)])
def test_other_rates_are_resampled_as_torchaudio_does(
    tmp_path: Path, rate_hz: int, wanted_hz: int
) -> None:
    samples = noise(2, 0.5, rate_hz)
    path = write_sound(tmp_path / "a.wav", samples, rate_hz)
    threads = torch.get_num_threads()
    found = read_audio(MediaFile(path), wanted_hz)
    assert torch.get_num_threads() == threads
    expected = resample(torch.from_numpy(samples), rate_hz, wanted_hz).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-6)
    mono = read_audio(MediaFile(path), wanted_hz, mono=True)
    np.testing.assert_allclose(mono, expected.mean(axis=0, keepdims=True), atol=1e-5)


@pytest.mark.parametrize(
    ("rate_hz", "wanted_hz", "seconds"),
    [(44_100, 16_000, 125.3), (8_000, 16_000, 60), (48_000, 16_000, 180.01), (16_000, 8_025, 61)],
)
def test_long_sound_is_resampled_without_seams(
    tmp_path: Path, rate_hz: int, wanted_hz: int, seconds: float
) -> None:
    """It is done in blocks, to take less memory."""
    samples = noise(1, seconds, rate_hz)
    path = write_sound(tmp_path / "a.wav", samples, rate_hz)
    expected = resample(torch.from_numpy(samples), rate_hz, wanted_hz).numpy()
    np.testing.assert_allclose(read_audio(MediaFile(path), wanted_hz), expected, atol=1e-6)


@pytest.mark.parametrize("seconds", [0.3, 2, 3.7])
@pytest.mark.parametrize(
    ("rate_hz", "wanted_hz"),
    [(48_000, 16_000), (44_100, 16_000), (11_025, 48_000), (22_050, 22_050)],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_blocks_of_any_sound_are_what_the_whole_gives(
    tmp_path: Path, short_blocks: None, seconds: float, rate_hz: int, wanted_hz: int, channels: int
) -> None:
    samples = noise(channels, seconds, rate_hz)
    file = MediaFile(write_sound(tmp_path / "a.wav", samples, rate_hz))
    expected = resample(torch.from_numpy(samples), rate_hz, wanted_hz).numpy()
    found = read_audio(file, wanted_hz)
    assert found.flags.c_contiguous
    np.testing.assert_allclose(found, expected, atol=1e-6)
    mono = read_audio(file, wanted_hz, mono=True)
    np.testing.assert_allclose(mono, expected.mean(axis=0, keepdims=True), atol=1e-6)


@pytest.mark.parametrize("mono", [False, True])
def test_long_sound_is_never_held_as_decoded(
    tmp_path: Path, short_blocks: None, mono: bool
) -> None:
    samples = noise(2, 30, 48_000)
    file = MediaFile(write_sound(tmp_path / "a.wav", samples, 48_000))
    read_audio(file, 16_000, mono)  # loads packages
    tracemalloc.start()
    found = read_audio(file, 16_000, mono)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.nbytes < peak < 0.75 * samples.nbytes


@pytest.fixture
def short_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of a second, so that sounds of some seconds are long ones."""
    monkeypatch.setattr(originals, "BLOCK_S", 1)


def changing(tmp_path: Path) -> Path:
    """A sound of 2 s whose second half has another rate and more channels."""
    parts = [
        make(
            tmp_path / f"{rate}.aac",
            "-f",
            "lavfi",
            "-i",
            f"sine=duration=1:sample_rate={rate}",
            "-ac",
            channels,
        )
        for rate, channels in ((44_100, "1"), (22_050, "2"))
    ]
    path = tmp_path / "a.aac"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path


def test_sound_that_changes_midway_keeps_its_first_rate(tmp_path: Path) -> None:
    found = read_audio(MediaFile(changing(tmp_path)), 44_100)
    assert found.shape[0] == 1
    assert found.shape[1] / 44_100 == pytest.approx(2, abs=0.2)


def test_sound_that_changes_midway_has_no_seams(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = MediaFile(changing(tmp_path))
    whole = read_audio(file, 44_100)
    monkeypatch.setattr(originals, "BLOCK_S", 1)
    np.testing.assert_array_equal(read_audio(file, 44_100), whole)
    expected = resample(torch.from_numpy(whole), 44_100, 16_000).numpy()
    np.testing.assert_allclose(read_audio(file, 16_000), expected, atol=1e-6)


def test_odd_rates_that_would_need_too_much_memory_are_refused(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "a.wav", noise(1, 0.1, 44_101), 44_101)
    with pytest.raises(ValueError, match="memory_limit"):
        read_audio(MediaFile(path), 16_000)


@pytest.mark.parametrize("at", [100, -1])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_samples_that_are_no_numbers_are_not_used(
    tmp_path: Path, short_blocks: None, value: float, at: int
) -> None:
    samples = noise(2, 2.5)
    samples[1, at] = value
    with pytest.raises(ValueError, match="not_finite"):
        read_audio(MediaFile(write_sound(tmp_path / "a.wav", samples)), 16_000)


def test_streams_that_are_not_there(tmp_path: Path) -> None:
    sound = write_sound(tmp_path / "a.wav", noise(1, 0.1))
    with pytest.raises(ValueError, match="no_video_stream"):
        read_video_frames(MediaFile(sound), first)
    with pytest.raises(ValueError, match="no_audio_stream"):
        read_audio(MediaFile(write_video(tmp_path / "a.mov", 2)), 16_000)
    with pytest.raises(ValueError, match="no_samples"):
        read_audio(MediaFile(write_sound(tmp_path / "b.wav", noise(1, 0))), 16_000)


# Files nobody vouches for


def test_lists_of_other_files_are_not_followed(tmp_path: Path) -> None:
    write_sound(tmp_path / "secret.wav", noise(1, 0.5))
    for name, content in (
        ("a.mp4", "ffconcat version 1.0\nfile secret.wav\n"),
        ("b.m3u8", "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nsecret.wav\n#EXT-X-ENDLIST\n"),
    ):
        (tmp_path / name).write_text(content)
        with pytest.raises(ValueError, match="unreadable"):
            read_audio(MediaFile(tmp_path / name), 16_000)


def test_a_missing_file_is_unreadable(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="unreadable") as error:
        read_audio(MediaFile(tmp_path / "none.wav"), 16_000)
    assert error.value.args[1] == "No such file or directory"


def test_a_process_has_a_limit_beside_what_it_loads() -> None:
    for work in (take, load_and_take):
        with parallel_map(
            work,
            [50, 500],
            workers=1,
            ahead=2,
            timeout_s=100,
            prepare=partial(limit_memory, 300, work),
        ) as results:
            small, large = results
        assert small == 50 * 2**20
        assert isinstance(large, Failure)
        assert large.reason == "memory_limit"


@pytest.mark.shared
@pytest.mark.parametrize(
    ("modality", "read"),
    [("video", VIDEO_READERS["15view"]), ("audio", AudioReader("running"))],
    ids=["video", "audio"],
)
def test_broken_files_end_with_a_reason_or_with_views(shared: Path, modality: str, read) -> None:
    files = [MediaFile(path) for path in sorted((shared / "media/broken").iterdir())]
    with parallel_map(
        read,
        files,
        workers=2,
        ahead=8,
        timeout_s=100,
        prepare=partial(limit_memory, 1500, read),
    ) as results:
        found = dict(zip([file.path.name for file in files], results, strict=True))
    reasons = {name: r.reason for name, r in found.items() if isinstance(r, Failure)}
    assert set(reasons.values()) <= REASONS.keys() - {"crashed", "timeout", "memory_limit"}
    views = {name: r for name, r in found.items() if name not in reasons}
    assert all(np.isfinite(array).all() for array in views.values())
    whole = {"garbage_at_end.mp4", "mp4_renamed.avi", "zero_duration_header.mp4"}
    assert whole <= views.keys()
    assert reasons["random_bytes.mp4"] == reasons["zero_byte.mp4"] == "unreadable"
    for name, deserves in expected_broken().items():
        wanted, reason = deserves[f"{modality}_reason"] or None, reasons.get(name)
        # what the media stage keeps from readers is not held against them
        if deserves[f"{modality}_status"] and wanted != "unreadable":
            shorter_than_a_filter_window = modality == "audio" and reason == "too_short"
            assert reason == wanted or shorter_than_a_filter_window, name
