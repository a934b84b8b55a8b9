"""The rows of a collection: what becomes of every file and of every prompt without one."""

from collections import Counter
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from concord.clips.match import Matches
from concord.clips.scan import stem_of
from concord.clips.sound import Sounds
from concord.protocol import digest
from concord.tables import CLIPS, PLAN


@dataclass(frozen=True)
class Described:
    """A collection as tables: `clips` (CLIPS, shards still null) and, for the processed clips in
    the order of clip_id, `plan` (PLAN) and `members` (id, size, mtime_ns)."""

    clips: pa.Table
    plan: pa.Table
    members: pa.Table


def eligible(found: pa.Table, sounds: Sounds) -> list[bool]:
    """Which rows of FOUND are clips, and so may have a prompt: media that is there or missing."""
    taken = sounds.alone.keys() | sounds.of.values()
    kinds, reasons = found["kind"].to_pylist(), found["reason"].to_pylist()
    return [
        kind != "other" and reason in (None, "missing") and row not in taken
        for row, (kind, reason) in enumerate(zip(kinds, reasons, strict=True))
    ]


def describe(
    found: pa.Table,
    sounds: Sounds,
    matches: Matches | None,
    prompts: pa.Table,
    *,
    limit: int | None,
    skip: int,
) -> Described:
    """Describe the files of FOUND and the prompts (PROMPTS, empty without a prompt set).

    The first `skip` clips are left out; clips beyond the next `limit` have no row, nor do sounds
    that belong to a clip, which stand in its row.
    """
    matches = matches or Matches([None] * len(found), ["no_prompt"] * len(found))
    fates = _Fates(found, sounds)
    fates.cut(skip, limit)
    clips = pa.concat_tables(
        [
            _file_rows(found, fates, matches, prompts, eligible(found, sounds)),
            _prompt_rows(matches, prompts),
        ]
    ).combine_chunks()
    processed = pa.array(fates.processed(), pa.int64())
    plan = _plan(_with_sounds(found, sounds).take(processed))
    members = found.select(["clip_id", "size", "mtime_ns"]).take(processed)
    return Described(clips, plan, members.rename_columns(["id", "size", "mtime_ns"]))


class _Fates:
    """Status and reason of each file, and whether it has a row at all."""

    def __init__(self, found: pa.Table, sounds: Sounds) -> None:
        self.status: list[str] = found["status"].to_pylist()
        self.reason: list[str | None] = found["reason"].to_pylist()
        self.kept = [True] * len(found)
        for row in sounds.of.values():
            self.kept[row] = False
        for row, reason in sounds.alone.items():
            self.status[row], self.reason[row] = "skipped", reason

    def cut(self, skip: int, limit: int | None) -> None:
        """Leave out the first `skip` clips and drop those beyond the next `limit`."""
        for number, row in enumerate(self.processed()):
            if number < skip:
                self.status[row], self.reason[row] = "skipped", "left_out"
            elif limit is not None and number >= skip + limit:
                self.kept[row] = False

    def processed(self) -> list[int]:
        """The rows of the clips that are processed."""
        pairs = zip(self.status, self.kept, strict=True)
        return [row for row, (status, kept) in enumerate(pairs) if kept and status == "ok"]


def _file_rows(
    found: pa.Table, fates: _Fates, matches: Matches, prompts: pa.Table, clips: list[bool]
) -> pa.Table:
    rows = len(found)
    at = pa.array(matches.prompt, pa.int64())
    unmatched = ["ok" if reason is None else "skipped" for reason in matches.reason]
    data = {
        "clip_id": found["clip_id"],
        "path": found["path"],
        "kind": found["kind"],
        "shard": pa.nulls(rows, pa.string()),
        "item": pa.array(_items(found, at, prompts, clips), pa.string()),
        "prompt_index": prompts["index"].take(at),
        "video_prompt": prompts["video_prompt"].take(at),
        "audio_prompt": prompts["audio_prompt"].take(at),
        "status": pa.array(fates.status, pa.string()),
        "reason": pa.array(fates.reason, pa.string()),
        "detail": found["detail"],
        "prompt_status": pa.array(unmatched, pa.string()),
        "prompt_reason": pa.array(matches.reason, pa.string()),
    }
    return pa.table(data, schema=CLIPS.schema).filter(pa.array(fates.kept))


def _items(found: pa.Table, at: pa.Array, prompts: pa.Table, clips: list[bool]) -> list[str | None]:
    """The prompt index of each clip; without one its stem, or its clip_id if that is not unique."""
    items: list[str | None] = prompts["index"].take(at).cast(pa.string()).to_pylist()
    if all(item is not None for item, clip in zip(items, clips, strict=True) if clip):
        return items
    taken = {item for item in items if item is not None}
    paths = found["path"].to_pylist()
    stems = {
        row: stem_of(paths[row]) for row, clip in enumerate(clips) if clip and items[row] is None
    }
    counts = Counter(stems.values())
    clip_ids = found["clip_id"].to_pylist()
    for row, stem in stems.items():
        unique = counts[stem] == 1 and stem not in taken
        items[row] = stem if unique else clip_ids[row]
    return items


def _prompt_rows(matches: Matches, prompts: pa.Table) -> pa.Table:
    """Rows of the prompts without a file, in the order of their index."""
    rows = pa.array(matches.lonely, pa.int64())
    data = {name: pa.nulls(len(rows), CLIPS.schema.field(name).type) for name in CLIPS.schema.names}
    chosen = prompts.take(rows)
    data |= {name: chosen[name] for name in ("video_prompt", "audio_prompt")}
    data["prompt_index"] = chosen["index"]
    data["item"] = chosen["index"].cast(pa.string())
    data["status"] = pa.array(["skipped"] * len(rows), pa.string())
    data["reason"] = pa.array(matches.lonely.values(), pa.string())
    data["prompt_status"] = pa.array(["ok"] * len(rows), pa.string())
    return pa.table(data, schema=CLIPS.schema).sort_by("prompt_index")


def _with_sounds(found: pa.Table, sounds: Sounds) -> pa.Table:
    """FOUND with the paths and stamps of paired sounds beside those that a manifest gives."""
    if not sounds.of:
        return found
    partner = pa.array([sounds.of.get(row) for row in range(len(found))], pa.int64())
    stamp = pc.binary_join_element_wise(
        found["size"].cast(pa.string()), found["mtime_ns"].cast(pa.string()), " "
    )
    for name, values in (("audio_path", found["path"]), ("audio_stamp", stamp)):
        at = found.schema.get_field_index(name)
        filled = pc.coalesce(found[name], values.take(partner))
        found = found.set_column(at, found.schema.field(at), filled)
    return found


def _plan(clips: pa.Table) -> pa.Table:
    """PLAN rows of FOUND rows; a key changes with the name, size or time of a file."""
    names = ("clip_id", "path", "size", "mtime_ns", "audio_path", "audio_stamp")
    columns = (clips[name].to_pylist() for name in names)
    keys = [
        digest(clip_id, path, f"{size} {mtime_ns}", audio_path or "", audio_stamp or "")
        for clip_id, path, size, mtime_ns, audio_path, audio_stamp in zip(*columns, strict=True)
    ]
    data = [clips["clip_id"], clips["path"], clips["audio_path"], pa.array(keys, pa.string())]
    return pa.table(data, schema=PLAN.schema)
