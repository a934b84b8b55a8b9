"""Failures are listed with their logs; retry forgets them and what rests on them, nothing else."""

import csv
import io
import os
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from concord.cli import app
from concord.clips import plan as planning
from concord.cluster import run_name
from concord.commands.failures import failures
from concord.commands.logs import log_of
from concord.config import Config
from concord.load import load
from concord.protocol import digest
from concord.resume import Resume, Row, finished_rows
from concord.tables import EMBEDDINGS, MEDIA, SYNCHRONY, Table, read_table

MEDIA_FILE = Path("results/media/mine/0000/media.parquet")
VIDEO = Path("results/embeddings/m/video/mine/0000-0009.parquet")
TEXT = Path("results/embeddings/m/text/prompts/0000-0009.parquet")
SYNC = Path("results/synchrony/mine/0000.parquet")
SUMMARY = Path("results/tables/summary.parquet")
OK = {"status": "ok"}


def failed(reason: str) -> Row:
    return {"status": "failed", "reason": reason, "detail": "the tool's words"}


def media_row(clip: str, video: str | None = None, audio: str | None = None) -> Row:
    """A row whose picture or sound failed for a reason; it is ok as long as one of them is."""
    both = failed(video) if video and audio else OK
    return {
        "clip_id": clip,
        "key": f"media of {clip}",
        **both,
        "video_status": "failed" if video else "ok",
        "video_reason": video,
        "audio_status": "failed" if audio else "ok",
        "audio_reason": audio,
    }


def finish(output: Path, table: Table, rows: list[Row]) -> None:
    with Resume(output, table) as resume:
        resume.add(*rows)
        resume.finish([row["key"] for row in rows])


def leave_unfinished(output: Path, table: Table, rows: list[Row]) -> None:
    """As a killed job does: rows in the journal, no table."""
    with Resume(output, table) as resume:
        resume.add(*rows)


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    """Four clips and prompts, planned; clip 5 has no prompt."""
    monkeypatch.chdir(tmp_path)
    Path("clips").mkdir()
    for index in range(1, 6):
        Path(f"clips/{index}.mp4").write_bytes(b"x")
    prompts = "".join(f"{index},see {index},hear {index}\n" for index in range(1, 5))
    Path("prompts.csv").write_text("index,video_prompt,audio_prompt\n" + prompts)
    Path("weights.pt").write_bytes(b"x")
    content = {
        "collections": {"mine": "clips"},
        "prompts": "prompts.csv",
        "models": {
            "m": {"entry": "open_clip", "architecture": "ViT-B-32", "checkpoint": "weights.pt"}
        },
    }
    Path("config.yaml").write_text(yaml.safe_dump(content))
    config = load(Path("config.yaml"))
    planning.plan(config)
    return config


@pytest.fixture
def run(config: Config) -> None:
    """A run in which 2.mp4 timed out, 3.mp4's sound crashed, 4.mp4 is damaged."""
    finish(
        MEDIA_FILE,
        MEDIA,
        [
            media_row("1.mp4"),
            media_row("2.mp4", "timeout", "timeout"),
            media_row("3.mp4", audio="crashed"),
            media_row("4.mp4", "unreadable", "unreadable"),
            media_row("5.mp4"),
        ],
    )
    embedded = {
        "1.mp4": failed("model_error"),
        "2.mp4": failed("timeout"),
        "3.mp4": OK,
        "4.mp4": failed("unreadable"),
        "5.mp4": OK,
    }
    finish(VIDEO, EMBEDDINGS, [{"id": c, "key": f"v{c}", **r} for c, r in embedded.items()])
    sync = {**embedded, "1.mp4": OK, "3.mp4": failed("crashed")}
    finish(SYNC, SYNCHRONY, [{"clip_id": c, "key": f"s{c}", **r} for c, r in sync.items()])
    finish(TEXT, EMBEDDINGS, [{"id": "t", "key": "t", **failed("model_error")}])
    SUMMARY.parent.mkdir(parents=True)
    SUMMARY.write_bytes(b"summary")


def left(file: Path, table: Table) -> set[str]:
    name = "id" if "id" in table.names else "clip_id"
    return {row[name] for row in finished_rows(file, table)}


def retry(*words: str) -> str:
    result = CliRunner().invoke(app, ["retry", *words])
    assert result.exit_code == 0, result.stderr
    return result.stdout


@pytest.mark.usefixtures("run")
def test_retry_forgets_transient_failures_and_what_rests_on_them() -> None:
    retry("--yes")
    assert left(MEDIA_FILE, MEDIA) == {"1.mp4", "4.mp4", "5.mp4"}
    assert left(VIDEO, EMBEDDINGS) == {"3.mp4", "4.mp4", "5.mp4"}, "3.mp4's picture was fine"
    assert left(SYNC, SYNCHRONY) == {"1.mp4", "4.mp4", "5.mp4"}
    assert left(TEXT, EMBEDDINGS) == set()
    assert not any(file.exists() for file in (MEDIA_FILE, VIDEO, SYNC, TEXT, SUMMARY))


@pytest.mark.usefixtures("run")
def test_the_next_job_does_only_the_forgotten_rows() -> None:
    retry("--yes")
    with Resume(MEDIA_FILE, MEDIA) as resume:
        keys = [f"media of {n}.mp4" for n in range(1, 6)]
        assert [key for key in keys if key not in resume.done] == [
            "media of 2.mp4",
            "media of 3.mp4",
        ]


@pytest.mark.usefixtures("run")
def test_all_takes_permanent_failures_too() -> None:
    retry("--yes", "--all")
    assert left(MEDIA_FILE, MEDIA) == {"1.mp4", "5.mp4"}
    assert left(VIDEO, EMBEDDINGS) == {"3.mp4", "5.mp4"}


@pytest.mark.usefixtures("run")
def test_stage_and_reason_narrow_the_choice() -> None:
    retry("--yes", "--stage", "embeddings", "--reason", "model_error")
    assert left(MEDIA_FILE, MEDIA) == {f"{n}.mp4" for n in range(1, 6)}
    assert left(VIDEO, EMBEDDINGS) == {f"{n}.mp4" for n in range(2, 6)}
    assert MEDIA_FILE.exists()
    assert SYNC.exists()


def test_jobs_that_a_killed_run_left_on_a_cluster_are_ended_first(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not waited for; what stands in for SLURM here has one of them until it is cancelled."""
    job, tools = tmp_path / "job", tmp_path / "bin"
    tools.mkdir()
    job.write_text(f"7 {run_name(config.results)}_0b1c\n")
    for name, script in {"squeue": f'cat "{job}"', "scancel": f': > "{job}"'}.items():
        (tools / name).write_text(f"#!/bin/sh\n{script}\n")
        (tools / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    mark = config.results / ".slurm"
    mark.touch()
    assert "nothing to try again" in retry()
    assert not job.read_text()
    assert not mark.exists()


@pytest.mark.usefixtures("run")
def test_retry_asks_and_takes_no_for_an_answer() -> None:
    result = CliRunner().invoke(app, ["retry"], input="n\n")
    assert "timeout" in result.stdout
    assert MEDIA_FILE.exists()
    assert SUMMARY.exists()


@pytest.mark.usefixtures("config")
def test_rows_of_a_killed_shard_are_found_in_its_journal() -> None:
    leave_unfinished(
        MEDIA_FILE, MEDIA, [media_row("1.mp4"), media_row("2.mp4", "timeout", "timeout")]
    )
    retry("--yes")
    assert left(MEDIA_FILE, MEDIA) == {"1.mp4"}
    assert "nothing to try again" in retry("--yes")


@pytest.mark.usefixtures("config")
def test_stale_rows_of_a_stage_whose_output_is_gone_are_forgotten_too() -> None:
    finish(MEDIA_FILE, MEDIA, [media_row("2.mp4", "timeout", "timeout")])
    leave_unfinished(VIDEO, EMBEDDINGS, [{"id": "2.mp4", "key": "v", **failed("timeout")}])
    retry("--yes")
    assert left(VIDEO, EMBEDDINGS) == set()


@pytest.mark.usefixtures("run")
def test_nothing_is_left_behind_where_nothing_is_forgotten() -> None:
    before = {path: path.stat().st_mtime_ns for path in Path("results").rglob("*.parquet")}
    assert "nothing to try again" in retry("--yes", "--reason", "memory_limit")
    assert {path: path.stat().st_mtime_ns for path in Path("results").rglob("*.parquet")} == before
    assert not list(Path("results").rglob("*.journal"))


@pytest.mark.usefixtures("config")
def test_unknown_words_are_refused_together() -> None:
    result = CliRunner().invoke(app, ["retry", "--stage", "medai", "--reason", "timeuot"])
    assert result.exit_code == 1
    assert "did you mean 'media'?" in result.stderr
    assert "did you mean 'timeout'?" in result.stderr


@pytest.mark.usefixtures("run")
def test_failures_tell_the_first_stage_the_reason_and_the_log() -> None:
    result = CliRunner().invoke(app, ["failures", "--csv"])
    rows = {row["clip"]: row for row in csv.DictReader(io.StringIO(result.stdout))}
    assert rows["2.mp4"]["stage"] == "media"
    assert rows["2.mp4"]["log"] == "results/logs/transcode_shard/mine.0000.log"
    assert rows["1.mp4"]["stage"] == "embeddings/m/video"
    assert rows["1.mp4"]["log"] == "results/logs/embed_media/m.video.mine.0000-0009.log"
    assert rows["1.mp4"]["detail"] == "the tool's words"
    assert rows["5.mp4"]["reason"] == "no_prompt"
    assert rows["t"]["collection"] == "prompts"
    shown = CliRunner().invoke(app, ["failures", "--stage", "synchrony"]).stdout
    assert "3.mp4" in shown
    assert "no_prompt" not in shown


def test_failures_as_csv_hold_no_formula(config: Config) -> None:
    finish(MEDIA_FILE, MEDIA, [media_row("=1+1.mp4", "timeout", "timeout")])
    result = CliRunner().invoke(app, ["failures", "--csv"])
    assert {row["clip"] for row in csv.DictReader(io.StringIO(result.stdout))} == {
        "5.mp4",
        "'=1+1.mp4",
    }


def test_failures_call_a_text_by_its_prompt(config: Config) -> None:
    finish(TEXT, EMBEDDINGS, [{"id": digest("see 2"), "key": "t", **failed("model_error")}])
    found = {failure.clip for failure in failures(config, "mine")}
    assert "(prompt 2)" in found
    assert digest("see 2") not in found


def test_failures_of_an_unfinished_run_are_those_so_far(config: Config) -> None:
    assert {failure.stage for failure in failures(config, "mine")} == {"prompts"}
    finish(MEDIA_FILE, MEDIA, [media_row("2.mp4", "timeout", "timeout")])
    assert {failure.stage for failure in failures(config, "mine")} == {"prompts", "media"}


@pytest.mark.usefixtures("config")
def test_nothing_has_run_yet() -> None:
    for path in sorted(Path("results").rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    assert CliRunner().invoke(app, ["failures"]).exit_code == 0
    assert "nothing to try again" in retry("--yes")


@pytest.mark.parametrize(
    ("stage", "owner", "shard", "log"),
    [
        ("media", "c", "0000", "transcode_shard/c.0000.log"),
        ("synchrony", "c", "0001", "measure_synchrony/c.0001.log"),
        ("embeddings/m/audio", "c", "0000-0009", "embed_media/m.audio.c.0000-0009.log"),
        ("embeddings/m/text", "prompts", "0000", "embed_texts/m.prompts.0000.log"),
        ("scores/video_text/m", "c", None, "score_task/video_text.m.c.log"),
        ("scores/retrieval/m/video_to_text", "c", None, "score_task/retrieval.m.c.log"),
        ("scores/synchrony/signal", "c", None, "score_synchrony/c.log"),
    ],
)
def test_logs_are_where_the_rules_write_them(
    stage: str, owner: str, shard: str | None, log: str
) -> None:
    assert log_of(Path("results"), stage, owner, shard) == Path("results/logs") / log
    rule = log.split("/")[0]
    rules = "".join(path.read_text() for path in Path(__file__).parents[2].glob("rules/*.smk"))
    assert f"rule {rule}:" in rules
    assert f"<results>/logs/{rule}/" in rules


def test_no_log_for_what_is_looked_at_without_a_job() -> None:
    assert log_of(Path("results"), "clips", "c", None) is None


def test_forgotten_rows_are_gone_from_the_table_that_is_made_next(run: None) -> None:
    retry("--yes")
    with Resume(VIDEO, EMBEDDINGS) as resume:
        resume.add({"id": "2.mp4", "key": "v2.mp4", **OK})
        resume.finish(["v2.mp4", "v3.mp4"])
    assert read_table(VIDEO, EMBEDDINGS)["status"].to_pylist() == ["ok", "ok"]
