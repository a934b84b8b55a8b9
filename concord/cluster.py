"""Jobs of a run on a SLURM cluster: their name, and the end of those that a killed run left there.

A killed Snakemake leaves its jobs on the cluster, where they would write beside those of the next
run. All jobs of a results folder carry its name, so the next run finds and cancels them first.
"""

import hashlib
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

from concord.errors import UserError
from concord.models.leases import WITHOUT_GPUS
from concord.run import hold_results

ANSWER_S = 20
"""How long a command of SLURM may take to answer."""
ATTEMPTS = 3
GONE_S = 300
"""How long cancelled jobs may take to end; SLURM kills after KillWait (30 s), and finds a dead node
after SlurmdTimeout (300 s)."""
POLL_S = 2.0
LONGEST_PREFIX = 50
"""Of a job's name, as the SLURM executor allows it."""


def run_name(results: Path) -> str:
    """What the jobs of a results folder are called: concord- and 12 digits of its path's digest."""
    return f"concord-{hashlib.sha256(os.fsencode(results.resolve())).hexdigest()[:12]}"


def prepare(workflow: Any, results: Path) -> list[str]:
    """Lock a results folder, end its jobs on a cluster, name those to come; returns notes.

    For the main process alone. Raises UserError when another run holds the folder, or when jobs of
    an earlier one may still be at work and cannot be ended.
    """
    hold_results(results)
    os.environ.pop(WITHOUT_GPUS, None)
    remote = workflow.nodes is not None
    notes = []
    if remote and not _finds_gpus():
        os.environ[WITHOUT_GPUS] = "1"
        notes.append("no node of this cluster offers a GPU (sinfo); models compute on processors")
    if not workflow.output_settings.dryrun:
        notes += end_orphans(results, remote)
        _name_jobs(workflow, results)
    return notes


def end_orphans(results: Path, remote: bool) -> list[str]:
    """Cancel jobs of the folder that an earlier run left on a cluster, and wait for their end.

    SLURM is asked only by a run that uses it (`remote`), or after one that did. Returns what was
    done, in words. Raises UserError when SLURM does not answer or the jobs do not end.
    """
    mark = _mark(results)
    if not mark.exists() and not (remote and shutil.which("squeue")):
        return []
    jobs = _orphans(results)
    notes = []
    if jobs:
        told = f"SLURM jobs of an earlier run with {results} ({_some(jobs)})"
        _slurm(results, "scancel", *jobs)
        _wait_until_gone(results, told)
        notes.append(f"{told} were cancelled and have ended")
    mark.unlink(missing_ok=True)
    return notes


def _orphans(results: Path) -> list[str]:
    """The ids of the folder's jobs that SLURM knows and that have not ended."""
    user, name = f"--user={os.getuid()}", run_name(results)
    lines = _slurm(results, "squeue", "--noheader", user, "--format=%A %j").splitlines()
    named = (line.split(maxsplit=1) for line in lines)
    return [i for i, job in named if job.rpartition("_")[0].endswith(name)]


def _wait_until_gone(results: Path, told: str) -> None:
    end = time.monotonic() + GONE_S
    while jobs := _orphans(results):
        if time.monotonic() > end:
            raise UserError(
                f"{told} were cancelled {GONE_S} s ago and {len(jobs)} have not ended: "
                f"{_some(jobs)}; they could still write to the folder. Wait until "
                f"`squeue --jobs {','.join(jobs[:5])}` no longer lists them, or ask the "
                "cluster's administrators, then start again"
            )
        time.sleep(POLL_S)


def _slurm(results: Path, *command: str) -> str:
    """What a command of SLURM prints; asked again when there is no answer."""
    why = ""
    for _ in range(ATTEMPTS):
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=ANSWER_S)
        except FileNotFoundError:
            why = f"{command[0]} is not installed on this machine"
            break
        except subprocess.TimeoutExpired:
            why = f"{command[0]} did not answer within {ANSWER_S} s"
            continue
        # A job that has just ended is none to cancel.
        if done.returncode == 0 or "Invalid job id" in done.stderr:
            return done.stdout
        why = f"{command[0]}: {done.stderr.strip() or f'exit status {done.returncode}'}"
        time.sleep(POLL_S)
    raise UserError(
        f"{results}: jobs of an earlier run may still be writing here from a SLURM cluster, and "
        f"that could not be found out: {why}. Start again where SLURM answers; or, if you know "
        f"that no job called {run_name(results)} is left, delete {_mark(results)}"
    )


def _finds_gpus() -> bool:
    """Whether a node that this user may use has a GPU; yes if that cannot be found out."""
    command = ["sinfo", "--noheader", "--format=%G"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=ANSWER_S)
    except (OSError, subprocess.TimeoutExpired):
        return True
    return done.returncode != 0 or "gpu" in done.stdout


def _name_jobs(workflow: Any, results: Path) -> None:
    """Give the SLURM executor, if it is what will run, this run's name and a folder for its logs.

    Its settings reach the workflow after the Snakefile was read, when it is executed.
    """
    execute = workflow.execute

    def named(*, executor_settings: Any, **others: Any) -> Any:
        if not hasattr(executor_settings, "jobname_prefix"):
            return execute(executor_settings=executor_settings, **others)
        name, own = run_name(results), executor_settings.jobname_prefix
        prefix = f"{own[: LONGEST_PREFIX - len(name) - 1]}-{name}" if own else name
        executor_settings.jobname_prefix = prefix
        executor_settings.logdir = executor_settings.logdir or results.resolve() / "logs" / "slurm"
        _mark(results).write_text(f"jobs called {prefix}_... may be on a SLURM cluster\n")
        _remember_min_job_age()
        done = execute(executor_settings=executor_settings, **others)
        _mark(results).unlink(missing_ok=True)
        return done

    workflow.execute = named


def _remember_min_job_age() -> None:
    """Let the SLURM executor go by the last answer where SLURM gives none.

    It asks for MinJobAge at each look at its jobs, and without an answer takes `sacct` in place of
    `squeue`; where there is no accounting, that never answers, though the outage is over.
    """
    import snakemake_executor_plugin_slurm as plugin

    ask = plugin.get_min_job_age
    known: int | None = ask()

    def answer() -> int | None:
        nonlocal known
        known = ask() or known
        return known

    plugin.get_min_job_age = answer


def _mark(results: Path) -> Path:
    """Is there while jobs of the folder may be on a cluster."""
    return results / ".slurm"


def _some(jobs: list[str]) -> str:
    return ", ".join(jobs[:5]) + (", ..." if len(jobs) > 5 else "")
