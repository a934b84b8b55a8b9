"""Jobs on the cluster die in every way; the run goes on, or the same command ends it."""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress

import pytest

from tests.slurm.fixtures import ClusterRun, assert_same_tables, leftovers, run_here
from tests.slurm.private_slurm import PrivateSlurm

pytest_plugins = ["tests.slurm.fixtures"]
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("healthy")]


def ends_well(run: ClusterRun, process: subprocess.Popen[bytes]) -> None:
    """The run under way ends without another command, and with the tables of a local one."""
    assert process.wait(run.limit_s) == 0, run.printed()[-4000:]
    assert leftovers(run) == []
    assert_same_tables(run, run_here(run))


def test_a_node_crashes_and_a_job_is_cancelled(
    on_slurm: Callable[..., ClusterRun], slurm: PrivateSlurm
) -> None:
    run = on_slurm()
    process = run.start()
    job = run.job_of("transcode_shard")
    time.sleep(2)
    slurm.kill_node(slurm.client("squeue", "--noheader", f"--jobs={job}", "--format=%N").strip())
    again = run.job_of("measure_synchrony")
    slurm.client("scancel", again)
    ends_well(run, process)
    printed = run.printed()
    assert f"SLURM-job '{job}' failed due to a node failure" in printed
    assert f"SLURM-job '{again}' failed, SLURM status is: 'CANCELLED'" in printed


def test_a_node_is_lost_and_its_job_works_on(
    on_slurm: Callable[..., ClusterRun], slurm: PrivateSlurm
) -> None:
    """The job that SLURM starts in its place waits for it, and takes over what it did."""
    run = on_slurm()
    process = run.start()
    job = run.job_of("transcode_shard")
    journal = run.folder / "results/media/own/0000/.media.parquet.journal"
    slurm.wait(journal.exists, "the job holds its shard", 120)
    pids = run.freeze(job)
    node = slurm.client("squeue", "--noheader", f"--jobs={job}", "--format=%N").strip()
    slurm.stop(f"slurmd-{node}", signal.SIGKILL)
    log = run.folder / "results/logs/transcode_shard/own.0000.log"

    def next_waits() -> bool:
        with suppress(FileNotFoundError):  # Snakemake removes the log of the job before
            return "waiting for a process of" in log.read_text()
        return False

    slurm.wait(next_waits, "the next job waits", 300)
    assert run.job_of("transcode_shard") != job
    for pid in pids:
        os.kill(pid, signal.SIGCONT)
    ends_well(run, process)
    assert f"SLURM-job '{job}' failed due to a node failure" in run.printed()


def test_a_job_over_its_time_and_one_over_its_memory(on_slurm: Callable[..., ClusterRun]) -> None:
    """Each is tried again with more: a job that hangs, and one that was given too little memory."""
    run = on_slurm(tasks=["video_text"])
    process = run.start(
        "--set-resources",
        "transcode_shard:runtime=attempt",
        "embed_texts:mem_mb=120 if attempt == 1 else 4000",
    )
    job = run.job_of("transcode_shard")
    run.freeze(job)
    ends_well(run, process)
    printed = run.printed()
    assert f"SLURM-job '{job}' failed, SLURM status is: 'TIMEOUT'" in printed
    killed = [line for line in printed.splitlines() if "SLURM status is: " in line]
    assert len(killed) == 2, killed
    assert "runtime=2" in printed, "twice the time"
    assert "mem_mb=4000" in printed


def test_the_controller_is_away_while_jobs_run(
    on_slurm: Callable[..., ClusterRun], slurm: PrivateSlurm
) -> None:
    run = on_slurm()
    process = run.start()
    job = run.job_of("transcode_shard")
    time.sleep(10)  # the controller writes down within 5 s that a job runs, else it ends it
    slurm.stop("slurmctld", signal.SIGKILL)
    time.sleep(45)
    assert process.poll() is None
    slurm.start_controller()
    ends_well(run, process)
    assert f"SLURM-job '{job}' failed" not in run.printed()
