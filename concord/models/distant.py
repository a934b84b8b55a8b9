"""Originals and companions that are objects: fetched before a decoder process reads them."""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from concord.models.base import MediaFile
from concord.remote.ahead import Ahead
from concord.remote.fetch import UnusableError
from concord.remote.originals import Beside, Original
from concord.remote.settings import ahead
from concord.scratch import scratch_folder


@dataclass(frozen=True)
class Distant:
    """A MediaFile that is an object, and the row it belongs to."""

    row: Original | Beside
    path: str
    stream: int | None
    max_pixels: int

    def fetch(self, folder: Path) -> MediaFile:
        """The file, fetched into the folder. Raises what Original.fetch raises."""
        (path,) = self.row.fetch(folder, [self.path])
        return MediaFile(Path(path), self.stream, self.max_pixels)


@dataclass(frozen=True)
class Near:
    """Sources of tasks with local paths, in order, and what reads them.

    `most` of them may be taken before the first is done.
    """

    sources: Iterable[Any]
    read: Callable[[Any], np.ndarray]
    most: int = sys.maxsize
    release: Callable[[int], None] = lambda number: None

    def done(self, results: Iterable[Any]) -> Iterator[Any]:
        """The results as they come; the object behind each is deleted."""
        for number, result in enumerate(results):
            self.release(number)
            yield result


@dataclass(frozen=True)
class FetchedReader:
    """A reader that raises what kept its file from being fetched; picklable."""

    read: Callable[[Any], np.ndarray]

    def __call__(self, source: Any) -> np.ndarray:
        if isinstance(source, UnusableError):
            raise source
        return self.read(source)

    def warm(self) -> None:
        """Warm the reader, where it can be."""
        from concord.models.sources import warm

        warm(self.read)


@contextmanager
def near(sources: Sequence[Any], read: Callable[[Any], np.ndarray]) -> Iterator[Near]:
    """The sources, each Distant one as a MediaFile that lasts until its result is `done`.

    Reading one that cannot be fetched raises the UnusableError that says why.
    """
    if not any(isinstance(source, Distant) for source in sources):
        yield Near(sources, read)
        return
    with scratch_folder() as scratch:
        fetching = Ahead(sources, _fetch, scratch, ahead())
        try:
            items = (fetching.get(number) for number in range(len(sources)))
            yield Near(items, FetchedReader(read), ahead(), fetching.release)
        finally:
            fetching.close()


def _fetch(source: Any, folder: Path) -> Any:
    if not isinstance(source, Distant):
        return source
    try:
        return source.fetch(folder)
    except UnusableError as error:
        return error
