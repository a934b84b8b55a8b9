"""What can be measured: the tasks as data. Light to import, for planning and for listings."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from concord.models.base import MODALITIES, Modality


@dataclass(frozen=True)
class TaskInfo:
    """One task: what it measures, what it needs, and how its numbers are to be read."""

    name: str
    what: str
    modalities: tuple[Modality, ...]
    any_two: bool
    metrics: str
    value_range: str
    better: Literal["higher", "lower", "depends"]
    version: int

    @property
    def needs(self) -> str:
        """What a model must embed, in words."""
        if not self.modalities:
            return "no model"
        return "two of " * self.any_two + ", ".join(self.modalities)


TASK_INFO: tuple[TaskInfo, ...] = (
    TaskInfo(
        name="video_text",
        what="how well the picture agrees with the video prompt",
        modalities=("video", "text"),
        any_two=False,
        metrics="cosine",
        value_range="-1 to 1",
        better="higher",
        version=1,
    ),
    TaskInfo(
        name="audio_text",
        what="how well the sound agrees with the audio prompt",
        modalities=("audio", "text"),
        any_two=False,
        metrics="cosine",
        value_range="-1 to 1",
        better="higher",
        version=1,
    ),
    TaskInfo(
        name="av_consistency",
        what="how well the sound agrees with the picture",
        modalities=("video", "audio"),
        any_two=False,
        metrics="cosine",
        value_range="-1 to 1",
        better="higher",
        version=1,
    ),
    TaskInfo(
        name="retrieval",
        what="whether a clip finds its prompt or its sound among all others, and back",
        modalities=MODALITIES,
        any_two=True,
        metrics="recall_at_1, recall_at_5, recall_at_10, rank",
        value_range="recall 0 to 1, rank 1 to the number of candidates",
        better="depends",
        version=1,
    ),
    TaskInfo(
        name="synchrony",
        what="whether sounds happen when something moves, and how late they are",
        modalities=(),
        any_two=False,
        metrics="av_align, offset_ms, abs_offset_ms",
        value_range="av_align 0 to 1, offsets in ms",
        better="depends",
        version=1,
    ),
)
_BY_NAME = {info.name: info for info in TASK_INFO}


def task_info(task: str) -> TaskInfo:
    """The description of a task. Raises KeyError for an unknown one."""
    return _BY_NAME[task]


def needs(task: str, modalities: Sequence[Modality]) -> tuple[Modality, ...]:
    """Modalities that a task reads from a model that embeds `modalities`; () for synchrony."""
    info = task_info(task)
    return tuple(m for m in info.modalities if m in modalities)


def applies(task: str, modalities: Sequence[Modality], has_prompts: bool) -> bool:
    """Whether a task can be scored by a model that embeds `modalities`.

    Text counts only in a collection with prompts. Synchrony needs no model and always applies.
    """
    info = task_info(task)
    usable = set(needs(task, modalities)) - (set() if has_prompts else {"text"})
    return len(usable) >= (2 if info.any_two else len(info.modalities))
