"""One way to say how far a job is: plain lines on standard error, now and then."""

import sys
import time

INTERVAL_S = 5.0


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
