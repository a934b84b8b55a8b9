"""Snakemake killed or interrupted in every stage: the same command goes on and leaves the same."""

import os
import shutil
import signal
from pathlib import Path

import psutil
import pytest

from tests.faults.conftest import Running, Site, until
from tests.workflow.compare import content

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("nothing_is_left")]

STAGES = {
    "media": "media/own/*/.media.parquet.journal",
    "embedding": "logs/embed_media/*video*.log",
    "scores": "logs/score_task/*.log",
    "tables": "logs/aggregate_tables.log",
    "exports": "logs/export_formats.log",
    "report": "logs/render_report.log",
}
"""What appears below results/ when a stage is at work; the later ones are called as their rooms."""


def clear_logs(folder: Path) -> None:
    for log in (folder / "results" / "logs").rglob("*.log"):
        log.unlink()


@pytest.mark.parametrize("orphans", [False, True], ids=["with its jobs", "main process alone"])
def test_killed_in_every_stage(site: Site, tmp_path: Path, orphans: bool) -> None:
    """kill -9 in media, embedding, scores, aggregation, exports and report, one after the other.

    Alone, the main process leaves jobs at work: the next run says so and ends them, so that none of
    them lives when its own first job starts.
    """
    workflow = site.workflow(tmp_path / "run")
    left: list[psutil.Process] = []
    for stage, pattern in STAGES.items():
        clear_logs(workflow.folder)
        shutil.rmtree(workflow.folder / "results" / stage, ignore_errors=True)
        run = Running(workflow)
        if left:
            run.wait_for("logs/**/*.log", empty=True)
        assert not [p for p in left if p.is_running() and p.status() != "zombie"], stage
        run.wait_for(pattern, empty=True)
        left = run.children() if orphans else []
        run.kill(orphans)
    printed = workflow.run()
    assert "Traceback" not in printed
    assert content(workflow) == site.wanted
    assert workflow.jobs() == {}


def test_a_job_that_hangs_does_not_outlive_its_run(site: Site, tmp_path: Path) -> None:
    """A scoring job is stopped (SIGSTOP), the main process killed, the command given again."""
    workflow = site.done(tmp_path / "run")
    (workflow.folder / "results/scores/video_text/mini/own.parquet").unlink()
    (workflow.folder / "results/tables/summary.parquet").unlink()
    clear_logs(workflow.folder)
    run = Running(workflow)
    run.wait_for("logs/score_task/*.log", empty=True)
    job = until(
        lambda: next((p for p in run.children() if ".snakemake/scripts" in cmdline(p)), None),
        "the job's process",
    )
    job.send_signal(signal.SIGSTOP)
    run.kill(orphans=True)
    printed = workflow.run()
    assert "processes of an earlier run that was killed are still at work" in printed
    assert "score_task/video_text.mini.own" in printed
    assert not job.is_running() or job.status() == "zombie"
    assert content(workflow) == site.wanted


def cmdline(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline()[1:])
    except psutil.Error:
        return ""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted(site: Site, tmp_path: Path, number: signal.Signals) -> None:
    """Ctrl-C (to the whole group) in media, and SIGTERM to the main process in embedding."""
    workflow = site.workflow(tmp_path / "run")
    run = Running(workflow)
    if number == signal.SIGINT:
        run.wait_for(STAGES["media"])
        os.killpg(run.process.pid, number)
    else:
        run.wait_for(STAGES["embedding"], empty=True)
        run.process.send_signal(number)
    printed = run.end(ok=False)
    said = "Terminating processes on user request" if number == signal.SIGINT else "Will exit after"
    assert said in printed
    workflow.run()
    assert content(workflow) == site.wanted
