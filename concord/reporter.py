"""Tells, while a run goes on, how far it is: a line on the terminal that leads the run."""

import sys
import threading
import time

from concord.follow import Stage, stages
from concord.layout import Layout
from concord.report.cost import words
from concord.run_state import BEAT_S, beat, begin

QUIET_SHARE = 20.0
"""Looking on takes at most one part in this many of the time."""


def start(layout: Layout) -> None:
    """Name the run, and from now on print a line of its progress now and then; never raises."""
    try:
        begin(layout.results)
    except OSError as error:
        print(f"note: the progress of this run cannot be followed ({error})", file=sys.stderr)
        return
    threading.Thread(target=_report, args=[layout], daemon=True).start()


def line(found: list[Stage]) -> str | None:
    """What runs now, in one line; None while no clips are worked on."""
    parts = [
        f"{stage.name} {stage.clips_done:,} of {stage.clips:,}"
        + (f", {stage.rate:.1f} a second" if stage.rate else "")
        + (f", {words(stage.left_s)} left" if stage.left_s else "")
        for stage in found
        if stage.running and stage.clips
    ]
    return f"progress: {'; '.join(parts)}" if parts else None


def _report(layout: Layout) -> None:
    due, said = 0.0, None
    while True:
        time.sleep(BEAT_S)
        beat(layout.results)
        began = time.monotonic()
        if began < due:
            continue
        try:
            now = line(stages(Layout(layout.config, layout.specs)))
        except Exception:  # a table that is being replaced, a collection that is not planned yet
            continue
        due = began + QUIET_SHARE * (time.monotonic() - began)
        if now and now != said:
            print(now, file=sys.stderr, flush=True)
            said = now
