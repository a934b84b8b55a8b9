"""Synchrony: known offsets come back, nothing is claimed without events, every row has a reason."""

from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import soundfile

from concord.config import Config
from concord.media.file import MediaFile
from concord.media.protocol import content_id, media_protocol
from concord.media.proxies import Limits
from concord.media.shard import drop_proxies, process_shard
from concord.resume import forget
from concord.scores.motion import Motion, peak_times, read_motion
from concord.scores.offset import estimate_offset
from concord.scores.onsets import find_transients, onset_times, pick_onsets, read_wave
from concord.scores.synchrony import (
    av_align,
    measure_shard,
    score_synchrony,
    synchrony_protocol,
)
from concord.scores.synchrony import measure as measure_files
from concord.tables import CLIPS, MEDIA, PLAN, SCORES, SYNCHRONY, read_metadata, read_table
from concord.tables import write_table as write

RATE_HZ, FPS, WIDTH, HEIGHT, DURATION_S = 16000, 20, 160, 112, 8.0
EVENTS_S = np.array([0.83, 1.27, 2.11, 3.02, 3.47, 4.6, 5.35, 6.13])


def write_picture(path: Path, positions: np.ndarray, flashes: np.ndarray | None = None) -> Path:
    """A textured square at positions [F, 2] (x, y) on a textured ground, brighter on flashes."""
    rng = np.random.default_rng(0)
    ground = rng.integers(60, 120, (HEIGHT // 8, WIDTH // 8)).repeat(8, 0).repeat(8, 1)
    square = rng.integers(100, 220, (28, 28))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"crf": "20"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for number, (x, y) in enumerate(positions.astype(int)):
            frame = ground.copy()
            frame[y : y + 28, x : x + 28] = square
            if flashes is not None and flashes[number]:
                frame = frame + 90
            picture = av.VideoFrame.from_ndarray(
                np.clip(frame, 0, 255).astype(np.uint8), format="gray"
            )
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return path


def measure(proxy: Path, wave: Path) -> dict[str, Any]:
    return measure_files(MediaFile(proxy), MediaFile(wave))


def jumps(events_s: np.ndarray) -> np.ndarray:
    """Positions [F, 2] of something that jumps at each event and is still in between."""
    places = np.array([(10, 10), (100, 60), (110, 12), (20, 70)])
    frames_s = np.arange(int(DURATION_S * FPS)) / FPS
    return places[np.searchsorted(events_s, frames_s, side="right") % 4]


def bounces(events_s: np.ndarray) -> np.ndarray:
    """Positions [F, 2] of a ball that hits the floor at each event."""
    floors = np.concatenate([[0], events_s, [DURATION_S]])
    frames_s = np.arange(int(DURATION_S * FPS)) / FPS
    after = np.searchsorted(events_s, frames_s, side="right")
    start, end = floors[after], floors[after + 1]
    way = (frames_s - start) / (end - start)
    height = 240 * way * (1 - way) * np.minimum(1, (end - start) / 0.8)
    return np.stack([np.full(len(height), 60), 80 - height], axis=1)


def write_clicks(path: Path, times_s: np.ndarray, duration_s: float = DURATION_S) -> Path:
    rng = np.random.default_rng(1)
    samples = rng.normal(0, 1e-3, round(duration_s * RATE_HZ))
    for start in (times_s * RATE_HZ).astype(int):
        click = rng.normal(0, 0.3, 1600) * np.exp(-np.arange(1600) / 300)
        end = min(start + 1600, len(samples))
        samples[start:end] += click[: end - start]
    soundfile.write(path, samples, RATE_HZ)
    return path


@pytest.mark.parametrize("moves", [jumps, bounces])
@pytest.mark.parametrize("delay_ms", [-600, 0, 230, 1000])
def test_a_known_offset_is_recovered(tmp_path: Path, moves: Any, delay_ms: int) -> None:
    proxy = write_picture(tmp_path / "v.mp4", moves(EVENTS_S))
    wave = write_clicks(tmp_path / "a.wav", EVENTS_S + delay_ms / 1000)
    found = measure(proxy, wave)
    assert found["offset_ms"] == pytest.approx(delay_ms, abs=50)
    assert found["offset_confidence"] > 0.98


def test_flashes_count_as_motion(tmp_path: Path) -> None:
    frames_s = np.arange(int(DURATION_S * FPS)) / FPS
    since = frames_s[:, None] - EVENTS_S
    flashes = ((since >= 0) & (since < 0.1)).any(axis=1)
    proxy = write_picture(tmp_path / "v.mp4", np.full((len(frames_s), 2), 40), flashes)
    found = measure(proxy, write_clicks(tmp_path / "a.wav", EVENTS_S + 0.4))
    assert found["offset_ms"] == pytest.approx(400, abs=75)


def test_av_align_falls_when_the_sound_is_late(tmp_path: Path) -> None:
    proxy = write_picture(tmp_path / "v.mp4", jumps(EVENTS_S))
    on_time = measure(proxy, write_clicks(tmp_path / "a.wav", EVENTS_S))
    late = measure(proxy, write_clicks(tmp_path / "b.wav", EVENTS_S + 0.2))
    assert on_time["av_align"] > late["av_align"] + 0.2


def test_other_events_give_no_offset(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    proxy = write_picture(tmp_path / "v.mp4", jumps(EVENTS_S))
    motion, claims = read_motion(MediaFile(proxy)), 0
    for _ in range(20):
        wave = write_clicks(tmp_path / "a.wav", np.sort(rng.uniform(0.3, 7.5, 8)))
        found = estimate_offset(find_transients(*read_wave(MediaFile(wave))), motion, DURATION_S)
        claims += found.ms is not None
        assert found.reason == (None if found.ms is not None else "no_synchrony")
    assert claims <= 4


def test_music_over_steady_motion_gives_no_offset(tmp_path: Path) -> None:
    frames = np.arange(int(DURATION_S * FPS))
    circle = np.stack([60 + 40 * np.cos(frames / 9), 40 + 30 * np.sin(frames / 9)], axis=1)
    proxy = write_picture(tmp_path / "v.mp4", circle)
    time_s = np.arange(int(DURATION_S * RATE_HZ)) / RATE_HZ
    notes_hz = np.array([262, 330, 392, 523])[(time_s / 0.5).astype(int) % 4]
    tone = 0.3 * np.sin(2 * np.pi * np.cumsum(notes_hz) / RATE_HZ) * np.exp(-(time_s % 0.5) / 0.3)
    soundfile.write(tmp_path / "a.wav", tone, RATE_HZ)
    found = measure(proxy, tmp_path / "a.wav")
    assert (found["status"], found["offset_ms"]) == ("ok", None)
    assert found["offset_reason"] == "no_synchrony"


def test_a_still_picture_and_silence_have_no_events(tmp_path: Path) -> None:
    still = write_picture(tmp_path / "v.mp4", np.full((160, 2), 40))
    clicks = write_clicks(tmp_path / "a.wav", EVENTS_S)
    moving = write_picture(tmp_path / "w.mp4", jumps(EVENTS_S))
    soundfile.write(tmp_path / "b.wav", np.zeros(int(DURATION_S * RATE_HZ)), RATE_HZ)
    for proxy, wave in ((still, clicks), (moving, tmp_path / "b.wav")):
        found = measure(proxy, wave)
        assert (found["status"], found["reason"]) == ("skipped", "no_events")
        assert "av_align" not in found


def test_a_short_clip_is_too_short(tmp_path: Path) -> None:
    proxy = write_picture(tmp_path / "v.mp4", jumps(EVENTS_S))
    wave = write_clicks(tmp_path / "a.wav", np.array([0.1, 0.5]), duration_s=0.8)
    assert measure(proxy, wave) == {"status": "skipped", "reason": "too_short"}
    one = write_picture(tmp_path / "one.mp4", np.full((2, 2), 40))
    with pytest.raises(ValueError, match="too_short"):
        read_motion(MediaFile(one))


@pytest.mark.parametrize(
    ("onsets", "peaks", "expected"),
    [
        ([1.0, 2.0], [1.0, 2.0], 1.0),
        ([1.0, 2.0], [1.04, 5.0], 1 / 3),
        ([1.0], [1.0625], 0.0),  # exactly one frame at 16 frames a second: the window is open
        ([1.0, 1.02], [1.01], 1.0),  # two onsets share a peak: 2 / (2 + 1 - 2), cut off at 1
        ([1.0], [1.0, 3.0, 4.0, 5.0], 0.25),
    ],
)
def test_av_align_counts_as_published(
    onsets: list[float], peaks: list[float], expected: float
) -> None:
    assert av_align(onsets, peaks, 16) == pytest.approx(expected)


def test_peaks_are_strict_local_maxima() -> None:
    speed = np.array([5, 1, 2, 1, 3, 3, 1, 4], dtype=float)
    assert peak_times(Motion(20, speed, speed)).tolist() == [2 / 20]


def test_onsets_are_those_of_librosa() -> None:
    """Frames that librosa 0.11.0 found: onset_detect(y=notes, sr=22050), all defaults."""
    time_s = np.arange(6 * 22050) / 22050
    starts_s = np.array([0.4, 0.9, 1.7, 2.05, 3.3, 4.0, 4.12, 5.2])
    pitches_hz = np.array([220, 440, 330, 880, 262, 523, 196, 660])
    notes = sum(
        np.where(time_s >= s, np.sin(2 * np.pi * f * (time_s - s)) * np.exp(-(time_s - s) / 0.2), 0)
        for s, f in zip(starts_s, pitches_hz, strict=True)
    )
    frames = onset_times(0.2 * notes + 1e-4 * np.sin(2 * np.pi * 50 * time_s), 22050) * 22050 / 512
    assert frames.round().astype(int).tolist() == LIBROSA_FRAMES


LIBROSA_FRAMES = [18, 39, 74, 89, 143, 173, 178, 225]


def test_constant_strength_has_no_onsets() -> None:
    assert len(pick_onsets(np.ones(50))) == 0


def test_loud_transients_outweigh_soft_ones() -> None:
    rng = np.random.default_rng(0)
    samples = rng.normal(0, 1e-3, 4 * RATE_HZ)
    for at_s, level in ((1.0, 0.5), (2.0, 0.005), (3.0, 0.5)):
        start = int(at_s * RATE_HZ)
        samples[start : start + 800] += rng.normal(0, level, 800)
    found = find_transients(samples, RATE_HZ)
    loud = [w for t, w in zip(*found, strict=True) if abs(t - 1) < 0.03 or abs(t - 3) < 0.03]
    soft = [w for t, w in zip(*found, strict=True) if abs(t - 2) < 0.03]
    assert len(loud) == 2
    assert max(soft, default=0) < 0.7 * min(loud)


def make_clip(path: Path, scratch: Path, sound: bool = True) -> None:
    """A file with picture and, unless told otherwise, sound 0.3 s late."""
    scratch.mkdir(exist_ok=True)
    proxy = write_picture(scratch / "v.mp4", jumps(EVENTS_S))
    samples, _ = soundfile.read(write_clicks(scratch / "a.wav", EVENTS_S + 0.3), dtype="int16")
    with av.open(str(proxy)) as source, av.open(str(path), "w") as target:
        video = target.add_stream_from_template(source.streams.video[0])
        audio = target.add_stream("pcm_s16le", rate=RATE_HZ, layout="mono") if sound else None
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None:
                packet.stream = video
                target.mux(packet)
        if audio is not None:
            frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
            frame.sample_rate, frame.pts = RATE_HZ, 0
            target.mux([*audio.encode(frame), *audio.encode()])


@pytest.fixture(scope="module")
def shard(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Three clips through the media stage: good, without sound, unreadable."""
    folder = tmp_path_factory.mktemp("shard")
    make_clip(folder / "good.mkv", folder / "scratch")
    make_clip(folder / "mute.mp4", folder / "scratch", sound=False)
    (folder / "bad.mp4").write_bytes(b"no clip")
    names = ["good.mkv", "mute.mp4", "bad.mp4"]
    plan = [{"clip_id": n, "path": str(folder / n), "key": f"plan-{n}"} for n in names]
    write(folder / "plan.parquet", PLAN, plan)
    protocol = media_protocol(Config(collections={"c": folder}, prompts="p.json"), "c")
    media = folder / "media" / "media.parquet"
    process_shard(folder / "plan.parquet", media, protocol, workers=2, timeout_s=60, memory_mb=2000)
    return {"folder": folder, "media": media, "protocol": protocol, "names": names}


def run(shard: dict[str, Any], output: Path) -> dict[str, Any]:
    measure_shard(
        shard["media"],
        output,
        protocol=synchrony_protocol(),
        workers=2,
        limits=Limits(60, 2000),
        media_protocol=shard["protocol"],
    )
    return read_metadata(output)["run"]


def test_a_shard_has_a_row_for_every_clip_and_resumes(
    shard: dict[str, Any], tmp_path: Path
) -> None:
    output = tmp_path / "s.parquet"
    assert run(shard, output) == {"processed": 3, "reused": 0}
    rows = {r["clip_id"]: r for r in read_table(output, SYNCHRONY).to_pylist()}
    assert list(rows) == shard["names"]
    assert rows["good.mkv"]["offset_ms"] == pytest.approx(300, abs=50)
    assert (rows["mute.mp4"]["status"], rows["mute.mp4"]["reason"]) == (
        "skipped",
        "no_audio_stream",
    )
    assert rows["bad.mp4"]["status"] == "failed"
    assert rows["bad.mp4"]["reason"] == read_table(shard["media"], MEDIA)["reason"].to_pylist()[2]
    output.unlink()
    assert run(shard, output) == {"processed": 0, "reused": 3}
    assert forget(output, SYNCHRONY, lambda row: row["status"] == "ok") == 1
    assert run(shard, output) == {"processed": 1, "reused": 2}


def test_other_proxies_are_another_protocol(shard: dict[str, Any], tmp_path: Path) -> None:
    output = tmp_path / "s.parquet"
    run(shard, output)
    usual = read_metadata(output)
    run(shard | {"protocol": shard["protocol"] | {"fps": 5}}, output)
    assert read_metadata(output)["protocol_id"] != usual["protocol_id"]
    assert usual["protocol"] == synchrony_protocol() | {"media": content_id(shard["protocol"])}


def test_dropped_proxies_are_made_again(shard: dict[str, Any], tmp_path: Path) -> None:
    run(shard, tmp_path / "before.parquet")
    drop_proxies(shard["media"])
    run(shard, tmp_path / "after.parquet")
    before, after = (
        read_table(tmp_path / f"{n}.parquet", SYNCHRONY).to_pylist() for n in ("before", "after")
    )
    assert before == after
    assert not (shard["media"].parent / "video").exists()


def test_scores_are_gated_and_unclaimed_offsets_are_skipped(tmp_path: Path) -> None:
    ids = ["good", "unclaimed", "silent", "none"]
    clips = [
        {"clip_id": i, "kind": "video", "item": i, "status": "ok", "prompt_status": "ok"}
        for i in ids
    ]
    clips += [
        {"item": "24", "status": "skipped", "reason": "no_clip"},
        {"clip_id": "x.txt", "kind": "other", "status": "skipped", "reason": "not_media"},
        {"clip_id": "x.wav", "kind": "audio", "item": "x", "status": "ok"},
    ]
    write(tmp_path / "clips.parquet", CLIPS, clips)
    media = [
        {
            "clip_id": i,
            "key": i,
            "video_status": "ok",
            "audio_status": "skipped" if i == "none" else "ok",
            "audio_reason": "no_audio_stream" if i == "none" else None,
            "mean_volume_db": -90.0 if i == "silent" else -20.0,
        }
        for i in ids
    ]
    sound = {"video_status": "skipped", "video_reason": "no_video_stream", "audio_status": "ok"}
    media.append({"clip_id": "x.wav", "key": "x", "mean_volume_db": -20.0, **sound})
    write(tmp_path / "media.parquet", MEDIA, media)
    measured = [
        {"clip_id": "good", "key": "1", "status": "ok", "av_align": 0.5, "offset_ms": -80.0},
        {
            "clip_id": "unclaimed",
            "key": "2",
            "status": "ok",
            "av_align": 0.25,
            "offset_reason": "no_synchrony",
        },
        {"clip_id": "silent", "key": "3", "status": "skipped", "reason": "no_events"},
        {"clip_id": "none", "key": "4", "status": "skipped", "reason": "no_audio_stream"},
    ]
    write(tmp_path / "s.parquet", SYNCHRONY, measured, protocol=synchrony_protocol())
    output = tmp_path / "scores.parquet"
    score_synchrony(
        output,
        collection="c",
        clips=tmp_path / "clips.parquet",
        media=[tmp_path / "media.parquet"],
        synchrony=[tmp_path / "s.parquet"],
        audio={"require": "audible", "silence_db": -60},
    )
    rows = read_table(output, SCORES).to_pylist()
    found = {(r["metric"], r["item"]): (r["value"], r["status"], r["reason"]) for r in rows}
    assert len(rows) == len(found) == 3 * 6
    assert found["av_align", "x"] == (None, "skipped", "no_video_stream")
    assert found["av_align", "good"] == (0.5, "ok", None)
    assert found["offset_ms", "good"] == (-80.0, "ok", None)
    assert found["abs_offset_ms", "good"] == (80.0, "ok", None)
    assert found["av_align", "unclaimed"] == (0.25, "ok", None)
    assert found["abs_offset_ms", "unclaimed"] == (None, "skipped", "no_synchrony")
    assert found["av_align", "silent"] == (None, "skipped", "silent")
    assert found["offset_ms", "none"] == (None, "skipped", "no_audio_stream")
    assert found["av_align", "24"] == (None, "skipped", "no_clip")
    note = read_metadata(output)
    assert (note["task"], note["model"], note["collection"]) == ("synchrony", "signal", "c")
    assert note["protocol"]["audio"] == {"require": "audible", "silence_db": -60}


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "delay_s", "expected_ms"),
    [
        ("vggsound_pomeranian.mp4", 0, -29),
        ("vggsound_pomeranian.mp4", 1, 971),
        ("derived/pomeranian_audio_delayed_1600ms.mp4", 0, 1571),
        ("bears.mp4", 0, None),
        ("orangutan.mp4", 0, None),
        ("crush_candy.mp4", 0, None),
        ("crush_clay.mp4", 0, None),
    ],
)
def test_real_clips(
    shared: Path, tmp_path: Path, name: str, delay_s: int, expected_ms: float | None
) -> None:
    path = shared / "media" / "videos" / name
    write(tmp_path / "p.parquet", PLAN, [{"clip_id": "c", "path": str(path), "key": name}])
    protocol = media_protocol(Config(collections={"c": tmp_path}, prompts="p.json"), "c")
    process_shard(
        tmp_path / "p.parquet",
        tmp_path / "media.parquet",
        protocol,
        workers=1,
        timeout_s=60,
        memory_mb=2000,
    )
    (proxy,), (wave,) = ((tmp_path / f).iterdir() for f in ("video", "audio"))
    samples, rate_hz = soundfile.read(wave)
    soundfile.write(wave, np.concatenate([np.zeros(delay_s * rate_hz), samples]), rate_hz)
    offset_ms = measure(proxy, wave)["offset_ms"]
    assert offset_ms == (None if expected_ms is None else pytest.approx(expected_ms, abs=40))
