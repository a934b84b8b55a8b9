"""The command line: what it prints, where, and how it exits."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner, Result

from concord.cli import app
from concord.commands import estimates
from concord.commands.estimates import (
    CPU_GFLOP_PER_S,
    Footage,
    embedding_cost,
    footage,
    gflop,
)
from concord.commands.forecast import kept
from concord.commands.init import collection_names
from concord.commands.terminal import printable
from concord.config_docs import ROOT
from concord.load import load
from concord.media.ffmpeg import Ffmpeg, find_ffmpeg
from concord.media.file import MAX_PIXELS
from concord.models.catalogue import spec

HOSTILE = [
    "with space",
    'it\'s "quoted"',
    "colon: and # hash",
    "Ünï 漢字 🎬",
    "- dash",
    "*star [ab]",
    "$HOME",
    "back\\slash",
    "new\nline",
    "tab\there",
    "no",
    "{a}",
]


def call(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


def process(*words: str, cwd: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "concord", *words],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with one collection of two (empty) clips."""
    (tmp_path / "clips").mkdir()
    for name in ("0001.mp4", "0002.mp4"):
        (tmp_path / "clips" / name).write_bytes(b"no video")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def configure(**content: object) -> None:
    base = {"collections": {"mine": "clips"}, "tasks": ["synchrony"], "models": []}
    Path("config.yaml").write_text(yaml.safe_dump({**base, **content}))


def test_exit_status_and_streams(folder: Path) -> None:
    assert process("version", cwd=folder).returncode == 0
    missing = process("check", cwd=folder)
    assert missing.returncode == 1
    assert missing.stdout == ""
    assert missing.stderr.startswith("error: config.yaml: no such file")
    assert "Traceback" not in missing.stderr
    wrong = process("chek", cwd=folder)
    assert wrong.returncode == 2
    assert "check" in wrong.stderr


def test_help_is_light_and_names_every_command(folder: Path) -> None:
    code = (
        "import sys; from concord.cli import app\n"
        "try: app(['--help'])\nexcept SystemExit: pass\n"
        "heavy = {'torch', 'pandas', 'pyarrow', 'numpy', 'pydantic'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    commands = "check init models tasks plan cost progress failures retry score parity summary"
    assert all(command in done.stdout for command in commands.split())
    assert "Exit status" in done.stdout


def test_a_closed_pipe_is_no_error(folder: Path) -> None:
    code = "import sys; sys.stdin.read(); from concord.cli import main; main()"
    models = subprocess.Popen(
        [sys.executable, "-c", code, "models"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert models.stdin
    assert models.stdout
    models.stdout.close()
    models.stdin.close()
    assert models.stderr
    assert models.stderr.read() == b""
    models.wait(timeout=300)


def test_check_says_all_and_exits_1(folder: Path) -> None:
    configure(colections={}, media={"fps": "x"}, collections={"mine": "clips", "other": "nowhere"})
    result = call("check")
    assert result.exit_code == 1
    for part in ("colections", "media.fps", "nowhere", "problems"):
        assert part in result.stderr


def test_check_is_content_and_notes_what_may_surprise(folder: Path) -> None:
    configure(limit=1)
    result = call("check")
    assert result.exit_code == 0, result.stderr
    assert "no problems" in result.stdout
    assert "trial run" in result.stdout
    configure(tasks=["features"], models=["mini"])
    assert "no collection has the key label" in call("check").stdout.replace("\n", " ")


def test_the_shipped_configuration_is_fine_before_the_demo_is_made(folder: Path) -> None:
    Path("config.yaml").write_text((ROOT / "config.yaml").read_text())
    result = call("check")
    assert "faithful, late, careless" in result.stdout or "mini.safetensors" in result.stderr


def test_messages_show_hostile_names_without_control_characters(folder: Path) -> None:
    configure(collections={"mine": "cl\x1b[31m\tips [red]"})
    result = call("check")
    assert "\x1b[31m" not in result.stderr
    assert "\\x1b[31m\\tips [red]" in result.stderr
    assert printable("a\nb\x07é") == "a\nb\\x07é"


@pytest.mark.parametrize("name", HOSTILE)
def test_init_then_load_finds_the_same_folder(folder: Path, name: str) -> None:
    clips = folder / "in" / name
    clips.mkdir(parents=True)
    (clips / "0001.mp4").write_bytes(b"x")
    (folder / "p [1]: x.json").write_text(
        '[{"index": 1, "video_prompt": "a", "audio_prompt": "b"}]'
    )
    result = call("init", "--prompts", "p [1]: x.json", "-o", "my.yaml", "--", f"in/{name}")
    assert result.exit_code == 0, result.stderr
    config = load_without_weights(Path("my.yaml"))
    (collection,) = config["collections"].values()
    assert (folder / collection).resolve() == clips.resolve()
    assert config["prompts"] == "p [1]: x.json"
    assert "--configfile my.yaml" in result.stdout


def load_without_weights(path: Path) -> dict[str, dict[str, str]]:
    """The mapping of a valid configuration; the weights of mini play no part here."""
    content = yaml.safe_load(path.read_text())
    load({**content, "models": [], "tasks": "synchrony"})
    result: dict[str, dict[str, str]] = content
    return result


def test_init_takes_folders_that_are_not_utf8(folder: Path) -> None:
    name = os.fsdecode(b"caf\xe9")
    (folder / name).mkdir()
    (folder / name / "0001.mp4").write_bytes(b"x")
    done = process("init", name, cwd=folder)
    assert done.returncode == 0, done.stderr
    collections = yaml.safe_load(Path("config.yaml").read_text())["collections"]
    assert list(collections.values()) == [name]


def test_init_does_not_overwrite(folder: Path) -> None:
    Path("config.yaml").write_text("mine")
    refused = call("init", "clips", "nowhere")
    assert refused.exit_code == 1
    assert "--force" in refused.stderr
    assert "nowhere" in refused.stderr
    assert Path("config.yaml").read_text() == "mine"
    assert call("init", "--force", "clips").exit_code == 0
    assert "clips" in Path("config.yaml").read_text()


def test_collection_names_are_short_distinct_and_valid() -> None:
    def names(*paths: str) -> list[str]:
        return collection_names([Path(path) for path in paths])

    assert names("/a/kling", "/a/sora") == ["kling", "sora"]
    assert names("/a/kling/videos", "/a/sora/videos") == ["kling-videos", "sora-videos"]
    assert names("/a/漢字", "/b/日本") == ["a", "b"]
    assert names("/漢字", "/日本") == ["collection-1", "collection-2"]
    assert names("/a/no") == ["no"]
    assert len({name.lower() for name in names("/a/X", "/b/x")}) == 2
    assert names("/a/clips.csv") == ["clips"]
    assert all(len(name) <= 64 for name in names("/" + "x" * 200, "/" + "x" * 201))


def test_models_and_tasks_are_listed_with_licences_and_needs() -> None:
    models = call("models").stdout
    assert "CC-BY-NC-4.0" in models
    assert "licence" in models
    assert "NEVER RAN HERE" in models
    protocols = models.split("Named protocols")[1]
    (row,) = (line for line in protocols.splitlines() if line.startswith("clip-batch-script"))
    assert "normalisation: imagenet" in row
    assert "reads: originals" in row
    tasks = call("tasks").stdout
    assert "synchrony" in tasks
    assert "no model" in tasks


def test_plan_counts_and_writes_its_forecast_alone(folder: Path) -> None:
    configure(clips={"shard_size": 1})
    (folder / "clips" / "notes.txt").write_text("x")
    result = call("plan", "--no-probe")
    assert result.exit_code == 0, result.stderr
    row = next(line.split() for line in result.stdout.splitlines() if line.startswith("mine"))
    assert row[:4] == ["mine", "2", "1", "2"], "clips, not processed, shards"
    media = next(line.split() for line in result.stdout.splitlines() if line.startswith("media"))
    assert media[1] == "2"
    assert float(media[2]) > 0
    assert [path.name for path in Path("results").iterdir()] == ["forecast.json"]


def test_the_cost_of_imagebind_is_that_of_all_its_views(folder: Path) -> None:
    """One view of the vision trunk takes 334.6 GFLOP, and a video has 15."""
    configure(models=["imagebind"], tasks=["video_text"], prompts="p.json")
    Path("p.json").write_text('[{"index": 1, "video_prompt": "a", "audio_prompt": "b"}]')
    config = load(Path("config.yaml"))
    model = spec(config, "imagebind")
    assert gflop(model, "video") == pytest.approx(334.6, rel=0.01)
    clips = Footage(clips=1000, seconds=0, megapixels=0, sampled=1)
    cost = embedding_cost(model, "video", clips, jobs=0)
    assert cost.core_hours == pytest.approx(1000 * 15 * 334.6 / CPU_GFLOP_PER_S / 3600, rel=0.01)


def test_check_leaves_no_results_folder(folder: Path) -> None:
    (folder / "weights.pt").write_bytes(b"x")
    mine = {"entry": "open_clip", "architecture": "ViT-B-32", "checkpoint": "weights.pt"}
    configure(models={"mine": mine})
    assert call("check").exit_code == 0
    assert not Path("results").exists()


def test_plan_opens_no_other_file_than_the_clip(folder: Path) -> None:
    clip = folder / "clips/real.mp4"
    make = [find_ffmpeg().path, "-v", "error", "-f", "lavfi", "-i", "testsrc2=s=64x64:d=1"]
    subprocess.run([*make, str(clip)], check=True)
    assert footage([str(clip)], MAX_PIXELS).sampled == 1
    playlist = folder / "clips/play.mp4"
    playlist.write_text("ffconcat version 1.0\nfile real.mp4\n" + "# as long as a clip\n" * 200)
    assert footage([str(playlist)], MAX_PIXELS).sampled == 0


def test_what_plan_opens_clips_with_has_limits(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool = folder / "ffmpeg"
    tool.write_text(f'#!/bin/sh\nulimit -v > "{folder}/memory"\necho "$@" > "{folder}/words"\n')
    tool.chmod(0o755)
    monkeypatch.setattr(estimates, "find_ffmpeg", lambda: Ffmpeg(str(tool), "1", "system"))
    assert footage([str(folder / "clips/other.mp4")], MAX_PIXELS).sampled == 0
    assert int((folder / "memory").read_text()) <= estimates.PROBE_MEMORY // 1024
    assert f"-max_pixels {MAX_PIXELS} " in (folder / "words").read_text()


def test_a_damaged_table_of_costs_keeps_no_forecast_from_being_made(folder: Path) -> None:
    configure()
    costs = Path("results/tables/cost.parquet")
    costs.parent.mkdir(parents=True)
    costs.write_bytes(b"PAR1 of other days")
    planned = call("plan", "--no-probe")
    assert planned.exit_code == 0
    assert f"{costs}: damaged" in planned.stderr + planned.stdout
    assert kept(Path("results"))
    result = call("cost")
    assert (result.exit_code, type(result.exception)) == (1, SystemExit)
    assert f"{costs}: damaged" in result.stderr


def test_summary_before_a_run(folder: Path) -> None:
    configure()
    result = call("summary")
    assert result.exit_code == 1
    assert "run snakemake first" in result.stderr
