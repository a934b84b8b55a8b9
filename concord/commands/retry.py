"""`concord retry`: let the next run do failed clips again, and nothing else.

A later stage may know a clip by the key of its media row, which does not change when the clip is
tried again. So what is not ok and rests on a forgotten media row is forgotten first: killed in
between, the media row is still there and the same command finds it again.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import typer

from concord import cluster
from concord import run as machine
from concord.commands.failures import stage_files
from concord.commands.terminal import print_table, say
from concord.config import Config
from concord.errors import UserError, did_you_mean
from concord.layout import Layout
from concord.load import load
from concord.models import catalogue
from concord.resume import Row, finished_rows, forget
from concord.tables import REASONS, Table

TRANSIENT = ("timeout", "crashed", "memory_limit", "model_error", "not_fetched", "missing")
STAGES = ("media", "embeddings", "synchrony")
_ASPECTS = ("", "video_", "audio_")


@dataclass(frozen=True)
class Redo:
    """Rows of one shard's table that are to be made again: the reason of each, by key."""

    stage: str
    table: Table
    file: Path
    reasons: Mapping[str, str]

    def forget(self) -> int:
        """Drop the rows; returns how many there were."""
        return forget(self.file, self.table, lambda row: row["key"] in self.reasons)


def run(path: Path, stage: str | None, reasons: list[str], everything: bool, yes: bool) -> None:
    """Show what would be tried again, ask, and forget it.

    Raises UserError for unknown stages and reasons, and while a run is using the results.
    """
    _check_words(stage, reasons)
    config = load(path)
    machine.hold_results(config.results)
    for note in cluster.end_orphans(config.results, remote=False):
        say(f"note: {note}", "yellow")
    machine.lock_results(config.results)
    wanted = set(reasons or (REASONS if everything else TRANSIENT))
    # By file, since collections may share their prompts.
    chosen = {
        redo.file: redo
        for name in config.collections
        for redo in redos(config, name, stage, wanted)
    }.values()
    if not chosen:
        hint = "" if everything or reasons else "; --all: every failed row, whatever the reason"
        say(f"nothing to try again{hint}")
        return
    counts = Counter((redo.stage, reason) for redo in chosen for reason in redo.reasons.values())
    print_table(("stage", "reason", "rows"), ((*key, n) for key, n in sorted(counts.items())))
    if not yes and not typer.confirm("Let the next run make these rows again?"):
        return
    # Snakemake looks for missing tables only below a target that is missing too.
    (config.results / "tables" / "summary.parquet").unlink(missing_ok=True)
    forgotten = sum(redo.forget() for redo in chosen)
    say(f"{forgotten} rows forgotten; the next run of snakemake makes them again", "green")


def redos(config: Config, collection: str, stage: str | None, reasons: set[str]) -> Iterator[Redo]:
    """What is to be made again in a collection: dependents before what they rest on."""
    places = Layout(config, {name: catalogue.spec(config, name) for name in config.models})
    if not places.clips(collection).exists():
        return
    media: list[Redo] = []
    clips: dict[str, str] = {}
    for name, table, _, shard, file in stage_files(config, places, collection):
        if shard is None:
            continue
        rows = [row for row in finished_rows(file, table) if _is_bad(row)]
        asked = stage in (None, name.split("/")[0])
        chosen = {row["key"]: why for row in rows if asked and (why := _failure(row, reasons))}
        if name == "media":
            media.append(Redo(name, table, file, chosen))
            clips |= {row["clip_id"]: chosen[row["key"]] for row in rows if row["key"] in chosen}
        elif not name.endswith("/text"):
            column = "id" if "id" in table.names else "clip_id"
            chosen |= {row["key"]: clips[row[column]] for row in rows if row[column] in clips}
        if chosen and name != "media":
            yield Redo(name, table, file, chosen)
    yield from (redo for redo in media if redo.reasons)


def _is_bad(row: Row) -> bool:
    return any(row.get(f"{aspect}status", "ok") != "ok" for aspect in _ASPECTS)


def _failure(row: Row, reasons: set[str]) -> str | None:
    """The first of `reasons` for which the row, its picture or its sound failed."""
    for aspect in _ASPECTS:
        if row.get(f"{aspect}status") == "failed" and row[f"{aspect}reason"] in reasons:
            return str(row[f"{aspect}reason"])
    return None


def _check_words(stage: str | None, reasons: list[str]) -> None:
    problems = [
        f"--reason: found {reason!r}, expected one of {', '.join(REASONS)}"
        f"{did_you_mean(reason, REASONS)}"
        for reason in reasons
        if reason not in REASONS
    ]
    if stage and stage not in STAGES:
        hint = did_you_mean(stage, STAGES)
        problems.append(f"--stage: found {stage!r}, expected {', '.join(STAGES)}{hint}")
    if problems:
        raise UserError(*problems)
