"""The world of concord-mini: splits, event times, prompts, pictures and sounds."""

from itertools import combinations as subsets

import numpy as np
import pytest

from concord.mini.demo import demo_scenes
from concord.mini.render import render_frames, render_sound
from concord.mini.world import (
    COLOUR_PITCHES,
    DURATION_S,
    LAST_EVENT_S,
    MIN_DIFFERENCE_S,
    MIN_GAP_S,
    MOTION_ARTICULATIONS,
    SHAPE_TIMBRES,
    Combination,
    Scene,
    audio_prompt,
    combinations,
    make_scene,
    video_prompt,
)

MOTIONS = tuple(MOTION_ARTICULATIONS)


def scene_of(**wanted: str) -> Scene:
    """The first training scene whose combination has these attributes."""
    for combination in combinations("train"):
        if all(getattr(combination, name) == value for name, value in wanted.items()):
            return make_scene(combination, "train", 0, 0)
    raise LookupError(wanted)


def some_scenes(count: int = 60) -> list[Scene]:
    known = combinations("train")
    return [make_scene(known[i % len(known)], "train", 3, i) for i in range(count)]


def test_every_combination_is_in_exactly_one_half() -> None:
    train, held_out = combinations("train"), combinations("demo")
    assert not set(train) & set(held_out)
    assert len(set(train) | set(held_out)) == len(train) + len(held_out) == 6**3
    assert combinations("validation") == held_out


def test_training_sees_every_attribute_and_every_pair_of_attributes() -> None:
    for first, second in subsets(range(3), 2):
        assert len({(c[first], c[second]) for c in combinations("train")}) == 36


def test_demo_and_training_share_no_clip_seed_or_combination() -> None:
    training = [make_scene(c, "train", 7, i) for i, c in enumerate(combinations("train"))]
    demo = demo_scenes()
    assert not {s.combination for s in training} & {s.combination for s in demo}
    assert not {s.seed for s in training} & {s.seed for s in demo}
    assert not {s.events_s for s in training} & {s.events_s for s in demo}
    validation = {make_scene(s.combination, "validation", 7, i) for i, s in enumerate(demo)}
    assert not {s.seed for s in validation} & {s.seed for s in demo}


@pytest.mark.parametrize("split", ["train", "demo"])
def test_a_combination_of_the_other_half_is_refused(split: str) -> None:
    other = combinations("demo" if split == "train" else "train")[0]
    with pytest.raises(ValueError, match="does not belong"):
        make_scene(other, split, 0, 0)  # type: ignore[arg-type]


def test_no_two_pairs_of_events_are_equally_far_apart() -> None:
    for scene in some_scenes():
        distances = np.sort([b - a for a, b in subsets(scene.events_s, 2)])
        assert distances[0] >= MIN_GAP_S - 0.002
        assert np.diff(distances).min() >= MIN_DIFFERENCE_S - 0.004
        assert scene.events_s[0] > 0
        assert scene.events_s[-1] <= LAST_EVENT_S


def test_sight_decides_sound_one_to_one() -> None:
    for words in (SHAPE_TIMBRES, COLOUR_PITCHES, MOTION_ARTICULATIONS):
        assert len(set(words.values())) == len(words) == 6


def test_prompts_name_every_attribute_in_every_paraphrase() -> None:
    scene = scene_of(shape="star", colour="red", motion="turn")
    rng = np.random.default_rng(0)
    video = {video_prompt(scene, rng) for _ in range(200)}
    audio = {audio_prompt(scene, rng) for _ in range(200)}
    assert len(video) == 8
    assert len(audio) == 4
    assert all({"star", "red", scene.ground} <= set(v.replace(",", "").split()) for v in video)
    assert all({"whistle", "middle", "wobbling"} <= set(a.replace(",", "").split()) for a in audio)


def test_a_scene_renders_the_same_twice_and_another_number_differently() -> None:
    combination = combinations("train")[5]
    one, same, other = (make_scene(combination, "train", 0, n) for n in (1, 1, 2))
    times = np.arange(6) / 2
    assert np.array_equal(render_frames(one, times, 64, 48), render_frames(same, times, 64, 48))
    assert np.array_equal(render_sound(one, 16000), render_sound(same, 16000))
    assert not np.array_equal(
        render_frames(one, times, 64, 48), render_frames(other, times, 64, 48)
    )


@pytest.mark.parametrize("motion", MOTIONS)
def test_the_picture_moves_right_after_events_and_is_still_before(motion: str) -> None:
    scene = scene_of(motion=motion)
    fps = 100
    frames = render_frames(scene, np.arange(int(DURATION_S * fps)) / fps, 96, 72).astype(int)
    change = np.abs(np.diff(frames, axis=0)).mean((1, 2, 3))
    for event in scene.events_s:
        at = round(event * fps)
        assert change[at - 8 : at - 1].max() < 0.25 * change[at : at + 8].max()


@pytest.mark.parametrize("motion", MOTIONS)
def test_the_sound_starts_at_the_first_event_and_can_be_late(motion: str) -> None:
    scene = scene_of(motion=motion)
    rate = 16000
    samples, late = render_sound(scene, rate), render_sound(scene, rate, 0.8)
    assert samples.dtype == np.float32
    assert len(samples) == len(late) == DURATION_S * rate
    first = np.flatnonzero(np.abs(samples) > 0.01)[0] / rate
    assert first == pytest.approx(scene.events_s[0], abs=0.01)
    shift = round(0.8 * rate)
    ratio = np.abs(late).max() / np.abs(samples).max()
    kept = round((scene.events_s[0] + 0.1) * rate)
    assert np.allclose(late[shift : shift + kept], ratio * samples[:kept], atol=0.02)


@pytest.mark.parametrize(("colour", "pitch_hz"), [("purple", 170), ("green", 600), ("white", 2000)])
def test_colour_is_heard_as_pitch(colour: str, pitch_hz: float) -> None:
    scene = scene_of(shape="star", colour=colour)
    rate = 16000
    at = round(scene.events_s[0] * rate)
    part = render_sound(scene, rate)[at : at + rate // 10]
    loudest = np.abs(np.fft.rfft(part * np.hanning(len(part)), 1 << 16)).argmax() * rate / (1 << 16)
    assert loudest == pytest.approx(pitch_hz, rel=0.2)


def test_a_small_picture_is_a_large_one_scaled_down() -> None:
    scene = scene_of(shape="triangle", motion="jump")
    times = np.arange(4) * 0.7
    large = render_frames(scene, times, 256, 192).astype(float)
    small = render_frames(scene, times, 64, 48)
    means = large.reshape(4, 48, 4, 64, 4, 3).mean((2, 4))
    assert np.abs(means - small).mean() < 1


def test_unknown_shape_is_refused() -> None:
    known = some_scenes(1)[0]
    odd = Scene(Combination("blob", "red", "turn"), known.ground, known.size, (1.0,), (0,))
    with pytest.raises(ValueError, match="blob"):
        render_frames(odd, np.zeros(1), 8, 8)
