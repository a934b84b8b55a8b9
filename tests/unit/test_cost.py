"""What jobs note of their cost, and the table that is made of it."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from planned_clips import fill

from concord.clips.plan import plan
from concord.config import Config
from concord.config_docs import ROOT
from concord.cost_table import COST
from concord.layout import Layout
from concord.models.catalogue import spec
from concord.report.cost import line, record, words
from concord.run_state import begin, last_run, marks
from concord.tables import read_table
from concord.usage import cpu_s, host_kind

JOB = """
import os, subprocess, sys
from types import SimpleNamespace
from concord.job import job
from concord.tables import SYNCHRONY, write_table
from pathlib import Path

class Wildcards(SimpleNamespace):
    def items(self):
        return vars(self).items()

output = "results/synchrony/c/0000.parquet"
snakemake = SimpleNamespace(
    rule="measure_synchrony", wildcards=Wildcards(collection="c", shard="0000"), threads=2,
    resources={}, output=[output], log=["results/logs/measure_synchrony/c.0000.log"],
)
with job(snakemake):
    subprocess.run([sys.executable, "-c", "import time\\nwhile time.process_time() < .4: pass"])
    write_table(Path(output), SYNCHRONY, [], run={"processed": 3, "reused": 1})
    exec(sys.argv[1])
"""


def layout(folder: Path, **options: Any) -> Layout:
    """The layout of one planned collection of two clips, a shard each."""
    fill(folder / "clips", "0001.mp4", "0002.mp4")
    content = {"collections": {"c": folder / "clips"}, "clips": {"shard_size": 1}}
    content |= {"models": ["mini"], "tasks": ["synchrony"], "results": folder / "results"}
    config = Config.model_validate(content | options)
    plan(config)
    return Layout(config, {name: spec(config, name) for name in config.models})


def run_job(folder: Path, last_words: str = "") -> subprocess.CompletedProcess[bytes]:
    (folder / "results/logs/measure_synchrony").mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-c", JOB, last_words]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=folder, env=environment, timeout=300, check=False)


def rows(folder: Path) -> list[dict[str, Any]]:
    return read_table(folder / "results/tables/cost.parquet", COST).to_pylist()


@pytest.mark.parametrize(
    ("last_words", "status"),
    [("", "ok"), ("1 / 0", "failed"), ("import os; os.kill(os.getpid(), 9)", "killed")],
)
def test_a_job_counts_its_children_however_it_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, last_words: str, status: str
) -> None:
    planned = layout(tmp_path)
    monkeypatch.chdir(tmp_path)
    begin(planned.results)
    done = run_job(tmp_path, last_words)
    assert (done.returncode == 0) == (status == "ok")
    record(planned, success=status == "ok", cores=2)
    job, run = rows(tmp_path)
    assert (job["rule"], job["stage"], job["source"], job["part"]) == (
        *("measure_synchrony", "synchrony", "c", "0000"),
    )
    assert (job["status"], job["run"], run["rule"]) == (status, "last", "snakemake")
    if status == "killed":
        assert job["cpu_s"] is None, "nobody knows"
        return
    assert job["cpu_s"] > 0.4, "that of the child process"
    assert job["wall_s"] >= job["cpu_s"] / 2
    assert job["memory_mb"] > 20
    assert (job["processed"], job["reused"], job["gpu_s"]) == (3, 1, 0)
    begin(planned.results)
    record(planned, success=True, cores=2)
    again = [row["run"] for row in rows(tmp_path) if row["rule"] != "snakemake"]
    assert again == (["earlier"] if status == "ok" else []), "a failure is of its run alone"


def note(planned: Layout, rule: str, output: str, **content: Any) -> Path:
    """Write a job's note as if it had run; returns its path."""
    path = planned.results / "benchmarks" / rule / f"{Path(output).stem}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    known = {
        "rule": rule,
        "wildcards": {"shard": Path(output).stem},
        "outputs": [output],
        "host": "2 x CPU",
    }
    known |= {"status": "ok", "run": None, "wall_s": 2.0, "cpu_s": 1.0, "gpu_s": 0.0}
    known |= {"memory_mb": 100.0, "ended": time.time(), "threads": 1, "gpus": 0}
    path.write_text(json.dumps(known | content))
    return path


def test_the_run_is_counted_without_its_own_jobs_and_those_alone(tmp_path: Path) -> None:
    """Jobs on other machines of a cluster are no part of its process, however alike these are."""
    planned = layout(tmp_path)
    begin(planned.results)
    run = last_run(planned.results)
    assert run is not None
    tables = [str(planned.results / f"synchrony/c/{shard}.parquet") for shard in ("0000", "0001")]
    known = {"run": run.name, "host": host_kind()}
    note(planned, "measure_synchrony", tables[0], cpu_s=0.5, child=True, **known)
    note(planned, "measure_synchrony", tables[1], cpu_s=1e6, child=False, **known)
    before = cpu_s()
    record(planned, success=True, cores=None)
    own = next(row["cpu_s"] for row in rows(tmp_path) if row["rule"] == "snakemake")
    assert before - 0.5 <= own <= cpu_s() - 0.5


def test_a_job_knows_whether_the_run_started_it(tmp_path: Path) -> None:
    begin(tmp_path / "results")
    run = marks(tmp_path / "results") / "run"
    path = tmp_path / "results/benchmarks/measure_synchrony/c.0000.json"

    def child() -> bool:
        assert run_job(tmp_path).returncode == 0
        found: bool = json.loads(path.read_text())["child"]
        return found

    assert child()
    led = json.loads(run.read_text())
    run.write_text(json.dumps(led | {"node": "another"}))
    assert not child()
    run.write_text(json.dumps(led | {"pid": 2**22 + 1}))
    assert not child()


def test_a_job_that_is_not_planned_any_more_has_no_row(tmp_path: Path) -> None:
    planned = layout(tmp_path)
    for shard in ("0000", "0001", "0002"):
        note(planned, "measure_synchrony", str(planned.results / f"synchrony/c/{shard}.parquet"))
    note(planned, "embed_media", str(planned.results / "embeddings/gone/video/c/0000.parquet"))
    note(planned, "export_formats", str(planned.results / "exports/summary.json"))
    (planned.results / "benchmarks" / "cut.json").write_text('{"rule": ')
    record(planned, success=True, cores=1)
    found = [row["rule"] for row in rows(tmp_path)]
    assert sorted(found) == [
        "export_formats",
        "measure_synchrony",
        "measure_synchrony",
        "snakemake",
    ]


def test_a_benchmark_counts_if_it_is_of_the_same_execution(tmp_path: Path) -> None:
    planned = layout(tmp_path)
    first, second = (
        note(planned, "measure_synchrony", str(planned.results / f"synchrony/c/{shard}.parquet"))
        for shard in ("0000", "0001")
    )
    header = "s\th:m:s\tmax_rss\tmax_vms\tmax_uss\tmax_pss\tio_in\tio_out\tmean_load\tcpu_time\n"
    for path in (first, second):
        path.with_suffix(".tsv").write_text(header + "7.5\t0:00:07" + "\tNA" * 8 + "\n")
    old = time.time() - 100
    os.utime(second.with_suffix(".tsv"), (old, old))
    record(planned, success=True, cores=1)
    found = [row for row in rows(tmp_path) if row["rule"] == "measure_synchrony"]
    assert [row["wall_s"] for row in found] == [7.5, 2.0]
    assert [(row["cpu_s"], row["memory_mb"]) for row in found] == [(1.0, 100.0)] * 2


def test_no_run_fails_because_of_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    planned = layout(tmp_path)
    (tmp_path / "results" / "tables").write_text("in the way")
    record(planned, success=True, cores=1)
    assert "note: what the run cost could not be written" in capsys.readouterr().err


def test_csv_holds_the_same(tmp_path: Path) -> None:
    planned = layout(tmp_path)
    record(planned, success=True, cores=1)
    written = pq.read_table(tmp_path / "results/tables/cost.parquet")
    text = (tmp_path / "results/tables/cost.csv").read_text().splitlines()
    assert len(text) == 1 + len(written)
    assert text[0].replace('"', "").split(",") == COST.names


def test_one_line_sums_up_the_last_run() -> None:
    job = {"run": "last", "rule": "x", "gpu_s": 1800.0, "cpu_s": 3600.0}
    media = job | {"stage": "media", "wall_s": 100.0, "processed": 500}
    other = job | {"stage": "scores", "wall_s": 5.0, "processed": None}
    run = job | {"stage": "workflow", "rule": "snakemake", "wall_s": 125.0, "gpu_s": 0.0}
    text = line([media, other, run, media | {"run": "earlier"}])
    assert text == (
        "cost: 2 jobs, 2 min 5 s, 3.000 core-hours, 1.000 GPU-hours; "
        "slowest, clips a second in one job: media 5.0"
    )
    assert [words(s) for s in (3.04, 59, 3599, 7800)] == [
        "3.0 s",
        "59 s",
        "59 min 59 s",
        "2 h 10 min",
    ]
