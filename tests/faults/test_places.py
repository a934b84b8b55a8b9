"""Two runs at once, read-only inputs, a clock set back."""

import os
import time
from pathlib import Path

import pytest

from tests.faults.conftest import Running, Site, mounted
from tests.workflow.compare import content
from tests.workflow.conftest import Workflow, make_clip

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("nothing_is_left")]


def test_two_runs_at_once(site: Site, tmp_path: Path) -> None:
    """From two folders into one, by its name and through a link: the second is refused.

    `snakemake -n` beside the first answers. Nothing is lost.
    """
    results = tmp_path / "common" / "results"
    first = site.workflow(tmp_path / "first", results=str(results))
    (tmp_path / "link").symlink_to(tmp_path / "common")
    second = site.workflow(tmp_path / "second", results=str(tmp_path / "link" / "results"))
    (first.folder / "results").symlink_to(results)
    run = Running(first)
    run.wait_for("media/own/*/.media.parquet.journal", empty=True)
    printed = second.run(ok=False)
    assert "another run is writing to this folder; wait until it ends" in printed
    assert "Traceback" not in printed
    dry = second.jobs()
    assert dry["aggregate_tables"] == 1
    run.end()
    (second.folder / "results").symlink_to(results)
    assert content(second) == site.wanted
    second.run()
    assert content(second) == site.wanted


def test_a_folder_of_clips_that_cannot_be_written(site: Site, tmp_path: Path) -> None:
    """Clips on a read-only mount, without permission to write: nothing is written beside them."""
    with mounted(tmp_path / "clips", "--bind", "-o", "ro", str(site.folder / "clips")) as clips:
        assert not os.access(clips, os.W_OK)
        workflow = site.workflow(tmp_path / "run", collections={"own": str(clips)})
        workflow.run()
        assert content(workflow) == site.wanted


def shift(results: Path, seconds: float) -> None:
    """Date everything as a run would whose clock was ahead by so much."""
    for path in [results, *results.rglob("*")]:
        stamp = path.lstat().st_mtime + seconds
        os.utime(path, (stamp, stamp), follow_symlinks=False)


def test_a_clock_that_was_set_back(site: Site, tmp_path: Path) -> None:
    """A run made an hour ahead of time; then the clock is put right, and a clip changes.

    Nothing unchanged is done again, the change is not missed, and no later run repeats it.
    """
    workflow = site.done(tmp_path / "run")
    shift(workflow.folder / "results", 3600)
    printed = workflow.run("--dry-run")
    assert "so the clock of a machine was wrong" in printed
    assert workflow.jobs() == {}
    shift(workflow.folder / "results", 3600)
    workflow.config["statistics"] = {"bootstrap": 501}
    assert set(workflow.jobs()) == {"aggregate_tables", "render_report"}
    workflow.config["statistics"] = {"bootstrap": 500}
    media = workflow.folder / "results/media/own/0000/media.parquet"
    stamp = time.time() + 3600
    os.utime(media, (stamp, stamp))  # while the clock was wrong for a moment
    workflow.run()
    assert content(workflow) == site.wanted
    assert workflow.jobs() == {}


def test_a_clip_changed_after_the_clock_was_set_back(site: Site, tmp_path: Path) -> None:
    """What changes is found although all results are dated in the future."""
    for i in (1, 2):
        make_clip(tmp_path / "clips" / f"sample_{i:04d}.mp4", hue=50 * i, tone_hz=400)
    workflow = Workflow(
        tmp_path,
        {"collections": {"own": "clips"}, "prompts": "prompts.json", "tasks": ["synchrony"]},
    )
    workflow.write_prompts(range(1, 3))
    workflow.run()
    shift(tmp_path / "results", 3600)
    make_clip(tmp_path / "clips" / "sample_0002.mp4", hue=200, tone_hz=900, seconds=2)
    jobs = workflow.started()
    assert {"transcode_shard", "measure_synchrony", "aggregate_tables"} <= jobs.keys()
    assert max(workflow.table("media")["duration_s"].to_pylist()) == 2
    assert workflow.jobs() == {}
