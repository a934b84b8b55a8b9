"""`concord failures`: every skipped or failed clip with its reason and the log that has it."""

import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, astuple, dataclass, fields, replace
from pathlib import Path

from concord.clips.plan import shards
from concord.commands.logs import log_of
from concord.commands.terminal import print_table, say
from concord.config import Config
from concord.layout import Layout
from concord.load import load
from concord.models import catalogue
from concord.models.base import MODALITIES
from concord.protocol import digest
from concord.report.spreadsheet import csv_text
from concord.tables import CLIPS, EMBEDDINGS, MEDIA, REASONS, RETRIEVAL, SCORES, SYNCHRONY, Table
from concord.tables import read_table as read

_ID = {EMBEDDINGS.name: "id", RETRIEVAL.name: "query"}


@dataclass(frozen=True)
class Failure:
    """One row that is not ok at one stage."""

    collection: str
    clip: str
    stage: str
    status: str
    reason: str
    detail: str
    log: str


def run(path: Path, collection: str | None, stage: str | None, as_csv: bool) -> None:
    """Print what is not ok; of each clip and reason only the first stage, unless one is asked."""
    config = load(path)
    chosen = [name for name in config.collections if collection in (None, name)]
    found = [
        failure
        for name in chosen
        for failure in failures(config, name)
        if stage is None or failure.stage.startswith(stage)
    ]
    if stage is None:
        first = {(row.collection, row.clip, row.reason): row for row in reversed(found)}
        found = list(reversed(first.values()))
    found = list(dict.fromkeys(found))  # collections may share their prompts
    columns = [field.name for field in fields(Failure)]
    if as_csv:
        sys.stdout.write(csv_text(columns, list(map(asdict, found))))
    elif found:
        print_table(columns, map(astuple, found))
        say("")
        counts = Counter((row.status, row.reason) for row in found)
        explained = [(*key, count, REASONS.get(key[1], "")) for key, count in counts.most_common()]
        print_table(("status", "reason", "rows", "meaning"), explained)
    else:
        say("Nothing was skipped and nothing failed, in what has run so far.")


def failures(config: Config, collection: str) -> Iterator[Failure]:
    """The rows of a collection that are not ok, in the order of the stages that have run."""
    places = Layout(config, {name: catalogue.spec(config, name) for name in config.models})
    if places.clips(collection).exists():
        yield from _unplanned(places.clips(collection), collection)
        prompts = _prompt_names(places.clips(collection))
        for stage, table, owner, shard, file in stage_files(config, places, collection):
            if file.exists():
                log = log_of(config.results, stage, owner, shard)
                for row in _bad_rows(file, table, stage, owner, str(log)):
                    yield replace(row, clip=prompts.get(row.clip, row.clip))


def _unplanned(path: Path, collection: str) -> Iterator[Failure]:
    """Files that are not processed, and clips without a prompt or prompts without a clip."""
    for row in read(path, CLIPS).to_pylist():
        clip = row["clip_id"] or f"(prompt {row['item']})"
        if row["status"] != "ok":
            reason, detail = row["reason"] or "", row["detail"] or ""
            yield Failure(collection, clip, "clips", row["status"], reason, detail, "")
        if row["prompt_status"] not in ("ok", None):
            reason = row["prompt_reason"] or ""
            yield Failure(collection, clip, "prompts", row["prompt_status"], reason, "", "")


def _prompt_names(path: Path) -> dict[str, str]:
    """What the text_ids of a collection's prompts are called."""
    names: dict[str, str] = {}
    for row in read(path, CLIPS, ["item", "video_prompt", "audio_prompt"]).to_pylist():
        for text in filter(None, (row["video_prompt"], row["audio_prompt"])):
            names.setdefault(digest(text), f"(prompt {row['item']})")
    return names


def _bad_rows(path: Path, table: Table, stage: str, owner: str, log: str) -> Iterator[Failure]:
    name = _ID.get(table.name, "clip_id")
    seen = set()
    for row in read(path, table, [name, "status", "reason", "detail"]).to_pylist():
        clip, reason = row[name] or "", row["reason"] or ""
        if row["status"] != "ok" and (clip, reason) not in seen:
            seen.add((clip, reason))
            yield Failure(owner, clip, stage, row["status"], reason, row["detail"] or "", log)


def stage_files(
    config: Config, places: Layout, collection: str
) -> Iterator[tuple[str, Table, str, str | None, Path]]:
    """(stage, table, collection or prompt set, shard or block, file) of all tables there may be."""
    names = shards(config, collection)
    for shard, file in zip(names, places.media(collection), strict=True):
        yield "media", MEDIA, collection, shard, file
    for model in config.models:
        for modality in MODALITIES:
            for file in places.embeddings(model, modality, collection):
                stage, owner = f"embeddings/{model}/{modality}", file.parent.name
                yield stage, EMBEDDINGS, owner, file.stem, file
    for shard, file in zip(names, places.synchrony(collection), strict=True):
        yield "synchrony", SYNCHRONY, collection, shard, file
    for task, model in places.scored(collection):
        table = RETRIEVAL if task == "retrieval" else SCORES
        file = places.score(task, model, collection)
        yield f"scores/{task}/{model}", table, collection, None, file
