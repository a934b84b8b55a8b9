"""Objects in node-local scratch: fetched ahead of the work, a bounded number, deleted after it."""

import os
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Generic, TypeVar

Item = TypeVar("Item")
Local = TypeVar("Local")


class Ahead(Generic[Item, Local]):
    """What `fetch` makes of items, in their order: `ahead` of them before they are asked for.

    `fetch` gets an item and an empty folder of its own, which is deleted when the item is done.
    """

    def __init__(
        self,
        items: Sequence[Item],
        fetch: Callable[[Item, Path], Local],
        scratch: Path,
        ahead: int,
    ) -> None:
        self._items, self._fetch, self._scratch, self._ahead = items, fetch, scratch, ahead
        self._pool = ThreadPoolExecutor(min(ahead, os.cpu_count() or 1, 8) + 1)
        self._futures: dict[int, Future[Local]] = {}
        self._started = 0
        self._lock = threading.Lock()

    @contextmanager
    def take(self, index: int) -> Iterator[Local]:
        """The item's, for the time of the block. Raises what `fetch` raised."""
        try:
            yield self.get(index)
        finally:
            self.release(index)

    def get(self, index: int) -> Local:
        """The item's, once it is fetched, to be released later. Raises what `fetch` raised."""
        with self._lock:
            last = min(index + self._ahead + 1, len(self._items))
            for number in range(self._started, last):
                self._futures[number] = self._pool.submit(self._run, number)
            self._started = max(self._started, last)
        return self._futures[index].result()

    def release(self, index: int) -> None:
        """Delete the item's folder."""
        self._futures.pop(index, None)
        shutil.rmtree(self._scratch / str(index), ignore_errors=True)

    def close(self) -> None:
        """Stop fetching and wait for what is under way."""
        self._pool.shutdown(cancel_futures=True)

    def _run(self, number: int) -> Local:
        folder = self._scratch / str(number)
        folder.mkdir()
        return self._fetch(self._items[number], folder)
