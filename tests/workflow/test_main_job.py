"""From clips and prompts to tables and a page, run as a user runs it."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.workflow.conftest import ROOT, Workflow

ALL_TASKS = ["video_text", "audio_text", "av_consistency", "retrieval", "synchrony"]


def test_three_clips_reach_every_room(workflow: Workflow) -> None:
    workflow.config["tasks"] = ALL_TASKS
    (workflow.folder / "clips" / "notes.txt").write_text("not a clip")
    (workflow.folder / "clips" / "sample_0009.mp4").write_bytes(b"not a clip either")
    printed = workflow.run()
    assert "Picture and prompt" in printed, "the compact table ends a run"
    assert "Provided resources: gpu=" in printed, "else all model jobs would start at once"

    summary = workflow.table("summary").to_pylist()
    row = next(r for r in summary if r["task"] == "video_text")
    assert (row["n_expected"], row["n_scored"]) == (4, 3)
    assert -1 <= row["ci_low"] <= row["mean"] <= row["ci_high"] <= 1
    status = {
        (r["clip_id"], r["stage"]): (r["status"], r["reason"])
        for r in workflow.table("status").to_pylist()
    }
    assert status["notes.txt", "clips"] == ("skipped", "not_media")
    assert status["sample_0009.mp4", "media"] == ("failed", "unreadable")
    assert status["sample_0001.mp4", "scores/av_consistency/mini"] == ("ok", None)
    exported = workflow.folder / "results" / "exports"
    assert json.loads((exported / "summary.json").read_text())
    page = (workflow.folder / "results" / "report" / "index.html").read_text()
    assert "sample_0009.mp4" in page
    assert_costs(workflow, printed)
    made = (workflow.folder / "results" / "provenance.json").read_bytes()
    assert workflow.jobs() == {}, "nothing changed, so nothing is to be done"
    assert (workflow.folder / "results" / "provenance.json").read_bytes() == made
    assert_recorded(json.loads(made)["runs"])


def assert_recorded(runs: list[dict[str, Any]]) -> None:
    """The record says what ran, where, and with which weights."""
    (run,) = runs
    assert (run["outcome"], run["executor"]) == ("success", "local")
    assert run["command"].startswith("snakemake --snakefile ")
    assert "--configfile config.yaml --profile " in run["command"]
    assert None not in run["packages"].values()
    assert run["weights"].keys() == {"mini"}
    assert run["job_hosts"] == [run["host"]]
    assert run["devices"]
    assert run["jobs"] > 5


def assert_costs(workflow: Workflow, printed: str) -> None:
    """The run ends with a line and a table of its cost, a row for every job."""
    cost = workflow.table("cost").to_pylist()
    assert f"cost: {len(cost) - 1} jobs, " in printed
    assert {row["status"] for row in cost} == {"ok"}
    logs = workflow.folder.joinpath("results", "logs").rglob("*.log")
    assert len(cost) - 1 == len(list(logs)), "a row a job, and one of the run"
    (media,) = (row for row in cost if row["stage"] == "media")
    assert (media["processed"], media["reused"], media["part"]) == (4, 0, "0000")
    assert media["cpu_s"] > 0
    (video,) = (row for row in cost if row["stage"] == "embeddings/mini/video")
    assert video["processed"] == 4
    assert video["device"]
    assert not list(workflow.folder.joinpath("results/benchmarks/.running").glob("*.json"))
    command = [sys.executable, "-m", "concord", "progress"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    told = subprocess.check_output(command, cwd=workflow.folder, env=environment, text=True)
    assert "ended well" in told
    assert re.findall(r"(\d+) of (?!\1\b)\d+", told) == [], "all jobs and clips are done"


def test_hostile_names_in_an_odd_place_and_locale_reach_the_page(
    workflow: Workflow, clip: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = workflow.folder / "odd d'ir é"
    odd.mkdir()
    (odd / "venv").symlink_to(sys.prefix)
    for name in ("clips", "prompts.json"):
        (workflow.folder / name).rename(odd / name)
    workflow.folder, workflow.python = odd, str(odd / "venv" / "bin" / "python")
    monkeypatch.setenv("LC_ALL", "C")
    names = ["a b.mp4", "'q\"uote.mp4", "-n.mp4", "%03d.mp4", "*?[ab].mp4", "a|b;$HOME`id`.mp4"]
    names += [
        "back\\slash.mp4",
        "new\nline\ttab.mp4",
        "{shard}.mp4",
        "<b>&amp;.mp4",
        "日本 ấ é.mp4",
    ]
    made = clip(workflow.folder / "plain.mp4")
    for name in names:
        (workflow.folder / "clips" / name).write_bytes(made.read_bytes())
    bad = workflow.folder.joinpath("clips").as_posix().encode() + b"/\xff\xfe.mp4"
    Path(bad.decode("utf-8", "surrogateescape")).write_bytes(b"")
    workflow.run()
    status = {
        r["clip_id"]: (r["status"], r["reason"])
        for r in workflow.table("status").to_pylist()
        if r["stage"] == "media"
    }
    for name in names:
        assert status[name] == ("ok", None), name
    assert workflow.table("summary").num_rows > 0
    page = (workflow.folder / "results" / "report" / "index.html").read_text()
    assert "<b>&amp;.mp4" not in page


def test_a_users_mistakes_are_told_at_once_without_a_traceback(workflow: Workflow) -> None:
    workflow.config |= {"colections": {}, "media": {"fps": -1}, "tasks": ["video_txt"]}
    printed = workflow.run(ok=False)
    for word in ("colections", "media.fps", "video_txt", "video_text"):
        assert word in printed, word
    assert "Traceback" not in printed
    workflow.config = {"collections": {"own": "clip"}, "prompts": "prompt.json"}
    printed = workflow.run(ok=False)
    for word in ("collections.own", "clips", "prompts.json"):
        assert word in printed, word
    assert "Traceback" not in printed


def test_a_trial_run_of_two_collections_is_marked(workflow: Workflow) -> None:
    workflow.config["collections"]["other"] = "clips"
    workflow.config["limit"] = 2
    workflow.run()
    assert workflow.table("summary")["limited"].unique().to_pylist() == [True]
    assert workflow.table("media").num_rows == 4, "two clips of each"
    page = (workflow.folder / "results" / "report" / "index.html").read_text().lower()
    assert "trial" in page or "limited" in page


def test_two_runs_at_once_are_refused(workflow: Workflow) -> None:
    from filelock import FileLock

    (workflow.folder / "results").mkdir()
    media = "results/media/own/0000/media.parquet"
    with FileLock(workflow.folder / "results" / ".lock"):
        printed = workflow.run(media, ok=False)
    assert "another run is writing to this folder" in printed
    assert "Traceback" not in workflow.run(media), "another target than all ends well"


def test_the_snakemake_of_a_job_that_a_killed_run_submitted_removes_nothing(
    workflow: Workflow,
) -> None:
    """As a cluster starts it, late; it would remove the job's outputs before its script began."""
    target = "results/scores/synchrony/signal/own.parquet"
    workflow.run(target)
    scores = workflow.folder / target
    before = scores.read_bytes()
    job = ("--mode", "remote", "--target-jobs", "score_synchrony:collection=own", "--force")
    alone = ("--allowed-rules", "score_synchrony", "--nolock", "--cores", "1")
    workflow.environment["CONCORD_RUN"] = "an earlier one"
    printed = workflow.run(*job, *alone, ok=False)
    assert "another run has begun since this job was started" in printed
    assert scores.read_bytes() == before
    del workflow.environment["CONCORD_RUN"]
    workflow.run(*job, *alone)
    assert scores.exists()
    assert not [p for p in (workflow.folder / "results/.jobs").iterdir() if p.name != "run"]


def test_lint_is_clean(workflow: Workflow) -> None:
    done = subprocess.run(
        workflow.command("--lint"), cwd=workflow.folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
