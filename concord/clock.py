"""Time stamps of a clock that was set back.

Snakemake compares the times of files. What was written while the clock was ahead would seem newer
than all that is written now: changes would be missed, and other things be done again for ever.
"""

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

_UNCOMPARED = {"logs", "benchmarks", ".jobs", "demo", "tree"}
"""Rooms whose files are compared with nothing, or by their exact time."""
_SECOND_NS = 10**9


def settle(results: Path) -> None:
    """Date files of the results that are newer than now just before it, in their order.

    For the process that holds the results folder, before it compares any times.
    """
    now = time.time_ns()
    stamps = list(_stamps(results))
    ahead = sorted({stamp for stamp, _ in stamps if stamp > now})
    if not ahead:
        return
    print(
        f"note: {results}: files there are dated up to {(ahead[-1] - now) / 1e9:.0f} s in the "
        "future, so the clock of a machine was wrong; they are dated just before now",
        file=sys.stderr,
        flush=True,
    )
    settled = max((stamp for stamp, _ in stamps if stamp <= now), default=0)
    start = max(settled, now - _SECOND_NS)
    step = max(1, (now - start) // (len(ahead) + 1))
    place = {stamp: start + step * number for number, stamp in enumerate(ahead, start=1)}
    for stamp, path in stamps:
        if stamp > now:
            os.utime(path, ns=(place[stamp], place[stamp]))
    time.sleep(0.05)  # the times of new files are coarser than those of the clock


def _stamps(results: Path) -> Iterator[tuple[int, str]]:
    """(time in ns, path) of all files that Snakemake may compare; proxies are none of them."""
    for folder, below, names in os.walk(results):
        parts = Path(folder).relative_to(results).parts
        if not parts:
            below[:] = [name for name in below if name not in _UNCOMPARED]
        elif parts[0] == "media" and len(parts) == 3:
            below.clear()
        for name in names:
            path = f"{folder}/{name}"
            yield os.lstat(path).st_mtime_ns, path
    marks = (*results.glob("tree/*/.*.done"), results / "demo" / "prompts.json")
    yield from ((path.stat().st_mtime_ns, str(path)) for path in marks if path.exists())
