"""The rows of a collection: what becomes of every file and of every prompt without one."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

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
    fit = pc.equal(pc.fill_null(found["reason"], "missing"), "missing")
    clips: list[bool] = pc.and_(pc.not_equal(found["kind"], "other"), fit).to_pylist()
    for row in [*sounds.alone, *sounds.of.values()]:
        clips[row] = False
    return clips


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
    fates = _fates(found, sounds, skip, limit)
    clips = pa.concat_tables(
        [
            _file_rows(found, fates, matches, prompts, eligible(found, sounds)),
            _prompt_rows(matches, prompts),
        ]
    ).combine_chunks()
    processed = pa.array(fates.processed)
    plan = _plan(_with_sounds(found, sounds), processed)
    members = found.select(["clip_id", "size", "mtime_ns"]).take(processed)
    return Described(clips, plan, members.rename_columns(["id", "size", "mtime_ns"]))


@dataclass(frozen=True)
class _Fates:
    """Status and reason of each file, which have a row, and the rows that are processed."""

    status: pa.Array
    reason: pa.Array
    kept: NDArray[np.bool_]
    processed: NDArray[np.int64]


def _fates(found: pa.Table, sounds: Sounds, skip: int, limit: int | None) -> _Fates:
    """Leave out the first `skip` clips, and drop those beyond the next `limit`."""
    kept = np.ones(len(found), bool)
    kept[list(sounds.of.values())] = False
    ok = pc.equal(found["status"], "ok").to_numpy() & kept
    skipped = dict(sounds.alone)
    ok[list(skipped)] = False
    rows = np.flatnonzero(ok)
    skipped |= dict.fromkeys(rows[:skip].tolist(), "left_out")
    end = len(rows) if limit is None else skip + limit
    kept[rows[end:]] = False
    mask = np.zeros(len(found), bool)
    mask[list(skipped)] = True
    reasons = pa.array([skipped[row] for row in sorted(skipped)], pa.string())
    status, reason = (found[name].combine_chunks() for name in ("status", "reason"))
    return _Fates(
        pc.if_else(pa.array(mask), "skipped", status),
        pc.replace_with_mask(reason, pa.array(mask), reasons),
        kept,
        rows[skip:end],
    )


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
        "item": _items(found, at, prompts, clips),
        "prompt_index": prompts["index"].take(at),
        "video_prompt": prompts["video_prompt"].take(at),
        "audio_prompt": prompts["audio_prompt"].take(at),
        "status": fates.status,
        "reason": fates.reason,
        "detail": found["detail"],
        "prompt_status": pa.array(unmatched, pa.string()),
        "prompt_reason": pa.array(matches.reason, pa.string()),
    }
    return pa.table(data, schema=CLIPS.schema).filter(pa.array(fates.kept))


def _items(found: pa.Table, at: pa.Array, prompts: pa.Table, clips: list[bool]) -> pa.Array:
    """The prompt index of each clip; without one its stem, or its clip_id if that is not unique.

    Files that are no clips have none.
    """
    indices = prompts["index"].take(at).cast(pa.string())
    alone = pc.and_(pc.is_null(indices), pa.array(clips, pa.bool_()))
    paths = pc.if_else(alone, found["path"], None).to_pylist()
    stems = pa.array([path and stem_of(path) for path in paths], pa.string())
    counts = pc.value_counts(stems)
    single = counts.field("values").filter(pc.equal(counts.field("counts"), 1))
    unique = pc.and_(
        pc.is_in(stems, value_set=single),
        pc.invert(pc.is_in(stems, value_set=indices.combine_chunks().drop_null())),
    )
    own = pc.if_else(unique, stems, found["clip_id"])
    return pc.coalesce(indices, pc.if_else(alone, own, None))


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


def _plan(found: pa.Table, processed: pa.Array) -> pa.Table:
    """PLAN rows of the processed files; a key changes with the name, size or time of a file."""
    names = ["clip_id", "path", "size", "mtime_ns", "audio_path", "audio_stamp"]
    clips = found.select(names).take(processed)
    # No path contains a NUL, so the joined text says where each part ends.
    keys = [
        digest("\0".join(map(str, parts)))
        for batch in clips.to_batches(max_chunksize=65536)
        for parts in zip(*(column.to_pylist() for column in batch.columns), strict=True)
    ]
    data = [clips["clip_id"], clips["path"], clips["audio_path"], pa.array(keys, pa.string())]
    return pa.table(data, schema=PLAN.schema)
