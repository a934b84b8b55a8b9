"""Clips that are gone all at once: hardly removed, rather out of sight, as of an unmounted disk."""

import os
from collections import Counter
from collections.abc import Iterable

import pyarrow as pa
import pyarrow.compute as pc

from concord.clips.describe import Described
from concord.clips.files import absolute, is_folder, printable
from concord.clips.ledger import LEDGER, extend
from concord.clips.objects import stamps_of
from concord.config import Config
from concord.remote.urls import is_remote
from concord.tables import CLIPS, read_if_sound

MANY = 10
"""Clips that are missed when they are gone together."""
_TOLD = 5
"""Folders that a message names."""


def vanished(config: Config, name: str, described: Described) -> str | None:
    """What to say if so many clips of a collection are gone that a run had better not begin.

    Those are the clips of a folder that cannot be read, all of one of the collection's paths, all
    of a folder that held MANY, or MANY that are more than half of all. Only clips with results
    count, and none that was renamed, or that is left out though its file is there.
    """
    known = _known(config, name)
    gone = _gone(config, name, described, known)
    if not len(gone):
        return None
    paths = gone["path"].to_pylist()
    roots = _roots(config, name)
    blind = _unreadable(described)
    seen = [path for path in paths if not _lies_in(path, blind)]
    told = [
        f"{count} in {folder} ({why})"
        for folder, why in blind.items()
        if (count := sum(_lies_in(path, [folder]) for path in paths))
    ]
    told += [
        f"all {count} in {folder}"
        for folder, count in _emptied(known["path"].to_pylist(), seen, roots).items()
        if count >= MANY or (folder in roots and not _has_clips(folder, described))
    ]
    if not told and (len(gone) < MANY or 2 * len(gone) <= len(known)):
        return None
    where = f" ({', '.join(told[:_TOLD])}{', ...' if told[_TOLD:] else ''})" if told else ""
    return (
        f"collections.{name}: {len(gone)} of {len(known)} clips with results are gone{where}; a "
        "run would delete their results. Mount or restore what holds them and run again; if they "
        f"were removed on purpose, delete {_table(config, name)} and run again"
    )


def _table(config: Config, name: str) -> str:
    return str(config.results / "clips" / name / "clips.parquet")


def _known(config: Config, name: str) -> pa.Table:
    """clip_id and path of the clips of the last plan whose shards have media."""
    columns = ["clip_id", "path", "shard"]
    media = config.results / "media" / name
    clips = read_if_sound(config.results / "clips" / name / "clips.parquet", CLIPS, columns)
    if clips is None:
        return pa.schema([CLIPS.schema.field(column) for column in columns]).empty_table()
    shards = pc.unique(clips["shard"]).drop_null().to_pylist()
    done = [shard for shard in shards if (media / shard).exists()]
    return clips.filter(pc.is_in(clips["shard"], value_set=pa.array(done, pa.string())))


def _gone(config: Config, name: str, described: Described, known: pa.Table) -> pa.Table:
    """The known clips that are no longer planned, since their files are not seen."""
    here = pc.is_in(known["clip_id"], value_set=described.plan["clip_id"])
    unplanned = known.filter(pc.invert(here))
    if not len(unplanned):
        return unplanned
    rows = described.clips.select(["clip_id", "reason"])
    rows = rows.filter(pc.is_in(rows["clip_id"], value_set=unplanned["clip_id"]))
    reasons = {row["clip_id"]: row["reason"] for row in rows.to_pylist()}
    roots, blind = _roots(config, name), _unreadable(described)
    objects = filter(is_remote, unplanned["path"].to_pylist())
    there = stamps_of(path for path in objects if _lies_in(path, roots))

    def is_gone(clip_id: str, path: str) -> bool:
        if _lies_in(path, blind):
            return True
        if clip_id in reasons:
            return bool(reasons[clip_id] == "missing")
        if not _lies_in(path, roots):  # the configuration left its folder out
            return False
        return there[path] is None if is_remote(path) else not os.path.exists(path)  # noqa: PTH110

    columns = (unplanned[column].to_pylist() for column in ("clip_id", "path"))
    gone = unplanned.filter(pa.array(map(is_gone, *columns), pa.bool_()))
    return _without_renamed(config, name, described, gone) if len(gone) else gone


def _without_renamed(config: Config, name: str, described: Described, gone: pa.Table) -> pa.Table:
    """Those of the clips whose places in the ledger no renamed file takes."""
    ledger = read_if_sound(config.results / "clips" / name / "ledger.parquet", LEDGER)
    if ledger is None:  # it is made again by the plan
        return gone
    ledger = extend(ledger, described.members, config.clips.shard_size)
    return gone.filter(pc.is_in(gone["clip_id"], value_set=ledger["id"]))


def _roots(config: Config, name: str) -> set[str]:
    """The collection's own folders."""
    folders = filter(is_folder, config.collections[name].path)
    return {printable(absolute(path)).rstrip("/") for path in folders}


def _unreadable(described: Described) -> dict[str, str]:
    """Folders that could not be read, with the system's words."""
    rows = described.clips.select(["path", "kind", "reason", "detail"])
    rows = rows.filter(
        pc.and_(pc.equal(rows["kind"], "other"), pc.equal(rows["reason"], "unreadable"))
    )
    return {row["path"].removesuffix("/.").rstrip("/"): row["detail"] for row in rows.to_pylist()}


def _lies_in(path: str, folders: Iterable[str]) -> bool:
    return any(path.startswith(f"{folder}/") for folder in folders)


def _has_clips(folder: str, described: Described) -> bool:
    return bool(pc.any(pc.starts_with(described.plan["path"], f"{folder}/")).as_py())


def _emptied(known: Iterable[str], gone: Iterable[str], roots: set[str]) -> dict[str, int]:
    """The topmost folders of which all known files are gone, with their numbers."""
    held, lost = _held(known, roots), _held(gone, roots)
    empty = {folder for folder, count in lost.items() if count == held[folder]}
    return {f: lost[f] for f in sorted(empty) if f in roots or _above(f) not in empty}


def _held(paths: Iterable[str], roots: set[str]) -> Counter[str]:
    """Files anywhere below each folder, up to the roots."""
    held = Counter[str]()
    for folder, count in Counter(map(_above, paths)).items():
        while folder:
            held[folder] += count
            folder = "" if folder in roots else _above(folder)
    return held


def _above(path: str) -> str:
    return path.rpartition("/")[0]
