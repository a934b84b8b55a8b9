"""Sound: measurements against their definitions, the gate, and what cannot be used."""

import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile
from media_clips import H264, SILENCE, clip, make, run, wave

from concord.media.ffmpeg import find_ffmpeg
from concord.media.gate import gate
from concord.media.measure import measure_wave


def write(path: Path, samples: np.ndarray, rate: int = 16000, subtype: str = "FLOAT") -> Path:
    soundfile.write(path, samples, rate, subtype=subtype)
    return path


def test_volume_is_what_volumedetect_says(tmp_path: Path) -> None:
    path = clip(tmp_path / "a.mp4")
    row = run(tmp_path, [path])["a.mp4"]
    command = [find_ffmpeg().path, "-i", path, "-af", "volumedetect", "-f", "null", "-"]
    log = subprocess.run(command, capture_output=True, text=True).stderr
    for name in ("mean_volume", "max_volume"):
        found = re.search(rf"{name}: (-?[\d.]+)", log)
        assert found
        assert row[f"{name}_db"] == float(found[1])
    assert row["silent_fraction"] < 0.03


def test_volume_of_a_known_wave(tmp_path: Path) -> None:
    """A full-scale square wave at half height is at -6 dBFS; a quarter of it is silent."""
    square = np.tile([0.5, -0.5], 8000)
    square[:4000] = 0
    row = run(tmp_path, [write(tmp_path / "a.wav", square, subtype="PCM_16")])["a.wav"]
    assert row["max_volume_db"] == pytest.approx(-6.0, abs=0.1)
    assert row["mean_volume_db"] == pytest.approx(-6.0 + 10 * np.log10(0.75), abs=0.1)
    assert row["silent_fraction"] == pytest.approx(0.25, abs=0.02)
    assert row["duration_s"] == row["audio_duration_s"] == 1
    assert (row["status"], row["video_reason"]) == ("ok", "no_video_stream")


def test_channels_that_cancel_out_are_not_silent(tmp_path: Path) -> None:
    tone = 0.5 * np.sin(np.arange(16000) / 5)
    path = write(tmp_path / "a.wav", np.stack([tone, -tone], axis=1))
    row = run(tmp_path, [path])["a.wav"]
    assert row["mean_volume_db"] == pytest.approx(-9, abs=0.2)
    assert row["silent_fraction"] == 1


def test_silent_track(tmp_path: Path) -> None:
    row = run(tmp_path, [clip(tmp_path / "a.mp4", silent=True)])["a.mp4"]
    assert (row["audio_status"], row["mean_volume_db"], row["silent_fraction"]) == ("ok", -91, 1)
    assert gate(row, "audible", -60) == ("skipped", "silent")
    assert gate(row, "stream", -60) == ("ok", None)


@pytest.mark.parametrize(
    ("db", "silence_db", "expected"),
    [(-60.0, -60, "skipped"), (-59.9, -60, "ok"), (-20.0, -10, "skipped")],
)
def test_gate_compares_the_mean_volume(db: float, silence_db: float, expected: str) -> None:
    row = {"audio_status": "ok", "audio_reason": None, "mean_volume_db": db}
    assert gate(row, "audible", silence_db)[0] == expected


def test_gate_without_sound() -> None:
    row = {"audio_status": "skipped", "audio_reason": "no_audio_stream", "mean_volume_db": None}
    assert gate(row, "audible", -60) == gate(row, "stream", -60) == ("skipped", "no_audio_stream")
    assert gate(row, "none", -60) == ("ok", None)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_one_sample_that_is_no_number(tmp_path: Path, bad: float) -> None:
    samples = np.full(16000, 0.1)
    samples[500] = bad
    row = run(tmp_path, [write(tmp_path / "a.wav", samples)])["a.wav"]
    assert (row["status"], row["reason"], row["audio_status"]) == ("failed", "not_finite", "failed")
    assert row["wave"] is row["mean_volume_db"] is None


def test_sound_whose_channels_and_rate_change(tmp_path: Path) -> None:
    """ffmpeg measures each stretch alone: four seconds at -24 dB, then one second of silence."""
    loud = make(tmp_path / "1.aac", "-f", "lavfi", "-i", "sine=d=4:r=44100", "-ac", "2")
    quiet = make(tmp_path / "2.aac", "-f", "lavfi", "-i", "anullsrc=r=22050:cl=mono:d=1")
    both = tmp_path / "both.aac"
    both.write_bytes(loud.read_bytes() + quiet.read_bytes())
    rows = run(tmp_path, [loud, both])
    row = rows["both.aac"]
    assert row["audio_duration_s"] == row["duration_s"] == pytest.approx(5, abs=0.15)
    assert len(wave(tmp_path, row)) / 16000 == row["audio_duration_s"]
    expected = rows["1.aac"]["mean_volume_db"] + 10 * np.log10(8 * 44100 / (8 * 44100 + 22050))
    assert row["mean_volume_db"] == pytest.approx(expected, abs=0.15)
    assert row["max_volume_db"] == pytest.approx(rows["1.aac"]["max_volume_db"], abs=0.3)
    assert row["silent_fraction"] == pytest.approx(0.2, abs=0.03)
    assert gate(row, "audible", -60) == ("ok", None)


@pytest.mark.parametrize("channels", ["2", "1"], ids=["picture", "sound too"])
def test_a_stream_that_changes_midway_keeps_its_clock(tmp_path: Path, channels: str) -> None:
    """ffmpeg starts its filters anew there, which must not put silence into the wave."""
    parts = [
        make(tmp_path / "1.ts", *moving("160x120"), "-ac", "2"),
        make(tmp_path / "2.ts", *moving("240x320"), "-ac", channels, "-output_ts_offset", "2"),
    ]
    both = tmp_path / "both.ts"
    both.write_bytes(b"".join(part.read_bytes() for part in parts))
    row = run(tmp_path, [both])["both.ts"]
    assert row["audio_duration_s"] == pytest.approx(4, abs=0.15)
    assert row["silent_fraction"] < 0.03
    assert row["frames"] == pytest.approx(80, abs=2)


def moving(size: str) -> tuple[str, ...]:
    picture = ("-f", "lavfi", "-i", f"testsrc=s={size}:r=25:d=2")
    return *picture, "-f", "lavfi", "-i", "sine=d=2:r=44100", "-g", "10", *H264


def test_a_header_without_rate_and_channels_stops_nothing(tmp_path: Path) -> None:
    content = write(tmp_path / "a.wav", np.full(16000, 0.1), subtype="PCM_16").read_bytes()
    for name, at, length in (("rate.wav", 24, 4), ("channels.wav", 22, 2)):
        (tmp_path / name).write_bytes(content[:at] + bytes(length) + content[at + length :])
    rows = run(tmp_path, [tmp_path / "rate.wav", tmp_path / "channels.wav"])
    for row in rows.values():
        assert (row["audio_status"] == "ok") == (row["mean_volume_db"] is not None)


def test_a_damaged_wave_is_not_measured(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"RIFF")
    assert measure_wave(tmp_path / "a.wav") is None
    assert measure_wave(tmp_path / "gone.wav") is None


def test_no_samples_and_very_few(tmp_path: Path) -> None:
    none = write(tmp_path / "none.wav", np.zeros(0), subtype="PCM_16")
    few = write(tmp_path / "few.wav", np.full(5, 0.5), rate=44100, subtype="PCM_16")
    rows = run(tmp_path, [none, few])
    assert (rows["none.wav"]["status"], rows["none.wav"]["reason"]) == ("failed", "no_samples")
    assert rows["few.wav"]["status"] == "ok"
    assert len(wave(tmp_path, rows["few.wav"])) > 0


def test_six_channels_become_one(tmp_path: Path) -> None:
    path = make(tmp_path / "a.mp4", *SILENCE[:3], "sine=d=1:r=48000", "-ac", "6", "-c:a", "aac")
    row = run(tmp_path, [path])["a.mp4"]
    assert (row["channels"], row["sample_rate_hz"]) == (6, 48000)
    assert len(wave(tmp_path, row)) == pytest.approx(16000, abs=1200)
