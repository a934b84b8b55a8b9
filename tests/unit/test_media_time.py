"""Sound and picture on one clock, whatever the file does to its timestamps."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from media_clips import EVENT_S, H264, event, make, proxy_frames, run, wave

TICK_S = 0.05


def seen_s(folder: Path, row: dict[str, Any]) -> float:
    """When the flash begins in the proxy."""
    brightness = [frame.mean() for frame in proxy_frames(folder, row)]
    return float(np.argmax(np.array(brightness) > 128)) / 20


def heard_s(folder: Path, row: dict[str, Any]) -> float:
    """When the beep begins in the wave."""
    return float(np.argmax(np.abs(wave(folder, row)) > 0.05)) / 16000


def times(folder: Path, path: Path, **options: Any) -> tuple[float, float]:
    """When the flash is seen and the beep heard."""
    row = run(folder, [path], **options)[path.name]
    return seen_s(folder, row), heard_s(folder, row)


def test_event_stays_where_it_was(tmp_path: Path) -> None:
    assert times(tmp_path, event(tmp_path / "a.mp4")) == pytest.approx(
        (EVENT_S, EVENT_S), abs=TICK_S
    )


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts", ".mov"])
def test_late_sound_stays_late(tmp_path: Path, suffix: str) -> None:
    given = event(tmp_path / "given.mp4")
    late = ("-i", given, "-itsoffset", "0.6", "-i", given, "-map", "0:v", "-map", "1:a")
    path = make(tmp_path / f"a{suffix}", *late, "-c", "copy")
    assert times(tmp_path, path) == pytest.approx((EVENT_S, EVENT_S + 0.6), abs=TICK_S)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_late_picture_stays_late(tmp_path: Path, suffix: str) -> None:
    given = event(tmp_path / "given.mp4")
    late = ("-i", given, "-itsoffset", "0.6", "-i", given, "-map", "1:v", "-map", "0:a")
    path = make(tmp_path / f"a{suffix}", *late, "-c", "copy")
    row = run(tmp_path, [path])[path.name]
    assert (seen_s(tmp_path, row), heard_s(tmp_path, row)) == pytest.approx(
        (EVENT_S + 0.6, EVENT_S), abs=TICK_S
    )
    assert row["duration_s"] == pytest.approx(3, abs=2 * TICK_S)
    assert row["frames"] == pytest.approx(72, abs=2)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
def test_file_that_starts_at_five_seconds_starts_at_zero(tmp_path: Path, suffix: str) -> None:
    given = event(tmp_path / "given.mp4")
    path = make(tmp_path / f"a{suffix}", "-i", given, "-c", "copy", "-output_ts_offset", "5")
    assert times(tmp_path, path) == pytest.approx((EVENT_S, EVENT_S), abs=TICK_S)


def test_edit_list_is_followed(tmp_path: Path) -> None:
    """A cut between key frames keeps frames that an edit list hides."""
    given = event(tmp_path / "given.mp4")
    path = make(tmp_path / "cut.mp4", "-ss", "0.6", "-i", given, "-c", "copy")
    seen, heard = times(tmp_path, path)
    assert seen - heard == pytest.approx(0, abs=TICK_S)
    assert heard == pytest.approx(EVENT_S - 0.6, abs=2 * TICK_S)


def test_unused_stream_that_starts_earlier_does_not_shift(tmp_path: Path) -> None:
    given = event(tmp_path / "given.mp4")
    late = ("-itsoffset", "2", "-i", given, "-f", "lavfi", "-i", "sine=d=5")
    maps = ("-map", "0:v", "-map", "0:a", "-map", "1:a", "-c:v", "copy", "-c:a", "flac")
    flags = ("-disposition:a:0", "default", "-disposition:a:1", "0")
    path = make(tmp_path / "a.mkv", *late, *maps, *flags)
    assert times(tmp_path, path) == pytest.approx((EVENT_S, EVENT_S), abs=TICK_S)


def test_gap_in_the_sound_is_silence(tmp_path: Path) -> None:
    given = event(tmp_path / "given.mp4")
    gap = "aselect='not(between(t,0.2,0.7))'"
    path = make(tmp_path / "a.mkv", "-i", given, "-af", gap, "-c:v", "copy", "-c:a", "pcm_s16le")
    assert times(tmp_path, path) == pytest.approx((EVENT_S, EVENT_S), abs=TICK_S)


@pytest.mark.parametrize(("picture_s", "sound_s"), [(1, 2.5), (2.5, 1)])
def test_neither_is_cut_to_the_other(tmp_path: Path, picture_s: float, sound_s: float) -> None:
    inputs = ("-f", "lavfi", "-i", f"testsrc=s=64x64:d={picture_s}", "-f", "lavfi", "-i")
    path = make(tmp_path / "a.mp4", *inputs, f"sine=d={sound_s}", *H264)
    row = run(tmp_path, [path])["a.mp4"]
    assert row["frames"] == picture_s * 20
    assert row["duration_s"] == pytest.approx(picture_s)
    assert row["audio_duration_s"] == pytest.approx(sound_s, abs=0.1)
    assert len(wave(tmp_path, row)) / 16000 == pytest.approx(sound_s, abs=0.1)


def test_separate_sound_file_replaces_the_sound(tmp_path: Path) -> None:
    path = event(tmp_path / "a.mp4")
    tone = make(tmp_path / "tone.flac", "-f", "lavfi", "-i", "sine=d=2:r=48000")
    row = run(tmp_path, [path], sounds={"a.mp4": tone})["a.mp4"]
    assert heard_s(tmp_path, row) == pytest.approx(0, abs=0.01)
    assert row["audio_duration_s"] == pytest.approx(2)
    assert (row["audio_codec"], row["audio_path"]) == ("flac", str(tone))
    assert row["streams"].endswith("+ 0:audio:flac")
    assert seen_s(tmp_path, row) == EVENT_S
