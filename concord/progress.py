"""How far a job is: plain lines on standard error, now and then, and what they say."""

import re
import sys
import time
from dataclasses import dataclass
from pathlib import Path

INTERVAL_S = 5.0
_LINE = re.compile(rb"^.*: (\d+) of (\d+), ([\d.]+) a second, \d+ s left$", re.MULTILINE)
_TAIL_BYTES = 8192


class Progress:
    """Counts clips or texts; prints how many are done, how fast, and the time left."""

    def __init__(self, what: str, total: int) -> None:
        self.what, self.total, self.done = what, total, 0
        self._start_s = self._said_s = time.monotonic()

    def step(self, count: int = 1) -> None:
        """Count `count` more as done; prints a line every INTERVAL_S seconds, and at the end."""
        self.done += count
        now_s = time.monotonic()
        if self.done < self.total and now_s - self._said_s < INTERVAL_S:
            return
        self._said_s = now_s
        rate = self.done / max(now_s - self._start_s, 1e-9)
        left_s = (self.total - self.done) / max(rate, 1e-9)
        print(
            f"{self.what}: {self.done} of {self.total}, {rate:.1f} a second, {left_s:.0f} s left",
            file=sys.stderr,
            flush=True,
        )


@dataclass(frozen=True)
class Said:
    """What a job said last: clips done of those it has to do (not those it reuses), a second."""

    done: int
    total: int
    rate: float


def last_said(log: Path) -> Said | None:
    """What the job of a log file said last of its progress; None if nothing yet."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - _TAIL_BYTES))
            found = _LINE.findall(file.read())
    except OSError:
        return None
    if not found:
        return None
    done, total, rate = found[-1]
    return Said(int(done), int(total), float(rate))
