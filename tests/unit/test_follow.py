"""How far a run is, as seen from the results folder."""

import json
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from planned_clips import fill, write_prompts
from typer.testing import CliRunner

from concord import reporter
from concord.cli import app
from concord.clips.plan import plan
from concord.config import Config
from concord.follow import Stage, stages
from concord.layout import Layout
from concord.models.catalogue import spec
from concord.progress import Progress, Said, last_said
from concord.run_state import begin, end, last_run, marks


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """Two shards of three clips, of two prompts, by mini."""
    names = [f"sample_{i:04d}.mp4" for i in range(1, 7)]
    fill(tmp_path / "clips", *names)
    content: dict[str, Any] = {"collections": {"c": tmp_path / "clips"}, "clips": {"shard_size": 3}}
    content |= {"prompts": write_prompts(tmp_path, 1, 2), "models": ["mini"]}
    content |= {"tasks": ["video_text", "synchrony"], "results": tmp_path / "results"}
    config = Config.model_validate(content)
    plan(config)
    return Layout(config, {name: spec(config, name) for name in config.models})


def stage(layout: Layout, name: str) -> Stage:
    return next(found for found in stages(layout) if found.name == name)


def done(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("")


def at_work(layout: Layout, output: Path, log: str) -> None:
    """Leave the mark and the log of a job that runs."""
    path = layout.results / "job.log"
    path.write_text(log)
    mark = {"outputs": [str(output)], "log": str(path), "rule": "x", "wildcards": {}}
    (marks(layout.results) / "x.json").write_text(json.dumps(mark))


def test_nothing_everything_and_what_is_out_of_date(layout: Layout) -> None:
    media = stage(layout, "media")
    assert (media.jobs_done, media.jobs, media.clips_done, media.clips) == (0, 2, 0, 6)
    for table in layout.media("c"):
        done(table)
    media = stage(layout, "media")
    assert (media.jobs_done, media.clips_done, media.left_s) == (2, 6, None)
    assert stage(layout, "embeddings/mini/text").clips == 4, "two prompts of two texts"
    done(layout.synchrony("c")[0])
    assert stage(layout, "synchrony").clips_done == 3
    later = time.time() + 10
    os.utime(layout.media("c")[0], (later, later))
    assert stage(layout, "synchrony").clips_done == 0, "older than what it is made from"
    assert stage(layout, "scores").clips is None


def test_files_beside_the_clips_do_not_stand_for_media(tmp_path: Path) -> None:
    """Of two models that embed images too, the second's video is as out of date as the first's."""
    fill(tmp_path / "clips", "a.mp4", "b.mp4")
    fill(tmp_path / "images", "a.png", "b.png")
    collection = {"path": tmp_path / "clips", "image": tmp_path / "images"}
    content: dict[str, Any] = {"collections": {"c": collection}, "tasks": ["features"]}
    config = Config.model_validate(content | {"results": tmp_path / "results"})
    plan(config)
    pictures = replace(spec(config, "mini"), modalities=("video", "image"))
    layout = Layout(config, {"one": pictures, "two": pictures})
    assert layout.embedded("c")[1:3] == [("one", "image"), ("two", "video")]
    for model, modality in layout.embedded("c"):
        done(layout.embeddings(model, modality, "c")[0])
    later = time.time() + 10
    done(layout.media("c")[0])
    os.utime(layout.media("c")[0], (later, later))
    found = {s.name: s.jobs_done for s in stages(layout) if s.name.startswith("embeddings/")}
    assert found == {
        f"embeddings/{model}/{modality}": int(modality == "image")
        for model, modality in layout.embedded("c")
    }


def test_a_job_at_work_counts_what_it_processes(layout: Layout) -> None:
    """Of three clips one is reused: the rate is that of the others."""
    begin(layout.results)
    first = layout.media("c")[0]
    at_work(layout, first, "media 0000: clips: 1 of 2, 0.5 a second, 2 s left\n")
    media = stage(layout, "media")
    assert (media.running, media.clips_done, media.rate) == (1, 2, 0.5)
    assert media.left_s == pytest.approx((6 - 2) / 0.5)
    text = reporter.line(stages(layout))
    assert text == "progress: media 2 of 6, 0.5 a second, 8.0 s left"
    at_work(layout, first, "loading\n")
    assert reporter.line(stages(layout)) == "progress: media 0 of 6"


def test_what_a_job_says_is_read_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = Progress("mini video: [1] 3 of 4", 8)
    told._said_s -= 10
    told._start_s -= 10
    told.step(4)
    log = tmp_path / "x.log"
    log.write_text("x" * 20_000 + "\n" + capsys.readouterr().err + "a warning\nhalf: 9 of")
    assert last_said(log) == Said(4, 8, 0.4)
    assert last_said(tmp_path / "none.log") is None


def test_the_command_says_what_became_of_the_run(layout: Layout, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    content = layout.config.model_dump(mode="json", include={"collections", "prompts", "results"})
    path.write_text(json.dumps(content | {"models": ["mini"], "tasks": ["synchrony"]}))

    def printed() -> str:
        result = CliRunner().invoke(app, ["progress", "--config", str(path)])
        assert result.exit_code == 0, result.stderr
        return result.stdout

    assert "No run yet." in printed()
    begin(layout.results)
    now = printed()
    assert "Running for" in now
    media = next(line.split() for line in now.splitlines() if line.startswith("media"))
    assert media == ["media", "0", "of", "2", "0", "of", "6"]
    end(layout.results, success=True)
    assert "ended well" in printed()
    begin(layout.results)
    run = marks(layout.results) / "run"
    run.write_text(json.dumps(json.loads(run.read_text()) | {"pid": 2**22 + 1}))
    assert "was killed" in printed()
    elsewhere = json.loads(run.read_text()) | {"node": "another"}
    run.write_text(json.dumps(elsewhere))
    assert (last := last_run(layout.results))
    assert last.status == "running", "of another machine only its silence tells"
    os.utime(run, (0, 0))
    assert "was killed" in printed()


def test_before_a_plan_the_command_says_so(tmp_path: Path) -> None:
    fill(tmp_path / "clips", "0001.mp4")
    content = {"collections": {"c": str(tmp_path / "clips")}, "models": [], "tasks": ["synchrony"]}
    path = tmp_path / "config.yaml"
    path.write_text(json.dumps(content | {"results": str(tmp_path / "results")}))
    result = CliRunner().invoke(app, ["progress", "--config", str(path)])
    assert result.exit_code == 1
    assert "nothing is planned yet" in result.stderr


@pytest.mark.parametrize("pattern", ["clips/c/clips.parquet", "prompts/*/plan/0000.parquet"])
def test_a_damaged_plan_is_named(layout: Layout, tmp_path: Path, pattern: str) -> None:
    """And is not taken for a plan that is still to be made."""
    path = tmp_path / "config.yaml"
    path.write_text(layout.config.model_dump_json(exclude_none=True))
    (table,) = layout.results.glob(pattern)
    table.write_bytes(table.read_bytes()[:50])
    result = CliRunner().invoke(app, ["progress", "--config", str(path)])
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit), "a message, and no traceback"
    assert str(table) in result.stderr.replace("\n", "")
    assert "nothing is planned yet" not in result.stderr
