"""A limit of memory for processes that open files which nobody vouches for."""

import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def limit_memory(megabytes: int, *used: object) -> None:
    """Allow this process, and what it starts, `megabytes` more memory than it has now.

    A megabyte is 2**20 bytes. On Linux alone. What asks for more gets a MemoryError. A lower limit
    that the machine sets stands. `used`: what the process will work with; to receive it loads its
    modules, before the limit.
    """
    import av  # noqa: F401  # loaded before the limit, which is for clips

    if sys.platform == "linux":
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        _set_limit(_address_space() + megabytes * 2**20, hard)


@contextmanager
def outside_memory_limit() -> Iterator[None]:
    """Keep what a block loads, such as a large package, from counting against the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    if soft == hard or sys.platform != "linux":
        yield
        return
    before = _address_space()
    resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
    try:
        yield
    finally:
        grown = max(0, _address_space() - before)
        _set_limit(soft + grown, hard)


def _set_limit(wanted: int, hard: int) -> None:
    soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _address_space() -> int:
    """Bytes of address space this process has mapped."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
