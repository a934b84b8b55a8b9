"""The demo data: three collections with known faults, as files."""

import json
from pathlib import Path

import av
import numpy as np
import pytest

from concord.mini.demo import (
    CARELESS,
    CLIPS,
    COLLECTIONS,
    DELAY_S,
    careless_indices,
    demo_scenes,
    encode_clip,
    make_demo,
)
from concord.mini.render import render_frames, render_sound
from concord.mini.world import DURATION_S, Scene


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's three collections and its prompts."""
    folder = tmp_path_factory.mktemp("demo")
    make_demo(folder, workers=2)
    return folder


def clip(demo: Path, collection: str, index: int) -> Path:
    return demo / collection / f"sample_{index:04d}.mp4"


def decode(path: Path) -> tuple[np.ndarray, np.ndarray, int]:
    """Frames [T, H, W, 3], samples [N] and their rate."""
    with av.open(str(path)) as container:
        frames = [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]
    with av.open(str(path)) as container:
        parts = list(container.decode(audio=0))
    first = next(i for i, part in enumerate(parts) if part.pts >= 0)
    samples = np.concatenate([part.to_ndarray()[0] for part in parts[first:]])
    return np.stack(frames), samples, parts[0].sample_rate


def first_sound_s(path: Path) -> float:
    _, samples, rate_hz = decode(path)
    return float(np.flatnonzero(np.abs(samples) > 0.05)[0] / rate_hz)


def test_each_collection_has_a_clip_for_every_prompt(demo: Path) -> None:
    prompts = json.loads((demo / "prompts.json").read_text(encoding="utf-8"))
    assert [prompt["index"] for prompt in prompts] == list(range(CLIPS))
    assert len({prompt["video_prompt"] for prompt in prompts}) == CLIPS
    assert len({prompt["audio_prompt"] for prompt in prompts}) == CLIPS
    names = [f"sample_{i:04d}.mp4" for i in range(CLIPS)]
    for collection in COLLECTIONS:
        assert sorted(path.name for path in (demo / collection).iterdir()) == names
    assert len(list(demo.rglob("*"))) == 3 + 3 * CLIPS + 1


def test_prompts_say_what_the_faithful_clip_shows_and_plays(demo: Path) -> None:
    prompts = json.loads((demo / "prompts.json").read_text(encoding="utf-8"))
    for scene, prompt in zip(demo_scenes(), prompts, strict=True):
        for word in (scene.combination.shape, scene.combination.colour, scene.ground, scene.size):
            assert word in prompt["video_prompt"]
        for word in (scene.timbre, scene.pitch, scene.articulation):
            assert word in prompt["audio_prompt"]


def test_no_two_demo_clips_share_a_combination() -> None:
    assert len({scene.combination for scene in demo_scenes()}) == CLIPS


def test_a_clip_decodes_to_what_was_rendered(demo: Path) -> None:
    frames, samples, rate_hz = decode(clip(demo, "faithful", 0))
    assert frames.shape == (60, 144, 192, 3)
    assert len(samples) / rate_hz == pytest.approx(DURATION_S, abs=0.05)


def test_sound_starts_at_the_first_event_and_late_is_late(demo: Path) -> None:
    for index in (0, 7, 23):
        event = demo_scenes()[index].events_s[0]
        faithful, late = (first_sound_s(clip(demo, c, index)) for c in ("faithful", "late"))
        assert faithful == pytest.approx(event, abs=0.015)
        assert late == pytest.approx(event + DELAY_S, abs=0.015)


def test_late_shows_the_same_picture(demo: Path) -> None:
    pictures = [decode(clip(demo, collection, 3))[0] for collection in ("faithful", "late")]
    assert np.array_equal(*pictures)


def test_careless_differs_in_picture_and_sound_in_a_quarter_of_the_clips(demo: Path) -> None:
    wrong = careless_indices()
    assert len(set(wrong)) == CARELESS == CLIPS // 4
    for index in range(CLIPS):
        faithful, careless = (clip(demo, c, index) for c in ("faithful", "careless"))
        assert (faithful.read_bytes() != careless.read_bytes()) == (index in wrong)
    faithful, careless = (decode(clip(demo, c, wrong[0])) for c in ("faithful", "careless"))
    assert not np.array_equal(faithful[0], careless[0])
    assert not np.array_equal(faithful[1], careless[1])


def test_careless_clips_do_not_play_the_sound_of_the_clip_they_show(demo: Path) -> None:
    scenes = demo_scenes()
    made: dict[bytes, Scene] = {
        clip(demo, "faithful", i).read_bytes(): s for i, s in enumerate(scenes)
    }
    for index in careless_indices():
        assert clip(demo, "careless", index).read_bytes() not in made


def test_a_second_call_touches_nothing_and_mends_a_damaged_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shown on a small demo."""
    monkeypatch.setattr("concord.mini.demo.CLIPS", 6)
    monkeypatch.setattr("concord.mini.demo.CARELESS", 3)
    make_demo(tmp_path, workers=2)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.*")}
    assert len(before) == 3 * 6 + 1
    damaged = clip(tmp_path, "late", 5)
    content = damaged.read_bytes()
    damaged.write_bytes(content[:1000])
    make_demo(tmp_path, workers=2)
    assert damaged.read_bytes() == content
    changed = {path for path, time in before.items() if path.stat().st_mtime_ns != time}
    assert changed == {damaged}


def test_encoding_is_the_same_every_time() -> None:
    scene = demo_scenes()[30]
    frames = render_frames(scene, np.arange(60) / 20, 192, 144)
    sound = render_sound(scene, 32000)
    assert len({encode_clip(frames, sound) for _ in range(4)}) == 1
