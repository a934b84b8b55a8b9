"""What a run knows of jobs on a cluster where there is none; tests/slurm has one."""

import re
from pathlib import Path

import pytest

from concord import cluster
from concord.cluster import end_orphans, run_name
from concord.errors import UserError


def test_a_results_folder_has_one_name_however_it_is_reached(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    name = run_name(tmp_path / "results")
    assert re.fullmatch(r"concord-[0-9a-f]{12}", name)
    assert run_name(tmp_path / "link" / "results") == name
    assert run_name(tmp_path / "other") != name


def test_a_run_that_never_used_a_cluster_asks_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert end_orphans(tmp_path, remote=False) == []
    assert end_orphans(tmp_path, remote=True) == [], "another executor than SLURM's"


def test_jobs_that_cannot_be_looked_for_stop_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / ".slurm").touch()
    with pytest.raises(UserError, match="squeue is not installed on this machine") as error:
        end_orphans(tmp_path, remote=False)
    assert str(tmp_path / ".slurm") in str(error.value), "what to delete when one knows better"
    assert run_name(tmp_path) in str(error.value)


def test_an_outage_does_not_make_the_executor_forget_how_long_jobs_are_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without it, it would go over to sacct, which may never answer."""
    plugin = pytest.importorskip("snakemake_executor_plugin_slurm")
    answers = iter([300, None, 200, None])
    monkeypatch.setattr(plugin, "get_min_job_age", lambda: next(answers))
    cluster._remember_min_job_age()
    assert [plugin.get_min_job_age() for _ in range(3)] == [300, 200, 200]
