"""The rows of a collection: what becomes of every file and of every prompt without one."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from concord.clips.companions import Beside, companion_table
from concord.clips.files import stamps
from concord.clips.keys import plan_key
from concord.clips.match import Matches
from concord.clips.pairing import Pairs
from concord.clips.trial import cut
from concord.models.base import Modality
from concord.tables import CLIPS, LABELS, PLAN


@dataclass(frozen=True)
class Described:
    """A collection as tables: `clips` (CLIPS, shards still null) and, for the processed clips in
    the order of clip_id, `plan` (PLAN) and `members` (id, size, mtime_ns).

    `companions` has a row of COMPANION_FILES for each of `modalities` of each processed clip,
    `labels` (LABELS) one for each clip with a label or a group.
    """

    clips: pa.Table
    labels: pa.Table
    plan: pa.Table
    members: pa.Table
    modalities: list[Modality]
    companions: pa.Table


def eligible(found: pa.Table, sounds: Pairs) -> list[bool]:
    """Which rows of FOUND are clips, and so may have a prompt: media that is there or missing."""
    fit = pc.equal(pc.fill_null(found["reason"], "missing"), "missing")
    clips: list[bool] = pc.and_(pc.not_equal(found["kind"], "other"), fit).to_pylist()
    for row in [*sounds.alone, *sounds.of.values()]:
        clips[row] = False
    return clips


def describe(
    found: pa.Table,
    sounds: Pairs,
    matches: Matches | None,
    prompts: pa.Table,
    beside: Mapping[Modality, Beside],
    *,
    limit: int | None,
    skip: int,
) -> Described:
    """Describe the files of FOUND and the prompts (PROMPTS, empty without a prompt set).

    `beside` are the clips' companions. The first `skip` clips are left out. Under a `limit`, what
    lies beyond it (see concord.clips.trial) has no row, nor do sounds that belong to a clip, which
    stand in its row.
    """
    matches = matches or Matches([None] * len(found), ["no_prompt"] * len(found))
    clips = eligible(found, sounds)
    fates = _fates(found, sounds, skip)
    if limit is not None:
        left_out = fates.left_out
        beyond, matches = cut(found["clip_id"].to_pylist(), clips, matches, left_out, limit)
        fates = fates.without(beyond)
    rows = [_file_rows(found, fates, matches, prompts, clips), _prompt_rows(matches, prompts)]
    described = pa.concat_tables(rows).combine_chunks()
    processed = pa.array(fates.processed)
    plan = _plan(_with_sounds(found, sounds), processed)
    members = found.select(["clip_id", "size", "mtime_ns"]).take(processed)
    return Described(
        described,
        _labels(found, pc.and_(pa.array(clips, pa.bool_()), pa.array(fates.kept))),
        plan,
        members.rename_columns(["id", "size", "mtime_ns"]),
        list(beside),
        companion_table(plan["clip_id"].to_pylist(), processed.to_pylist(), beside),
    )


@dataclass(frozen=True)
class _Fates:
    """Status and reason of each file, which have a row, which are processed or left out."""

    status: pa.Array
    reason: pa.Array
    kept: NDArray[np.bool_]
    processed: NDArray[np.int64]
    left_out: NDArray[np.int64]

    def without(self, rows: list[int]) -> "_Fates":
        """The same, but `rows` have no row and are not processed."""
        kept = self.kept.copy()
        kept[rows] = False
        return replace(self, kept=kept, processed=np.setdiff1d(self.processed, rows))


def _fates(found: pa.Table, sounds: Pairs, skip: int) -> _Fates:
    """Leave out the first `skip` clips."""
    kept = np.ones(len(found), bool)
    kept[list(sounds.of.values())] = False
    ok = pc.equal(found["status"], "ok").to_numpy() & kept
    skipped = dict(sounds.alone)
    ok[list(skipped)] = False
    rows = np.flatnonzero(ok)
    skipped |= dict.fromkeys(rows[:skip].tolist(), "left_out")
    mask = np.zeros(len(found), bool)
    mask[list(skipped)] = True
    reasons = pa.array([skipped[row] for row in sorted(skipped)], pa.string())
    status, reason = (found[name].combine_chunks() for name in ("status", "reason"))
    return _Fates(
        pc.if_else(pa.array(mask), "skipped", status),
        pc.replace_with_mask(reason, pa.array(mask), reasons),
        kept,
        rows[skip:],
        rows[:skip],
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
        "item": _items(found["clip_id"], at, prompts, clips),
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


def _labels(found: pa.Table, clips: pa.Array) -> pa.Table:
    """LABELS of the clips in the mask that have any."""
    known = pc.or_(pc.is_valid(found["label"]), pc.is_valid(found["group"]))
    rows = found.filter(pc.and_(known, clips)).select(LABELS.names)
    return rows.replace_schema_metadata(None).cast(LABELS.schema)


def _items(
    clip_ids: pa.ChunkedArray, at: pa.Array, prompts: pa.Table, clips: list[bool]
) -> pa.ChunkedArray:
    """The prompt index of each clip, else its clip_id, whose extension no index has.

    Files that are no clips have none.
    """
    return pc.coalesce(prompts["index"].take(at).cast(pa.string()), _of_clips(clip_ids, clips))


def _of_clips(values: pa.ChunkedArray, clips: list[bool]) -> pa.ChunkedArray:
    """The values of the clips, null for files that are none."""
    return pc.if_else(pa.array(clips, pa.bool_()), values, None)


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


def _with_sounds(found: pa.Table, sounds: Pairs) -> pa.Table:
    """FOUND with the paths and stamps of paired sounds beside those that a manifest gives."""
    if not sounds.of:
        return found
    partner = pa.array([sounds.of.get(row) for row in range(len(found))], pa.int64())
    for name, values in (("audio_path", found["path"]), ("audio_stamp", stamps(found))):
        at = found.schema.get_field_index(name)
        filled = pc.coalesce(found[name], values.take(partner))
        found = found.set_column(at, found.schema.field(at), filled)
    return found


def _plan(found: pa.Table, processed: pa.Array) -> pa.Table:
    """PLAN rows of the processed files; a key changes with the name, size or time of a file."""
    names = ["clip_id", "path", "size", "version", "audio_path", "audio_stamp"]
    clips = found.select(names).take(processed)
    keys = [
        plan_key(*parts)
        for batch in clips.to_batches(max_chunksize=65536)
        for parts in zip(*(column.to_pylist() for column in batch.columns), strict=True)
    ]
    data = [clips["clip_id"], clips["path"], clips["audio_path"], pa.array(keys, pa.string())]
    return pa.table(data, schema=PLAN.schema)
