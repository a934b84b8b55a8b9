"""Snakemake is ended with jobs on the cluster: none of them writes beside its successor."""

import os
import signal
import time
from collections.abc import Callable

import pytest

from tests.slurm.fixtures import ClusterRun, assert_same_tables, leftovers, run_here
from tests.slurm.private_slurm import PrivateSlurm

pytest_plugins = ["tests.slurm.fixtures"]
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("healthy")]

CANCELLED = "were cancelled and have ended"


def jobs_of(run: ClusterRun) -> list[str]:
    """The jobs on the cluster that carry the name of this folder's run."""
    from concord.cluster import run_name

    assert run.slurm is not None
    name = run_name(run.folder / "results")
    return [job for job, called, _ in run.slurm.jobs() if called.startswith(f"{name}_")]


def test_killed_during_media_embedding_and_aggregation(
    on_slurm: Callable[..., ClusterRun],
) -> None:
    run = on_slurm(clips=4, tasks=["av_consistency", "synchrony"])
    run.config["clips"] = {"shard_size": 2}
    told = []
    for rule in ("transcode_shard", "embed_media", "aggregate_tables"):
        process = run.start()
        run.job_of(rule)
        time.sleep(2)  # into its work
        process.kill()
        process.wait()
        told.append(run.printed().count(CANCELLED))
        assert jobs_of(run), "they work on"
        run.run("--dry-run")
        assert jobs_of(run), "a look changes nothing"
    printed = run.run()
    told.append(printed.count(CANCELLED))
    assert told == [0, 1, 1, 1]
    assert leftovers(run) == []
    assert_same_tables(run, run_here(run))


def test_killed_while_the_cluster_does_not_answer(
    on_slurm: Callable[..., ClusterRun], slurm: PrivateSlurm
) -> None:
    run = on_slurm()
    process = run.start()
    run.freeze(run.job_of("transcode_shard"))
    process.kill()
    process.wait()
    slurm.stop("slurmctld", signal.SIGKILL)
    printed = run.run(ok=False)
    assert "jobs of an earlier run may still be writing here" in printed
    assert "squeue" in printed
    assert "Traceback" not in printed
    slurm.start_controller()
    slurm.wait(slurm.answers, "slurmctld answers", 30)
    assert CANCELLED in run.run()
    assert leftovers(run) == []


def test_interrupted_and_terminated(on_slurm: Callable[..., ClusterRun]) -> None:
    """Ctrl-C cancels the jobs; SIGTERM lets those that run end, and starts no more."""
    run = on_slurm()
    process = run.start()
    run.job_of("transcode_shard")
    os.kill(process.pid, signal.SIGINT)
    assert process.wait(120) != 0
    assert run.slurm is not None
    run.slurm.wait(lambda: not jobs_of(run), "the jobs are cancelled", 30)
    assert not (run.folder / "results" / "media" / "own" / "0000" / "media.parquet").exists()

    process = run.start()
    run.job_of("transcode_shard")
    os.kill(process.pid, signal.SIGTERM)
    assert process.wait(240) != 0
    assert not jobs_of(run)
    assert (run.folder / "results" / "media" / "own" / "0000" / "media.parquet").exists()
    assert not (run.folder / "results" / "tables" / "status.parquet").exists()
    run.run()
    assert leftovers(run) == []
    assert_same_tables(run, run_here(run))
