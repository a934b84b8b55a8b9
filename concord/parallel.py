"""A pool of processes that may crash or hang: results in order, in bounded memory."""

import math
import multiprocessing
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as TimeLimit
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeVar

from pebble import ProcessExpired, ProcessFuture, ProcessPool

from concord.errors import MachineError, UserError
from concord.files import NO_ROOM, fault
from concord.tables import REASONS

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Failure:
    """Why there is no result: a word of REASONS and the tool's own words."""

    reason: str
    detail: str | None = None


@contextmanager
def parallel_map(
    work: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    workers: int,
    ahead: int,
    timeout_s: float,
    prepare: Callable[[], None] | None = None,
    ahead_bytes: float = math.inf,
) -> Iterator[Iterator[Result | Failure]]:
    """Results of `work` for every item, in order, from processes that start at once.

    Each process calls `prepare` first. At most `ahead` items are worked on or waiting at a time,
    which bounds the memory, and of large results (by their `nbytes`) no more than `ahead_bytes`
    hold, but one for each process, which is all until the size of one is known. Whatever happens to
    one item is that item's Failure: a ValueError whose first argument is a word of REASONS, a
    MemoryError (`memory_limit`), any other exception (`unreadable`), a process that died of it
    twice (`crashed`), `timeout_s` seconds (`timeout`). What is no fault of an item is raised: a
    UserError of `work`, a full disk, and where processes do not start or cannot load what they
    need.
    """
    waiting = iter(items)
    bounded = ahead_bytes < math.inf
    first = list(islice(waiting, min(ahead, workers) if bounded else ahead))
    with _own_main_hidden():
        pool = ProcessPool(
            max_workers=max(1, min(workers, len(first))),
            context=multiprocessing.get_context("spawn"),
            initializer=prepare,
        )

        def schedule(chosen: Iterable[Item]) -> Iterator[ProcessFuture[Result]]:
            for item in chosen:
                try:
                    future = pool.schedule(work, args=[item], timeout=timeout_s)
                except RuntimeError as error:  # of the pool, which has lost its processes
                    raise _broken(error) from error
                yield future

        pending = deque(zip(first, schedule(first), strict=True))

        def results() -> Iterator[Result | Failure]:
            largest = 0
            while pending:
                item, future = pending.popleft()
                result = _result(future)
                if isinstance(result, Failure) and result.reason == "crashed":
                    # Something else may have killed the process, so the item is tried once more.
                    result = _result(next(schedule([item])))
                if not isinstance(result, Failure):
                    largest = max(largest, getattr(result, "nbytes", 0), 1)
                most = min(ahead, ahead_bytes // largest) if largest else ahead * (not bounded)
                room = max(workers, most) - len(pending)
                for following in islice(waiting, max(0, int(room))):
                    pending.append((following, next(schedule([following]))))
                yield result

        try:
            yield results()
        finally:
            pool.stop()  # type: ignore[no-untyped-call]
            pool.join()


class Behind:
    """Does one thing at a time in a thread, while the caller goes on with the next.

    What it raises is raised by the next call, or at the end.
    """

    def __enter__(self) -> "Behind":
        self._thread = ThreadPoolExecutor(1)
        self._last: Future[None] | None = None
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._thread.shutdown()
        if error is None and self._last:
            self._last.result()

    def do(self, work: Callable[[], None]) -> None:
        """Start the work, once the last is done."""
        if self._last:
            self._last.result()
        self._last = self._thread.submit(work)


def _result(future: ProcessFuture[Result]) -> Result | Failure:
    try:
        return future.result()
    except TimeLimit:
        return Failure("timeout")
    except ProcessExpired as error:
        return Failure("crashed", str(error))
    except ValueError as error:
        word, *rest = error.args or ("",)
        if word in REASONS:
            return Failure(word, "; ".join(map(str, rest)) or None)
        return Failure("unreadable", str(error))
    except MemoryError as error:
        return Failure("memory_limit", str(error) or None)
    except UserError:
        raise
    except BrokenProcessPool as error:
        raise _broken(error) from error
    except ImportError as error:
        raise UserError(
            f"a decoder process could not load what it needs ({error}); install the packages "
            "again, or give the job more memory if they do not fit into it"
        ) from error
    except OSError as error:
        if error.errno in NO_ROOM:
            folder = Path(error.filename or tempfile.gettempdir())
            raise MachineError(fault(error, folder)) from error
        return Failure("unreadable", f"{type(error).__name__}: {error}")
    except Exception as error:
        return Failure("unreadable", f"{type(error).__name__}: {error}")


def _broken(error: Exception) -> UserError:
    return UserError(
        f"the decoder processes do not work on this machine ({error}); why is written above: "
        "give the job more memory if it ran out, mend the installation if a package is missing"
    )


@contextmanager
def _own_main_hidden() -> Iterator[None]:
    """Keep the processes from running the caller's script again, as spawned ones otherwise do."""
    namespace = sys.modules["__main__"].__dict__
    path = namespace.pop("__file__", None)
    try:
        yield
    finally:
        if path is not None:
            namespace["__file__"] = path
