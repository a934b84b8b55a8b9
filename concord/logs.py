"""A job as a process: its log file, its place among the jobs at work, and how it ends."""

import logging
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn

from concord.errors import DamagedError, UserError, printable
from concord.files import NO_ROOM, fault, told_faults
from concord.orphans import registered


@contextmanager
def log_to(path: str) -> Iterator[None]:
    """Send standard output and error, of child processes too, to the file, and be a job meanwhile.

    A UserError, a full disk or a lack of memory ends the process with its text and status 1,
    without a traceback; SIGTERM ends it as an error does, so that it tidies up.
    """
    with ExitStack() as stack:
        with told_faults(Path(path)):
            file = stack.enter_context(open(path, "w", buffering=1, encoding="utf-8"))  # noqa: PTH123
        own_stderr = os.dup(sys.stderr.fileno())
        os.dup2(file.fileno(), sys.stdout.fileno())
        os.dup2(file.fileno(), sys.stderr.fileno())
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
        signal.signal(signal.SIGTERM, _end)
        results = _results_of(Path(path))
        try:
            if results:
                stack.enter_context(registered(results, _name_of(Path(path))))
            yield
        except DamagedError as error:
            _stop(_removed(error, results), own_stderr)
        except UserError as error:
            _stop(str(error), own_stderr)
        except MemoryError as error:
            _stop(
                f"the job ran out of memory ({error or 'malloc'}); it is tried again with more, "
                "and `--set-resources RULE:mem_mb=N` gives it more from the start",
                own_stderr,
            )
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise
            _stop(fault(error, Path(error.filename or path)), own_stderr)


def _stop(reason: str, own_stderr: int) -> NoReturn:
    """End the process for a reason; where there is no room in the log, the terminal has it."""
    text = f"error: {printable(reason)}\n"
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except OSError:
        os.write(own_stderr, text.encode())
    sys.exit(1)


def _removed(error: DamagedError, results: Path | None) -> str:
    """Remove a damaged file of the results, so that the next run makes it again; says so."""
    if not (results and error.path.resolve().is_relative_to(results.resolve())):
        return str(error)
    error.path.unlink(missing_ok=True)
    return (
        f"{error.path}: damaged ({error.problem}), so it has been removed; run the same command "
        "again, which makes it anew"
    )


def _end(number: int, _frame: FrameType | None) -> None:
    print(f"error: ended from outside ({signal.Signals(number).name})", file=sys.stderr)
    sys.exit(128 + number)


def _results_of(path: Path) -> Path | None:
    """The results folder that a log lies in, below logs/; None for a log elsewhere."""
    logs = next((parent for parent in path.absolute().parents if parent.name == "logs"), None)
    return logs and logs.parent


def _name_of(path: Path) -> str:
    """A job's name: that of its log below logs/, without the extension."""
    parts = path.absolute().with_suffix("").parts
    return "/".join(parts[len(parts) - parts[::-1].index("logs") :])
