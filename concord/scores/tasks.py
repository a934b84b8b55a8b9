"""What can be measured: the tasks as data. Light to import, for planning and for listings."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

from concord.errors import did_you_mean
from concord.models.base import COMPANIONS, MODALITIES, Modality

WORDS: dict[Modality, str] = {
    "video": "picture",
    "audio": "sound",
    "text": "prompt",
    "image": "image",
    "depth": "depth map",
    "thermal": "thermal image",
    "imu": "motion sensor",
}
"""What titles call the modalities."""


@dataclass(frozen=True)
class TaskInfo:
    """One task: what it measures, what it needs, and how its numbers are to be read.

    A model can do it if it embeds at least `least` of the `modalities`.
    """

    name: str
    title: str
    what: str
    modalities: tuple[Modality, ...]
    least: int
    metrics: str
    value_range: str
    better: Literal["higher", "lower", "depends"]
    version: int

    @property
    def needs(self) -> str:
        """What a model must embed, in words."""
        if not self.modalities:
            return "no model"
        number = {1: "one of ", 2: "two of "}[self.least]
        return number * (self.least < len(self.modalities)) + ", ".join(self.modalities)


def _pair(first: Modality, second: Modality, name: str = "", what: str = "") -> TaskInfo:
    """The task of one pair: the cosine similarity of the two embeddings of a clip."""
    return TaskInfo(
        name=name or f"{first}_{second}",
        title=f"{WORDS[first]} and {WORDS[second]}".capitalize(),
        what=what or f"how well the {WORDS[first]} agrees with the {WORDS[second]}",
        modalities=(first, second),
        least=2,
        metrics="cosine",
        value_range="-1 to 1",
        better="higher",
        version=1,
    )


TASK_INFO: tuple[TaskInfo, ...] = (
    _pair("video", "text", what="how well the picture agrees with the video prompt"),
    _pair("audio", "text", what="how well the sound agrees with the audio prompt"),
    _pair("video", "audio", "av_consistency", "how well the sound agrees with the picture"),
    TaskInfo(
        name="retrieval",
        title="Retrieval",
        what="whether a clip finds its prompt or its sound among all others, and back",
        modalities=("video", "audio", "text"),
        least=2,
        metrics="recall_at_1, recall_at_5, recall_at_10, rank",
        value_range="recall 0 to 1, rank 1 to the number of candidates",
        better="depends",
        version=1,
    ),
    TaskInfo(
        name="synchrony",
        title="Synchrony",
        what="whether sounds happen when something moves, and how late they are",
        modalities=(),
        least=0,
        metrics="av_align, offset_ms, abs_offset_ms",
        value_range="av_align 0 to 1, offsets in ms",
        better="depends",
        version=1,
    ),
    TaskInfo(
        name="features",
        title="Features",
        what="nothing by itself: makes the embeddings, for exports, quality checks and probes",
        modalities=("video", "audio", "image"),
        least=1,
        metrics="none",
        value_range="",
        better="depends",
        version=1,
    ),
)
"""The tasks with names of their own; `OTHER_PAIRS` are tasks too."""

RETRIEVAL_PAIRS = ("video_text", "audio_text", "av_consistency")
_NAMED_PAIRS = tuple(info.modalities for info in TASK_INFO if info.name in RETRIEVAL_PAIRS)


def _in_order(pair: Iterable[Modality]) -> tuple[Modality, Modality]:
    """By alphabet, but with text last."""
    first, second = sorted(pair, key=lambda modality: (modality == "text", modality))
    return first, second


OTHER_PAIRS: tuple[TaskInfo, ...] = tuple(
    _pair(*_in_order(pair))
    for pair in combinations(MODALITIES, 2)
    if pair not in _NAMED_PAIRS and pair[::-1] not in _NAMED_PAIRS
)
"""A task for every pair of modalities that has no name of its own: image_text, depth_video, ..."""

_BY_NAME = {info.name: info for info in (*TASK_INFO, *OTHER_PAIRS)}
TASK_NAMES = tuple(_BY_NAME)
PAIRS: dict[str, tuple[Modality, Modality]] = {
    info.name: (info.modalities[0], info.modalities[1])
    for info in _BY_NAME.values()
    if info.metrics == "cosine"
}
"""The two modalities of every task that compares a pair."""


def task_info(task: str) -> TaskInfo:
    """The description of a task. Raises KeyError for an unknown one."""
    return _BY_NAME[task]


def meant_task(word: str) -> str:
    """`; did you mean X?` for a word that is no task: a pair the other way round, or a slip."""
    for name, (first, second) in PAIRS.items():
        if word.lower() in (f"{first}_{second}", f"{second}_{first}"):
            return f"; did you mean {name!r}?"
    return did_you_mean(word, TASK_NAMES)


def prompt_column(task: str) -> str:
    """The prompt that a pair with text is compared with: the audio prompt for sound alone."""
    return "audio_prompt" if "audio" in PAIRS[task] else "video_prompt"


def companion_pairs(tasks: Iterable[str]) -> tuple[str, ...]:
    """Those of `tasks` that compare a modality from files beside the clips."""
    return tuple(task for task in tasks if set(PAIRS.get(task, ())) & set(COMPANIONS))


def companions(tasks: Iterable[str]) -> tuple[Modality, ...]:
    """The modalities from files beside the clips that `tasks` compare."""
    used = {modality for task in companion_pairs(tasks) for modality in PAIRS[task]}
    return tuple(modality for modality in COMPANIONS if modality in used)


def retrieval_pairs(modalities: Collection[Modality], tasks: Iterable[str] = ()) -> tuple[str, ...]:
    """The pairs that retrieval ranks, both ways, where there are embeddings of `modalities`.

    They are those of picture, sound and prompt, and the configured `tasks` that compare a modality
    from files beside the clips.
    """
    pairs = (*RETRIEVAL_PAIRS, *companion_pairs(tasks))
    return tuple(pair for pair in pairs if set(PAIRS[pair]) <= set(modalities))


def needs(
    task: str, modalities: Sequence[Modality], tasks: Iterable[str] = ()
) -> tuple[Modality, ...]:
    """Modalities that a task reads from a model that embeds `modalities`; () for synchrony.

    `tasks` are all that are configured; retrieval depends on them.
    """
    wanted = set(task_info(task).modalities)
    if task == "retrieval":
        wanted = {m for pair in retrieval_pairs(modalities, tasks) for m in PAIRS[pair]}
    return tuple(modality for modality in modalities if modality in wanted)


def applies(
    task: str, modalities: Sequence[Modality], has_prompts: bool, tasks: Iterable[str] = ()
) -> bool:
    """Whether a model that embeds `modalities` can do a task; `tasks` are all configured ones.

    Text counts only in a collection with prompts. Synchrony needs no model and always applies.
    """
    usable = [m for m in modalities if has_prompts or m != "text"]
    return len(needs(task, usable, tasks)) >= task_info(task).least
