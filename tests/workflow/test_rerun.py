"""Only what changed is done again."""

import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.workflow.compare import content, fresh
from tests.workflow.conftest import Workflow, make_clip

ROOMS_AFTER_TABLES = {"aggregate_tables", "render_report"}
ROOMS_AFTER_SCORES = {"export_formats"} | ROOMS_AFTER_TABLES
SCORES = "results/scores/synchrony/signal/own.parquet"


class Folder:
    """A nested folder of clips that changes at random."""

    def __init__(self, root: Path, seed: int) -> None:
        self.root, self.random, self.made = root, random.Random(seed), 10

    def clips(self) -> list[Path]:
        return sorted(p for p in self.root.rglob("*.mp4") if p.is_file())

    def add(self) -> int:
        self.made += 1
        below = self.random.choice(["", "sub", "sub/deeper", "other"])
        hue = self.random.randrange(360)
        name = f"sample_{self.made:04d}.mp4"
        make_clip(self.root / below / name, hue=hue, tone_hz=200 + 10 * hue)
        return 1

    def change(self) -> int:
        clip = self.random.choice(self.clips())
        before = clip.stat()
        make_clip(clip, hue=self.random.randrange(360), tone_hz=500)
        if self.random.random() < 0.5:  # same size too
            with clip.open("r+b") as file:
                file.truncate(before.st_size)
        os.utime(clip, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
        return 1

    def rename(self) -> int:
        clip = self.random.choice(self.clips())
        self.made += 1
        clip.rename(clip.with_name(f"sample_{self.made:04d}.mp4"))
        return 1

    def remove(self) -> int:
        clips = self.clips()
        if len(clips) > 2:
            self.random.choice(clips).unlink()
            return 0
        return self.add()


@pytest.mark.slow
def test_changes_cost_what_changed(workflow: Workflow) -> None:
    """Clip by clip here; many changes over many runs are in tests/faults/test_growth.py."""
    workflow.config["clips"] = {"shard_size": 2}
    workflow.write_prompts(range(40))
    workflow.run(SCORES)
    folder = Folder(workflow.folder / "clips", seed=5)
    for step in (folder.add, folder.rename, folder.change, folder.remove):
        costs_itself(workflow, step, SCORES)
    workflow.run()
    assert content(workflow) == fresh(workflow)


def costs_itself(workflow: Workflow, step: Callable[[], int], *targets: str) -> None:
    """After one change: at most one job a stage runs, and processes no clip but the changed one."""
    before = marks(workflow)
    changed = step()
    jobs = workflow.started(*targets)
    assert jobs.get("transcode_shard", 0) <= 1, (step.__name__, jobs)
    assert jobs.get("measure_synchrony", 0) == jobs.get("transcode_shard", 0)
    assert processed_since(workflow, before) == {"media": changed, "synchrony": changed}


def marks(workflow: Workflow) -> dict[Path, int]:
    """Modification times of all tables."""
    tables = (workflow.folder / "results").glob("*/**/*.parquet")
    return {path: path.stat().st_mtime_ns for path in tables}


def processed_since(workflow: Workflow, before: dict[Path, int]) -> dict[str, int]:
    """Clips processed by the tables written since."""
    from concord.tables import read_metadata

    total = {"media": 0, "synchrony": 0}
    for path, time_ns in marks(workflow).items():
        note = read_metadata(path)
        if before.get(path) != time_ns and "run" in note:
            total[note["table"]] += note["run"]["processed"]
    return total


def test_options_rerun_exactly_what_depends_on_them(workflow: Workflow) -> None:
    workflow.config |= {
        "tasks": ["video_text", "audio_text", "synchrony"],
        "models": {"mini": {"workers": 1}},
    }
    workflow.run()
    config = workflow.config

    def jobs(**changes: Any) -> set[str]:
        workflow.config = config | changes
        return set(workflow.jobs())

    assert jobs() == set()
    means = {"batch_size": 2, "workers": 2}
    assert jobs(models={"mini": means}, media={"workers": 1, "timeout_s": 10}) == set()
    gate = {"score_task", "score_synchrony"}
    assert jobs(audio={"silence_db": -20}) == gate | ROOMS_AFTER_SCORES
    frames = {"embed_media", "check_embeddings", "score_task"} | ROOMS_AFTER_SCORES
    workflow.config = config | {"models": {"mini": {"frames": 4}}}
    planned = workflow.jobs()
    assert set(planned) == frames
    assert planned["embed_media"] == 1, "the sound does not depend on frames"
    assert jobs(models={"mini": {"precision": "bf16"}}) == frames | {"embed_texts"}
    assert jobs(statistics={"bootstrap": 500}) == ROOMS_AFTER_TABLES
    assert "transcode_shard" in jobs(media={"fit": "stretch"})

    workflow.config = config
    prompts = workflow.folder / "prompts.json"
    prompts.write_text(prompts.read_text().replace("a red pattern 1", "a blue pattern 1"))
    again = jobs()
    assert {"embed_texts", "score_task"} <= again
    assert not {"transcode_shard", "embed_media", "measure_synchrony"} & again


def test_what_cannot_be_measured_is_told_once(workflow: Workflow) -> None:
    workflow.config |= {"tasks": ["synchrony", "image_text"], "models": ["mini"]}
    printed = workflow.run("--quiet", "all", "--", SCORES)
    note = "note: collections.own: nothing will be done for image_text: no configured model"
    assert printed.count(note) == 1
    workflow.config["tasks"] = ["synchrony"]
    assert "note:" not in workflow.run("--quiet", "all", "--", SCORES)
