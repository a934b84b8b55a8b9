"""From files to views: decoding proxies, and decoder processes that run ahead of a model."""

import multiprocessing
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import TimeoutError as TimeLimit
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np
from pebble import ProcessExpired, ProcessFuture, ProcessPool

from concord.errors import UserError
from concord.tables import REASONS

Item = TypeVar("Item")


@dataclass(frozen=True)
class Failure:
    """Why there is no result: a word of REASONS and the tool's own words."""

    reason: str
    detail: str | None = None


def centres(count: int, total: int) -> list[int]:
    """Indices of the frames at the centres of `count` equal intervals of `total` frames."""
    return [int((i + 0.5) * total / count) for i in range(count)]


def read_frames(path: Path, count: int) -> np.ndarray:
    """`count` frames at interval centres as RGB, uint8 [count, H, W, 3]; a short clip repeats some.

    Decodes once and keeps only the frames needed. Raises ValueError with `no_frames` or
    `unreadable` and the decoder's words.
    """
    import av

    try:
        total = _count_packets(path)
        frames, decoded = _pick(path, centres(count, total)) if total else ({}, 0)
        if decoded != total and decoded:
            frames, decoded = _pick(path, centres(count, decoded))
    except (av.FFmpegError, OSError) as error:
        raise ValueError("unreadable", str(error)) from error
    if not decoded:
        raise ValueError("no_frames")
    return np.stack([frames[i] for i in centres(count, decoded)])


def _count_packets(path: Path) -> int:
    """Frames a file should give, from its packets alone."""
    import av

    with av.open(str(path.absolute())) as container:
        if not container.streams.video:
            raise ValueError("no_video_stream")
        return sum(p.size > 0 and not p.is_discard for p in container.demux(video=0))


def _pick(path: Path, indices: list[int]) -> tuple[dict[int, np.ndarray], int]:
    """The frames of these indices, uint8 [H, W, 3] each, and the number of frames decoded."""
    import av

    wanted, kept, decoded = set(indices), {}, 0
    with av.open(str(path.absolute())) as container:
        container.streams.video[0].codec_context.thread_count = 1
        for decoded, frame in enumerate(container.decode(video=0), start=1):
            if decoded - 1 in wanted:
                kept[decoded - 1] = frame.to_ndarray(format="rgb24")
    return kept, decoded


@contextmanager
def parallel_views(
    read: Callable[[Item], np.ndarray],
    items: Iterable[Item],
    *,
    workers: int,
    ahead: int,
    timeout_s: float,
) -> Iterator[Iterator[np.ndarray | Failure]]:
    """Results of `read` for every item, in order, from processes that start at once.

    At most `ahead` items are read or waiting at a time, which bounds the memory. Whatever happens
    to one item is that item's Failure: a ValueError whose first argument is a word of REASONS,
    any other exception (`unreadable`), a dead process (`crashed`), `timeout_s` seconds (`timeout`).
    A UserError is no fault of the item and is raised.
    """
    waiting = iter(items)
    first = list(islice(waiting, ahead))
    with _own_main_hidden():
        pool = ProcessPool(
            max_workers=max(1, min(workers, len(first))),
            context=multiprocessing.get_context("spawn"),
        )

        def schedule(chosen: Iterable[Item]) -> Iterator[ProcessFuture[np.ndarray]]:
            return (pool.schedule(read, args=[item], timeout=timeout_s) for item in chosen)

        pending = deque(schedule(first))

        def results() -> Iterator[np.ndarray | Failure]:
            while pending:
                result = _result(pending.popleft())
                pending.extend(schedule(islice(waiting, 1)))
                yield result

        try:
            yield results()
        finally:
            pool.stop()  # type: ignore[no-untyped-call]
            pool.join()


def _result(future: ProcessFuture[np.ndarray]) -> np.ndarray | Failure:
    try:
        views: np.ndarray = future.result()
    except TimeLimit:
        return Failure("timeout")
    except ProcessExpired as error:
        return Failure("crashed", str(error))
    except ValueError as error:
        word, *rest = error.args or ("",)
        if word in REASONS:
            return Failure(word, "; ".join(map(str, rest)) or None)
        return Failure("unreadable", str(error))
    except UserError:
        raise
    except Exception as error:
        return Failure("unreadable", f"{type(error).__name__}: {error}")
    return views


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
