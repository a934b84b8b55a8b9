"""The tasks as data: pairs, what each needs, where each applies."""

import subprocess
import sys
from typing import Any

import pytest

from concord.models.base import Modality
from concord.scores.tasks import (
    PAIRS,
    TASK_NAMES,
    applies,
    meant_task,
    needs,
    prompt_column,
    retrieval_pairs,
    task_info,
)

APPLIES: list[tuple[str, tuple[str, ...], bool, bool]] = [
    ("video_text", ("video", "text"), True, True),
    ("video_text", ("video", "text"), False, False),
    ("video_text", ("video", "audio"), True, False),
    ("audio_text", ("video", "text"), True, False),
    ("av_consistency", ("video", "audio", "text"), False, True),
    ("av_consistency", ("video", "text"), True, False),
    ("retrieval", ("video", "text"), True, True),
    ("retrieval", ("video", "text"), False, False),
    ("retrieval", ("video", "audio"), False, True),
    ("synchrony", (), False, True),
    ("image_text", ("image", "text"), True, True),
    ("image_text", ("video", "text"), True, False),
    ("audio_image", ("image", "audio"), False, True),
    ("features", ("video", "text"), False, True),
    ("features", ("depth", "text"), True, False),
]


@pytest.mark.parametrize(("task", "modalities", "has_prompts", "expected"), APPLIES)
def test_tasks_apply_where_the_model_and_the_prompts_allow(
    task: str, modalities: Any, has_prompts: bool, expected: bool
) -> None:
    assert applies(task, modalities, has_prompts) is expected


def test_every_configurable_task_is_described() -> None:
    from concord.config import TASKS

    assert set(TASKS) < set(TASK_NAMES)
    assert all(task_info(name).name == name and task_info(name).title for name in TASK_NAMES)
    assert needs("retrieval", ("video", "text")) == ("video", "text")
    assert needs("synchrony", ("video", "text")) == ()


def test_every_pair_of_two_modalities_is_one_task() -> None:
    assert len(PAIRS) == 21 == len({frozenset(pair) for pair in PAIRS.values()})
    for name in ("image_text", "audio_image", "depth_text", "imu_video", "thermal_text"):
        assert "_".join(PAIRS[name]) == name
    assert [meant_task(word) for word in ("text_image", "audio_video", "Depth_Text", "x")] == [
        "; did you mean 'image_text'?",
        "; did you mean 'av_consistency'?",
        "; did you mean 'depth_text'?",
        "",
    ]
    assert [prompt_column(f"{m}_text") for m in ("video", "audio", "depth")] == [
        "video_prompt",
        "audio_prompt",
        "video_prompt",
    ]


def test_retrieval_reads_companion_files_where_a_pair_of_the_model_does() -> None:
    model: tuple[Modality, ...] = ("text", "image", "depth")
    assert needs("retrieval", model) == ()
    assert needs("retrieval", model, ["image_text", "synchrony"]) == ("text", "image")
    assert needs("retrieval", model, ["depth_video"]) == ()
    assert not applies("retrieval", model, True)
    assert applies("retrieval", model, True, ["image_text"])
    assert not applies("retrieval", ("video", *model), False, ["image_text"])
    assert retrieval_pairs(("video", *model), ["image_text", "depth_image", "audio_image"]) == (
        "video_text",
        "image_text",
        "depth_image",
    )


def test_task_descriptions_load_no_heavy_package() -> None:
    code = "import sys, concord.scores.tasks; print(*{m.split('.')[0] for m in sys.modules})"
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert not {"torch", "scipy", "pyarrow", "pandas"} & set(run.stdout.split())


def test_tasks_that_share_code_share_its_version() -> None:
    assert len({task_info(t).version for t in ("video_text", "audio_text", "av_consistency")}) == 1
