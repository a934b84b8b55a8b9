"""Which run is, or was last, at work in a results folder, for its jobs and for who looks on.

The process that leads a run keeps a small file, `<results>/benchmarks/.running/run`, and touches it
while it lives; marks of the jobs that run lie beside it.
"""

import json
import os
import platform
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from concord.files import write_text

BEAT_S = 30.0
SILENT_S = 150.0
"""After so long without a sign of life, a run counts as killed; on its own machine at once."""


@dataclass(frozen=True)
class Run:
    """A run: its name, when it began and ended (seconds since 1970), and the process that led it.

    `status` is running, ok, failed, or killed: it ended without a word.
    """

    name: str
    began: float
    node: str
    pid: int
    status: str = "running"
    ended: float | None = None


def benchmarks(results: Path) -> Path:
    """Where the benchmarks and the notes of a results folder lie."""
    return results / "benchmarks"


def marks(results: Path) -> Path:
    """Where the marks of the jobs that run lie."""
    return benchmarks(results) / ".running"


def begin(results: Path) -> None:
    """Name a run that this process starts; marks that a killed one left are removed.

    Raises OSError if the folder cannot be written.
    """
    for mark in marks(results).glob("*.json"):
        mark.unlink(missing_ok=True)
    now, process = time.time(), psutil.Process()
    _write(results, Run(f"{now:.3f}-{process.pid}", now, platform.node(), process.pid))


def beat(results: Path) -> None:
    """Show that the run lives."""
    with suppress(OSError):
        os.utime(_path(results))


def end(results: Path, *, success: bool) -> None:
    """Say how the run of this process ended."""
    if run := _read(results):
        status = "ok" if success else "failed"
        _write(results, Run(run.name, run.began, run.node, run.pid, status, time.time()))


def last_run(results: Path) -> Run | None:
    """The run that began last, as it stands; None before the first."""
    run = _read(results)
    if run is None or run.status != "running" or _is_alive(run, results):
        return run
    return Run(run.name, run.began, run.node, run.pid, "killed")


def is_leader(run: Run) -> bool:
    """Whether the process that leads a run has started this one, itself or through others."""
    with suppress(psutil.Error):
        above = psutil.Process().parents()
        return run.node == platform.node() and any(process.pid == run.pid for process in above)
    return False


def _is_alive(run: Run, results: Path) -> bool:
    if run.node == platform.node() and not psutil.pid_exists(run.pid):
        return False
    return time.time() - _path(results).stat().st_mtime < SILENT_S


def _path(results: Path) -> Path:
    return marks(results) / "run"


def _read(results: Path) -> Run | None:
    try:
        return Run(**json.loads(_path(results).read_text("utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _write(results: Path, run: Run) -> None:
    write_text(_path(results), json.dumps(asdict(run)))
