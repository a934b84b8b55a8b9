"""The jobs at work in a results folder, so that those of a killed run never write beside a new one.

A job holds a locked file, results/.jobs/HOST.PID, for as long as it lives: the lock ends with the
process, however that ends. A new run names itself in results/.jobs/run and then ends the jobs that
are still there; a job that starts too late finds another run's name and does nothing, and neither
does the Snakemake that a cluster starts for it, which would remove the job's outputs first.
"""

import atexit
import fcntl
import os
import signal
import socket
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TextIO

import psutil

from concord.errors import UserError
from concord.files import lock_to_look, told_faults, write_text

RUN = "CONCORD_RUN"
"""Variable of the environment that tells jobs to which run they belong."""
GRACE_S = 10.0
"""Time that a job has to tidy up before it is killed."""
POLL_S = 0.1
REMIND_S = 60.0


def begin_run(results: Path) -> None:
    """Let only jobs of this run, and of none before it, write to the results folder.

    Jobs that an earlier run left at work on this machine are ended; those on others are waited for.
    The caller holds the folder's lock.
    """
    folder = results / ".jobs"
    os.environ[RUN] = uuid.uuid4().hex
    write_text(folder / "run", os.environ[RUN])
    if left := living(results):
        names = ", ".join(sorted({_what(path) for path in left}))
        print(
            f"note: {len(left)} processes of an earlier run that was killed are still at work on "
            f"{results} ({names}); they are ended first",
            file=sys.stderr,
            flush=True,
        )
        for path in left:
            _end(path)


@contextmanager
def registered(results: Path, what: str) -> Iterator[None]:
    """Count this process among the jobs at work in the results folder.

    `what` says what it does. Raises UserError if its run has ended and another one has begun.
    """
    path = results / ".jobs" / f"{socket.gethostname()}.{os.getpid()}"
    with told_faults(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = _open_held(path)
    with file:
        try:
            with told_faults(path):
                file.write(what)
                file.flush()
            _check_run(path.parent / "run", results)
            yield
        finally:
            path.unlink(missing_ok=True)


def join_run(results: Path) -> None:
    """Count this process among the jobs at work until it ends: a Snakemake started for a job.

    Raises UserError as `registered` does.
    """
    stack = ExitStack()
    stack.enter_context(registered(results, "the Snakemake of a job"))
    atexit.register(stack.close)


def living(results: Path) -> list[Path]:
    """The files of the jobs at work in a results folder; those of dead ones are removed."""
    folder = results / ".jobs"
    if not folder.is_dir():
        return []
    return [path for path in folder.iterdir() if path.name != "run" and not _is_dead(path)]


def _check_run(path: Path, results: Path) -> None:
    own = os.environ.get(RUN)
    current = path.read_text(encoding="utf-8") if path.exists() else None
    if own and current and own != current:
        raise UserError(
            f"{results}: another run has begun since this job was started, so it does nothing"
        )


def _open_held(path: Path) -> TextIO:
    """A file that this process holds; anew where one who looked on took it for a dead one's."""
    while True:
        file = path.open("w", encoding="utf-8")
        with suppress(OSError):  # a file system without locks: there is no more to be done
            fcntl.flock(file, fcntl.LOCK_EX)
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
        file.close()


def _is_dead(path: Path) -> bool:
    """Whether no process holds the file, which is then removed; no, if that cannot be found out."""
    try:
        with path.open("rb") as file:
            lock_to_look(file)
            path.unlink(missing_ok=True)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _what(path: Path) -> str:
    with suppress(OSError):
        return path.read_text(encoding="utf-8") or path.name
    return path.name


def _end(path: Path) -> None:
    """End the process that holds a file, and what it started; wait for one on another machine."""
    if process := _holder(path):
        started = _tree(process)
        _signal(started[:1], signal.SIGTERM)
        if _wait(path, GRACE_S):
            return
        _signal([*started, *_tree(process)], signal.SIGKILL)
    while not _wait(path, REMIND_S):
        host, pid = path.name.rsplit(".", 1)
        print(
            f"waiting for the job {_what(path)} of an earlier run (process {pid} on {host}); "
            f"end it there to go on at once, or delete {path} if it is no more",
            file=sys.stderr,
            flush=True,
        )


def _holder(path: Path) -> psutil.Process | None:
    """The process of a file, if it runs on this machine and has that very file open."""
    host, pid = path.name.rsplit(".", 1)
    if host != socket.gethostname() or not pid.isdigit():
        return None
    with suppress(psutil.Error, OSError):
        process = psutil.Process(int(pid))
        if any(Path(file.path) == path.resolve() for file in process.open_files()):
            return process
    return None


def _tree(process: psutil.Process) -> list[psutil.Process]:
    with suppress(psutil.Error):
        return [process, *process.children(recursive=True)]
    return [process]


def _signal(processes: list[psutil.Process], number: int) -> None:
    for process in processes:
        with suppress(psutil.Error):
            process.send_signal(number)


def _wait(path: Path, seconds: float) -> bool:
    """Whether the holder of a file ended within this time."""
    end = time.monotonic() + seconds
    while path.exists() and not _is_dead(path):
        if time.monotonic() > end:
            return False
        time.sleep(POLL_S)
    return True
