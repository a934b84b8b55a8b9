"""Where the time of an embedding job goes, as its table's metadata say under `run`.

    start_s     from the start of the process until the model was ready: Python, imports, weights,
                and waiting for a GPU; decoders work meanwhile
    waited_s    that the ready model waited for decoders
    computed_s  that the network computed, copies to and from the device included
    processed   clips or texts that the job processed, reused those that were done before

What is left of the job's time is the writing of rows that nothing else hid. A model that mostly
waited is bounded by its decoders (`models.NAME.workers`), one that mostly computed by its device.
The three times are missing where every row was there already, so that no model was needed.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil


class Timing:
    """A stopwatch for one job."""

    def __init__(self) -> None:
        self.start_s: float | None = None
        self.spent = {"waited_s": 0.0, "computed_s": 0.0}

    def ready(self) -> None:
        """The model is loaded."""
        # Clocks are set back now and then.
        self.start_s = max(0.0, time.time() - psutil.Process().create_time())

    @contextmanager
    def of(self, what: str) -> Iterator[None]:
        """Count what happens in the block as waited_s or computed_s."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.spent[what] += time.perf_counter() - start

    def note(self) -> dict[str, float]:
        """Seconds by name; empty if no model was loaded."""
        if self.start_s is None:
            return {}
        return {k: round(v, 3) for k, v in {"start_s": self.start_s, **self.spent}.items()}
