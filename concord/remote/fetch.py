"""Fetching objects: whole, as they are on the server, and with the blame in the right place."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

from concord.errors import UserError
from concord.remote.storage import ChangedError, GoneError, NotFetchedError, Stamp, storage
from concord.remote.urls import Url, is_remote, safe_suffix
from concord.scratch import scratch_folder

WITNESSES = 3
"""Objects that are tried before a server is said to give none."""


class UnusableError(ValueError):
    """An object that a row asks for cannot be had: a word of REASONS, and the details."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail


class _Fetched:
    """The address of what this process fetched last."""

    url: Url | None = None


_last = _Fetched()


def fetch(path: str, target: Path) -> Stamp:
    """Write an object to a local file; returns what tells its version.

    Raises UnusableError with `missing`, or with `not_fetched` if others can be fetched; UserError
    if none can, or if the server or the configuration is at fault otherwise.
    """
    url = Url(path)
    try:
        stamp = storage(url).retrieve(url, target)
    except GoneError:
        raise UnusableError("missing", path) from None
    except ChangedError:
        raise UnusableError(
            "changed", f"{path}: was replaced again and again as it was read"
        ) from None
    except NotFetchedError as error:
        _blame(url, target, str(error))
        raise UnusableError("not_fetched", f"{path}: {error}") from error
    _last.url = url
    return stamp


@contextmanager
def local_copy(path: str) -> Iterator[Path]:
    """A file itself, or a copy of an object for the time of the block. Raises as fetch does."""
    if not is_remote(path):
        yield Path(path)
        return
    with scratch_folder() as folder:
        copy = folder / f"object{safe_suffix(path)}"
        fetch(path, copy)
        yield copy


def stamp_of(path: str) -> Stamp:
    """What tells the version of a file or an object. Raises UnusableError with `missing`."""
    try:
        if is_remote(path):
            url = Url(path)
            return storage(url).stamp(url)
        state = Path(path).stat()
    except (GoneError, FileNotFoundError):
        raise UnusableError("missing", path) from None
    except NotFetchedError as error:
        raise UnusableError("not_fetched", f"{path}: {error}") from error
    return Stamp(state.st_size, state.st_mtime_ns)


def _blame(url: Url, target: Path, why: str) -> None:
    """Raise UserError if no other object can be fetched either: then this one is not at fault."""
    tried = []
    for witness in _witnesses(url):
        try:
            storage(url).retrieve(witness, target)
        except NotFetchedError:
            tried.append(witness)
        except (GoneError, ChangedError):
            continue
        else:
            return
        finally:
            target.unlink(missing_ok=True)
    if tried:
        raise UserError(
            f"{url}: cannot be fetched ({why}), nor can {', '.join(tried)}: the server or the way "
            "to it is at fault; run again when it works"
        )


def _witnesses(url: Url) -> Iterator[Url]:
    """What was fetched last, then the smallest of a thousand objects in the same folder."""
    if _last.url and _last.url != url:
        yield _last.url
    found = islice(storage(url).list_folder(url.folder), 1000)
    there = [(stamp.size, url.folder.below(name)) for name, stamp in found if name[-1:] != "/"]
    for _, text in sorted(there)[: WITNESSES + 1]:
        if text not in (url, _last.url):
            yield Url(text)
