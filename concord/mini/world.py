"""The world of concord-mini: what a clip shows, how it sounds, and the words for both.

A shape on a plain ground makes one sudden movement at each of a few irregular moments and is still
in between; every movement makes a sound. What is seen decides what is heard: the shape the timbre,
the colour the pitch, the kind of motion the articulation. A combination of these three is either
for training or held out, never both.
"""

from dataclasses import dataclass
from itertools import combinations as subsets
from itertools import product
from typing import Literal, NamedTuple

import numpy as np

from concord.protocol import digest

DURATION_S = 3.0
LAST_EVENT_S = 2.1
"""Events end here, so that a sound up to 0.8 s late is still whole within the clip."""
EVENTS = (3, 4)
MIN_GAP_S = 0.3
MIN_DIFFERENCE_S = 0.1

SHAPE_TIMBRES = {
    "square": "drum",
    "triangle": "bell",
    "cross": "buzzer",
    "star": "whistle",
    "bar": "guitar",
    "crescent": "gust",
}
COLOUR_PITCHES = {
    "blue": "deep",
    "purple": "low",
    "red": "middle",
    "green": "high",
    "yellow": "shrill",
    "white": "piercing",
}
MOTION_ARTICULATIONS = {
    "slide": "short",
    "hop": "rising",
    "jump": "falling",
    "grow": "ringing",
    "turn": "wobbling",
    "shake": "rough",
}
GROUNDS = ("black", "grey", "brown", "teal")
SIZES = ("small", "large")

Split = Literal["train", "validation", "demo"]
_SPLIT_NUMBERS: dict[Split, int] = {"train": 1, "validation": 2, "demo": 3}
_HELD_OUT_SHARE = 0.3

_MOTION_PHRASES = {
    "slide": ("slides sideways", "moves left and right"),
    "hop": ("hops up and down", "rises and drops"),
    "jump": ("jumps about", "leaps from corner to corner"),
    "grow": ("grows and shrinks", "swells and contracts"),
    "turn": ("turns around", "rotates in place"),
    "shake": ("shakes", "shivers in place"),
}
_VIDEO_TEMPLATES = (
    "a {size} {colour} {shape} {motion} on a {ground} ground",
    "on a {ground} ground, a {size} {shape} in {colour} {motion}",
    "a {colour} {shape}, {size}, {motion} over {ground}",
    "{ground} background with a {size} {colour} {shape} that {motion}",
)
_AUDIO_TEMPLATES = (
    "a {pitch} {articulation} {timbre} sounds {count} times",
    "{count} {articulation} sounds of a {pitch} {timbre}",
    "a {timbre}, {pitch} and {articulation}, heard {count} times",
    "the {articulation} sound of a {timbre} at a {pitch} pitch",
)
_COUNTS = {3: "three", 4: "four"}


class Combination(NamedTuple):
    """What a clip is about: the attributes that its sound depends on."""

    shape: str
    colour: str
    motion: str

    @property
    def held_out(self) -> bool:
        """Whether training never sees this combination; decided by a hash of its words."""
        return int(digest("concord-mini", *self), 16) / 16**32 < _HELD_OUT_SHARE


@dataclass(frozen=True)
class Scene:
    """Everything that decides a clip; rendering it twice gives the same clip."""

    combination: Combination
    ground: str
    size: str
    events_s: tuple[float, ...]
    seed: tuple[int, ...]

    @property
    def timbre(self) -> str:
        """The word for the sound source, given by the shape."""
        return SHAPE_TIMBRES[self.combination.shape]

    @property
    def pitch(self) -> str:
        """The word for the height of the sound, given by the colour."""
        return COLOUR_PITCHES[self.combination.colour]

    @property
    def articulation(self) -> str:
        """The word for how the sound goes on, given by the motion."""
        return MOTION_ARTICULATIONS[self.combination.motion]

    def rng(self, purpose: int) -> np.random.Generator:
        """A generator of its own for each purpose, so that one does not disturb another."""
        return np.random.default_rng((*self.seed, purpose))


def combinations(split: Split) -> list[Combination]:
    """Combinations of a split, in a fixed order; validation and demo share the held-out ones."""
    every = product(SHAPE_TIMBRES, COLOUR_PITCHES, MOTION_ARTICULATIONS)
    return [c for c in map(Combination._make, every) if c.held_out == (split != "train")]


def make_scene(combination: Combination, split: Split, seed: int, number: int) -> Scene:
    """The scene with this number in a split: ground, size and event times vary with it.

    Raises ValueError for a combination that does not belong to the split.
    """
    if combination.held_out == (split == "train"):
        raise ValueError(f"{combination} does not belong to the split {split}")
    key = int(digest(*combination)[:8], 16)
    seeds = (_SPLIT_NUMBERS[split], seed, number, key)
    rng = np.random.default_rng(seeds)
    return Scene(
        combination=combination,
        ground=str(rng.choice(GROUNDS)),
        size=str(rng.choice(SIZES)),
        events_s=_event_times(rng),
        seed=seeds,
    )


def video_prompt(scene: Scene, rng: np.random.Generator) -> str:
    """A sentence on the picture, one of several paraphrases."""
    return str(rng.choice(_VIDEO_TEMPLATES)).format(
        size=scene.size,
        colour=scene.combination.colour,
        shape=scene.combination.shape,
        motion=rng.choice(_MOTION_PHRASES[scene.combination.motion]),
        ground=scene.ground,
    )


def audio_prompt(scene: Scene, rng: np.random.Generator) -> str:
    """A sentence on the sound, one of several paraphrases."""
    return str(rng.choice(_AUDIO_TEMPLATES)).format(
        timbre=scene.timbre,
        pitch=scene.pitch,
        articulation=scene.articulation,
        count=_COUNTS[len(scene.events_s)],
    )


def _event_times(rng: np.random.Generator) -> tuple[float, ...]:
    """Irregular moments in seconds: no two pairs lie equally far apart (a Golomb ruler).

    So a shifted sound track meets at most one movement, and only the true offset fits them all.
    """
    count = int(rng.integers(EVENTS[0], EVENTS[1] + 1))
    while True:
        times = np.sort(rng.uniform(0.2, LAST_EVENT_S, count))
        distances = np.sort([b - a for a, b in subsets(times, 2)])
        if distances[0] >= MIN_GAP_S and np.diff(distances).min() >= MIN_DIFFERENCE_S:
            return tuple(round(float(t), 3) for t in times)
