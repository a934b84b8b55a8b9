"""The record of runs: what it holds, what it survives, and what it does not tell."""

import json
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from embedding_inputs import configured

from concord import runs
from concord.config import Config
from concord.files import write_text
from concord.provenance import write_provenance

LOCAL = SimpleNamespace(executor_plugin=SimpleNamespace(name="local"))


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """A results folder in which the rule has written provenance.json long ago."""
    config = configured(tmp_path / "results", mini={})
    config.results.mkdir()
    write_provenance(config, config.results / "provenance.json")
    os.utime(config.results / "provenance.json", (10, 10))
    return config


def made(config: Config) -> dict:
    return json.loads((config.results / "provenance.json").read_text("utf-8"))


def test_each_run_is_added_and_no_time_changes(config):
    before = made(config)
    for success in (True, False):
        runs.begin(config, LOCAL)
        runs.end(config, success=success)
    path = config.results / "provenance.json"
    assert path.stat().st_mtime == 10, "Snakemake would make the page again"
    after = made(config)
    assert [run["outcome"] for run in after["runs"]] == ["success", "error"]
    assert after | {"runs": []} == before | {"runs": []}
    run = after["runs"][0]
    assert run["started"] <= run["ended"]
    assert run["started"].endswith("+00:00")
    assert run["weights"]["mini"].startswith("23a37cd8")
    assert run["executor"] == "local"
    assert run["configuration"] == before["configuration"]
    assert {"command", "commit", "dirty", "host", "packages", "platform", "python"} <= run.keys()
    write_provenance(config, path)
    assert made(config)["runs"] == after["runs"], "the rule keeps them"


def test_a_run_that_never_ended_is_told_by_the_next(config):
    runs.begin(config, LOCAL)
    runs.begin(config, LOCAL)
    runs.end(config, success=True)
    assert [(r["outcome"], r["ended"] is None) for r in runs.runs(config.results)] == [
        ("killed", True),
        ("success", False),
    ]


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"runs": 3}', "\udcff"])
def test_damaged_files_are_survived(config, damage):
    for _ in range(2):
        runs.begin(config, LOCAL)
        runs.end(config, success=True)
    content = damage.encode("utf-8", "surrogateescape")
    (config.results / "provenance.json").write_bytes(content)
    with (config.results / runs.LIST).open("ab") as file:
        file.write(content)  # as a full disk cuts a line off
    runs.begin(config, LOCAL)
    runs.end(config, success=True)
    assert [run["outcome"] for run in made(config)["runs"]] == ["success"] * 3


def test_what_cannot_be_written_fails_no_run(config, capsys):
    (config.results / runs.OPEN).mkdir()
    runs.begin(config, LOCAL)
    runs.end(config, success=True)
    assert capsys.readouterr().err.count("of the run was not recorded") == 2


def test_an_older_table_of_costs_tells_nothing_of_this_run(config):
    write_text(config.results / "tables" / "cost.parquet", "of an earlier run")
    os.utime(config.results / "tables" / "cost.parquet", (10, 10))
    runs.begin(config, LOCAL)
    runs.end(config, success=True)
    assert "job_hosts" not in made(config)["runs"][0]


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        (["snakemake", "--cores", "2"], "snakemake --cores 2"),
        (["--storage-s3-secret-key", "abc", "-n"], "--storage-s3-secret-key '***' -n"),
        (["--storage-s3-access-key=abc"], "'--storage-s3-access-key=***'"),
        (["--config", "api_token=abc", "limit=3"], "--config 'api_token=***' limit=3"),
        (["--prefix", "s3://me:abc@host/b"], "--prefix 's3://***@host/b'"),
        (["--keep-going", "--secret", "--cores"], "--keep-going --secret --cores"),
    ],
)
def test_a_command_tells_no_secrets(typed, told):
    assert runs.command_line(typed) == told
