"""What `concord plan` forecasts, by a probe and without, and holding it against the cost."""

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from concord.cli import app
from concord.commands.estimates import Cost
from concord.commands.forecast import (
    Spent,
    compare,
    forecasts,
    keep,
    kept,
    scaled,
    spent,
    together,
)
from concord.commands.probing import Measured, Probe
from concord.cost_table import COST
from concord.media.ffmpeg import find_ffmpeg
from concord.probe import AGAIN, _of_gpu
from concord.tables import EMBEDDINGS, write_table


def call(*words: str) -> Result:
    result = CliRunner().invoke(app, list(words))
    assert result.exit_code == 0, result.stderr
    return result


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a collection of two clips with sound, by mini and synchrony."""
    (tmp_path / "clips").mkdir()
    for name in ("0001.mp4", "0002.mp4"):
        make = [find_ffmpeg().path, "-v", "error", "-f", "lavfi", "-i", "testsrc2=s=64x64:d=1"]
        make += ["-f", "lavfi", "-i", "sine=duration=1", str(tmp_path / "clips" / name)]
        subprocess.run(make, check=True)
    prompts = [{"index": i, "video_prompt": f"see {i}", "audio_prompt": "hear"} for i in (1, 2)]
    (tmp_path / "prompts.json").write_text(json.dumps(prompts))
    content = {"collections": {"mine": "clips"}, "prompts": "prompts.json", "models": ["mini"]}
    tasks = {"tasks": ["video_text", "synchrony"]}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(content | tasks))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def row(printed: str, stage: str) -> list[str]:
    return next(line.split() for line in printed.splitlines() if line.startswith(stage))


def test_a_probe_measures_every_stage_of_ones_own_clips(folder: Path) -> None:
    printed = call("plan", "--seconds", "300", "--cores", "2").stdout
    for stage in ("media", "synchrony", "embeddings/mini/video", "embeddings/mini/text"):
        assert row(printed, stage)[-1] == "probe", printed
    assert row(printed, "scores")[-1] == "constants"
    stages = {stage.stage: stage for stage in kept(Path("results"))}
    media = stages["media"]
    assert 0 < media.low < media.core_hours < media.high < 0.1
    assert media.memory_mb
    assert media.memory_mb > 50
    assert stages["embeddings/mini/video"].memory_mb > stages["synchrony"].memory_mb / 2
    assert sorted(path.name for path in folder.iterdir()) == [
        *("clips", "config.yaml", "prompts.json", "results")
    ]


def test_the_time_of_a_probe_is_bounded_and_told(folder: Path) -> None:
    printed = call("plan", "--seconds", "1").stdout
    assert row(printed, "embeddings/mini/video")[-1] == "constants"
    assert "the time for the probe was up" in " ".join(printed.split())


def test_a_stage_is_scaled_by_what_was_measured() -> None:
    seen = Measured(start_s=3.0, work_s=4.0, size=10.0, memory_mb=200.0)
    probe = Probe(import_s=1.0, package_s=2.0)
    cost = Cost("embeddings/m/video", jobs=2, work_s=100.0, size=1000.0)
    unit = Cost("embeddings/m/video", jobs=0, work_s=2.0, size=20.0)
    found = scaled(cost, probe, seen, unit)
    assert (found.work_s, found.start_s, found.size, found.probed) == (200.0, 6.0, 500.0, True)
    assert found.core_hours == pytest.approx(212 / 3600)
    unseen = scaled(cost, probe, None, None)
    assert (unseen.work_s, unseen.start_s, unseen.probed) == (100.0, 1.0, False)


COST_OF_TWO = Cost("embeddings/m/video", 2, work_s=100.0, gpu_s=10.0, beside_s=20.0)
UNIT = Cost("embeddings/m/video", 0, work_s=2.0, gpu_s=0.2, beside_s=0.4)


def test_gpu_hours_rest_on_what_was_measured_on_a_gpu() -> None:
    seen = Measured(start_s=3.0, work_s=1.0, gpu_start_s=5.0, gpu_s=0.8, on_gpu=True)
    found = scaled(COST_OF_TWO, Probe(import_s=1.0, package_s=2.0), seen, UNIT)
    (stage, _), (without, _) = (forecasts([found], 4, gpus) for gpus in (1, 0))
    assert stage.gpu_hours == pytest.approx((10.0 * 0.8 / 0.2 + 2 * (1 + 2 + 5)) / 3600)
    assert stage.core_hours == pytest.approx((100.0 * 1 / 2 + 2 * (1 + 2 + 3)) / 3600), "beside it"
    assert (stage.probed, stage.high / stage.core_hours) == (True, 1.5)
    assert without.core_hours == pytest.approx((100.0 + 2 * 6) / 3600)
    assert not without.probed, "by constants"
    assert without.high == pytest.approx(3 * without.core_hours)


def test_what_was_measured_without_a_gpu_says_nothing_of_one() -> None:
    seen = Measured(start_s=3.0, work_s=4.0)
    found = scaled(COST_OF_TWO, Probe(import_s=1.0), seen, UNIT)
    (stage, _), (without, _) = (forecasts([found], 4, gpus) for gpus in (1, 0))
    assert (stage.probed, stage.high / stage.core_hours) == (False, pytest.approx(3.0))
    assert stage.gpu_hours == COST_OF_TWO.gpu_hours
    assert stage.core_hours == pytest.approx((20.0 + 2 * 4) / 3600)
    assert (without.probed, without.core_hours) == (True, pytest.approx((200.0 + 2 * 4) / 3600))


def test_a_probe_tells_how_long_it_held_a_gpu(tmp_path: Path) -> None:
    def rounds(device: str) -> list[tuple[Path, float]]:
        found = []
        for often, waited_s, computed_s in ((1, 0.5, 3.0), (AGAIN, 0.6, 2.4)):
            path = tmp_path / f"{often}.parquet"
            run = {"waited_s": waited_s, "computed_s": computed_s}
            write_table(path, EMBEDDINGS, [], run=run, computed=[{"device": device}])
            found.append((path, 10.0))
        return found

    told = _of_gpu(*rounds("NVIDIA H200"))
    assert told == {"on_gpu": True, "gpu_start_s": 6.5, "gpu_s": pytest.approx(3.0 / AGAIN)}
    assert _of_gpu(*rounds("cpu")) == {"on_gpu": False}


def test_a_model_for_the_cpu_takes_no_gpu(folder: Path) -> None:
    def gpu_hours(device: str) -> float:
        content = yaml.safe_load((folder / "config.yaml").read_text())
        content["models"] = {"mini": {"device": device}}
        (folder / "config.yaml").write_text(yaml.safe_dump(content))
        call("plan", "--no-probe", "--gpus", "1")
        return sum(stage.gpu_hours for stage in kept(Path("results")))

    assert gpu_hours("auto") > 0
    assert gpu_hours("cpu") == 0


def test_a_collection_out_of_time_is_taken_to_be_like_the_others() -> None:
    parts = [Measured(0.5, 2.0, paths=["a"]), Measured(0.5, 4.0, paths=["b"], memory_mb=9.0)]
    assert together(parts) == Measured(0.5, 6.0, paths=["a", "b"], memory_mb=9.0)
    assert together([]) is None


def test_more_cores_and_gpus_take_less_time() -> None:
    costs = [Cost("media", 100, 36_000.0), Cost("embeddings/m/video", 10, 36_000.0, gpu_s=360.0)]

    def wall_s(cores: int, gpus: int) -> float:
        return sum(stage.wall_s for stage in forecasts(costs, cores, gpus))

    assert wall_s(16, 0) < wall_s(2, 0) / 4
    assert wall_s(2, 1) < wall_s(2, 0)
    assert wall_s(2, 4) < wall_s(2, 1)
    assert sum(stage.gpu_hours for stage in forecasts(costs, 2, 0)) == 0


def job(processed: int, reused: int = 0, **content: Any) -> dict[str, Any]:
    """A row of a job of the media whose clips took a second each."""
    row = {"rule": "transcode_shard", "stage": "media", "status": "ok", "run": "last"}
    row |= {"processed": processed, "reused": reused, "cpu_s": float(processed), "wall_s": 100.0}
    return row | {"gpu_s": 0.0} | content


def leave(results: Path, *rows: dict[str, Any]) -> Mapping[str, Spent]:
    """Write the table of costs, and return what it says of each stage."""
    write_table(results / "tables/cost.parquet", COST, rows)
    return spent(results)


def ratio(costs: Mapping[str, Spent], clips: int) -> str:
    """The cost of media against a forecast of a second a clip."""
    forecast = forecasts([Cost("media", 2, float(clips), 0.0, clips=clips)], 2, 0)
    return compare(forecast[:1], costs).core


def test_a_remainder_is_not_held_against_the_forecast_for_all(tmp_path: Path) -> None:
    resumed, grown = job(100, 900), job(1, 1000, cpu_s=5.0)
    assert ratio(leave(tmp_path, resumed), 1000) == "—", "killed when nine tenths were done"
    assert ratio(leave(tmp_path, job(1000), grown), 2001) == "1.00", "by the whole shard alone"
    assert ratio(leave(tmp_path, job(10, cpu_s=50.0), grown), 1011) == "—", "too few to tell"
    assert ratio(leave(tmp_path, job(1000), job(1000)), 4000) == "1.00", "planned after growth"
    moved = job(0, rule="repack_shard", cpu_s=100.0) | {"processed": None, "reused": None}
    assert ratio(leave(tmp_path, job(1000), moved), 1000) == "1.00", "no work on clips"


def test_the_run_itself_is_compared_if_it_did_everything(tmp_path: Path) -> None:
    run = job(0, rule="snakemake", stage="workflow", cpu_s=6.4) | {"processed": None}
    forecast = forecasts([Cost("media", 2, 0.0)], 2, 0)
    *_, workflow = forecast
    assert compare([workflow], leave(tmp_path, run, job(5), job(5))).core == "1.00"
    earlier = leave(tmp_path, run, job(5), job(5, run="earlier"))
    assert compare([workflow], earlier).core == "—"
    assert compare([workflow], leave(tmp_path, run | {"status": "failed"}, job(5))).core == "—"


def test_stages_that_cannot_be_compared_are_left_out_of_the_sum(tmp_path: Path) -> None:
    forecast = forecasts(
        [Cost("media", 1, 10.0, 0.0, clips=10), Cost("synchrony", 1, 10.0, 0.0, clips=10)], 2, 0
    )
    other = {"rule": "measure_synchrony", "stage": "synchrony"}
    costs = leave(tmp_path, job(10, cpu_s=20.0), job(1, 9, **other))
    assert compare(forecast, costs).core == "2.00"


def test_gpu_hours_are_compared_too(folder: Path) -> None:
    results = Path("results")
    stage = Cost("embeddings/mini/video", 1, 900.0, 0.0, 100.0, 50.0, 0.0, clips=100)
    keep(results, forecasts([stage], 2, 1), 2, 1)
    costs = {"rule": "embed_media", "stage": stage.stage, "cpu_s": 100.0, "gpu_s": 150.0}
    leave(results, job(100, **costs))
    printed = row(call("cost").stdout, stage.stage)
    assert printed[-4:] == ["0.0139", "2.00", "0.0278", "1.50"]
    planned = call("plan", "--no-probe", "--gpus", "1").stdout
    assert row(planned, stage.stage)[-2] == "0.0417"
    assert "last cost (GPU-hours)" in planned
    assert "last cost (GPU-hours)" not in call("plan", "--no-probe", "--gpus", "0").stdout


def test_cost_is_held_against_the_forecast(folder: Path) -> None:
    results = Path("results")
    refused = CliRunner().invoke(app, ["cost"])
    assert refused.exit_code == 1
    assert "run snakemake first" in refused.stderr
    keep(results, forecasts([Cost("media", 1, 3600.0, 0.0, clips=50)], 2, 0), 2, 0)
    killed = {"status": "killed", "wall_s": None, "cpu_s": None, "processed": None}
    leave(results, job(50, cpu_s=5400.0, memory_mb=300.0), job(50) | killed)
    media = row(call("cost").stdout, "media")
    assert media[:3] == ["media", "2", "1.5000"]
    assert media[-2:] == ["1.0000", "1.50"]
    planned = row(call("plan", "--no-probe").stdout, "media")
    hours = kept(results)[0].core_hours
    assert planned[-2:] == ["1.5000", f"{1.5 / 50 * 2 / hours:.2f}"], "of two clips"
    kept_before = json.loads((results / "forecast.json").read_text())
    for stage in kept_before["stages"]:
        del stage["units"]  # as an earlier version wrote it
    (results / "forecast.json").write_text(json.dumps(kept_before))
    assert "No forecast was kept" in call("cost").stdout
    (results / "forecast.json").write_text("{")
    damaged = CliRunner().invoke(app, ["cost"])
    assert damaged.exit_code == 1
    assert "forecast.json" in damaged.stderr
