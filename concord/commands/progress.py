"""`concord progress`: how far a run is, while it runs, before, and after; writes nothing."""

import time
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from concord.commands.terminal import console
from concord.errors import DamagedError, MachineError, UserError, printable
from concord.follow import Stage, stages
from concord.layout import Layout
from concord.load import load
from concord.models import catalogue
from concord.report.cost import words
from concord.run_state import Run, last_run

PAUSE_S = 2.0


def run(path: Path, watch: bool) -> None:
    """Print jobs and clips done of each stage, clips a second and time left.

    With `watch`, on a terminal, until the run ends. Raises UserError if nothing is planned yet.
    """
    config = load(path)
    results = config.results
    specs = {name: catalogue.spec(config, name) for name in config.models}

    def look() -> Group:
        try:
            # A new one each time: a run may plan more while it goes.
            return Group(_table(stages(Layout(config, specs))), _state(last_run(results)))
        except (DamagedError, MachineError):
            raise
        except UserError as error:
            raise UserError(f"nothing is planned yet ({error})") from error

    out = console()
    if not (watch and out.is_terminal):
        out.print(look(), soft_wrap=False)
        return
    with Live(look(), console=Console(), auto_refresh=False) as live:
        while (last := last_run(results)) and last.status == "running":
            start = time.monotonic()
            live.update(look(), refresh=True)
            # Looking at a large run takes a while; most of the time nothing is asked of the disk.
            time.sleep(max(PAUSE_S, 10 * (time.monotonic() - start)))
        live.update(look(), refresh=True)


def _table(found: list[Stage]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("stage", no_wrap=True)
    for name in ("jobs done", "running", "clips done", "clips a second", "time left"):
        table.add_column(name, justify="right", no_wrap=True)
    for stage in found:
        clips = "" if stage.clips is None else f"{stage.clips_done:,} of {stage.clips:,}"
        rate = "" if stage.rate is None else f"{stage.rate:.1f}"
        left = "" if stage.left_s is None else words(stage.left_s)
        jobs = f"{stage.jobs_done:,} of {stage.jobs:,}"
        table.add_row(printable(stage.name), jobs, str(stage.running or ""), clips, rate, left)
    return table


def _state(last: Run | None) -> Text:
    """What is to be said of the last run."""
    if last is None:
        return Text("No run yet.")
    began = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(last.began))
    if last.status == "running":
        return Text(f"Running for {words(time.time() - last.began)}, since {began}.")
    if last.status == "killed":
        return Text(
            f"The run of {began} was killed; the same command goes on where it was.",
            style="yellow",
        )
    how = "ended well" if last.status == "ok" else "ended with failed jobs: see its messages"
    return Text(f"The run of {began} {how}.", style="" if last.status == "ok" else "red")
