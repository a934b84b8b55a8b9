"""The ledger: which shard each clip was assigned to, once and for all.

A shard counts everything that was ever assigned to it, so that a clip that comes back finds its
place; a removed clip leaves a hole, which only a clip of the same size and modification time (the
same file renamed) may take.
"""

import sys
from collections import defaultdict, deque
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from concord.errors import DamagedError, UserError
from concord.tables import (
    Column,
    Table,
    read_any,
    read_if_sound,
    read_table,
    write_table_if_changed,
)

LEDGER = Table(
    "ledger",
    1,
    (
        Column("id", pa.string(), "clip_id or text_id"),
        Column("shard", pa.int64(), "number of its shard"),
        Column("size", pa.int64(), "bytes of the file when last seen; 0 for texts"),
        Column("mtime_ns", pa.int64(), "its modification time in nanoseconds; 0 for texts"),
    ),
)


def assign(path: Path, members: pa.Table, shard_size: int) -> pa.Array:
    """The shard of each of `members` (id, size, mtime_ns), as kept in the ledger at `path`.

    The ledger is replaced atomically if there is anything new. One that is missing or damaged is
    made again from the plan files beside it, so that the clips stay in their shards.
    """
    ledger = read_if_sound(path, LEDGER)
    if ledger is None:
        if path.exists():
            print(f"note: {path}: unusable; made again from the plan files", file=sys.stderr)
        ledger = _from_plans(path.parent / "plan")
    ledger = extend(ledger, members, shard_size)
    write_table_if_changed(path, LEDGER, ledger)
    return _column(ledger, "shard").take(_places(members, ledger))


def shard_bytes(path: Path) -> dict[int, int]:
    """Bytes of the files that were ever assigned to each shard, as the ledger at `path` knows.

    Empty where there is none, or it cannot be read.
    """
    with suppress(UserError):
        sizes = (
            read_table(path, LEDGER, ["shard", "size"])
            .group_by("shard")
            .aggregate([("size", "sum")])
        )
        return dict(zip(sizes["shard"].to_pylist(), sizes["size_sum"].to_pylist(), strict=True))
    return {}


def _from_plans(folder: Path) -> pa.Table:
    """The ledger of the members that readable plan files name in their first column."""
    ids, shards = list[str](), list[int]()
    for path in sorted(folder.glob("*.parquet")):
        with suppress(DamagedError):
            members = read_any(path)[0].to_pylist()
            ids += members
            shards += [int(path.stem)] * len(members)
    unknown = pa.repeat(pa.scalar(-1, pa.int64()), len(ids))
    return pa.table([pa.array(ids, pa.string()), shards, unknown, unknown], schema=LEDGER.schema)


def extend(ledger: pa.Table, members: pa.Table, shard_size: int) -> pa.Table:
    """The ledger with all of `members` in it.

    A member that is new takes the place of a vanished one of the same size and modification time;
    otherwise it joins the newest shard with room, or a new shard.
    """
    places = _places(members, ledger)
    new = members.filter(pc.is_null(places))
    ledger = _refreshed(ledger, members)
    if len(new):
        ledger, new = _with_renamed(ledger, members, new)
    if len(new):
        shards = pa.array(_free_places(ledger, shard_size, len(new)), pa.int64())
        added = [new["id"], shards, new["size"], new["mtime_ns"]]
        ledger = pa.concat_tables([ledger, pa.table(added, schema=LEDGER.schema)])
    return ledger.combine_chunks()


def _places(rows: pa.Table, among: pa.Table) -> pa.Array:
    """Where each row's id stands in `among`; null if it does not."""
    return pc.index_in(_column(rows, "id"), value_set=_column(among, "id"))


def _column(table: pa.Table, name: str) -> pa.Array:
    column = table[name].combine_chunks()
    return column if isinstance(column, pa.Array) else pa.concat_arrays(column.chunks)


def _refreshed(ledger: pa.Table, members: pa.Table) -> pa.Table:
    """The ledger with the present size and time of the members that it knows."""
    places = _places(ledger, members)
    for name in ("size", "mtime_ns"):
        values = pc.coalesce(_column(members, name).take(places), _column(ledger, name))
        at = ledger.schema.get_field_index(name)
        ledger = ledger.set_column(at, LEDGER.schema.field(name), values)
    return ledger


def _with_renamed(ledger: pa.Table, members: pa.Table, new: pa.Table) -> tuple[pa.Table, pa.Table]:
    """The ledger with renamed members in the places of vanished ones, and the other new members."""
    vanished = pc.indices_nonzero(pc.is_null(_places(ledger, members)))
    if not len(vanished):
        return ledger, new
    holes: dict[tuple[int, int], deque[int]] = defaultdict(deque)
    gone = ledger.take(vanished)
    signatures = zip(gone["size"].to_pylist(), gone["mtime_ns"].to_pylist(), strict=True)
    for place, signature in zip(vanished.to_pylist(), signatures, strict=True):
        holes[signature].append(place)
    ids = ledger["id"].to_pylist()
    others = []
    for row, member in enumerate(new.select(["id", "size", "mtime_ns"]).to_pylist()):
        waiting = holes.get((member["size"], member["mtime_ns"]))
        if waiting:
            ids[waiting.popleft()] = member["id"]
        else:
            others.append(row)
    ledger = ledger.set_column(0, LEDGER.schema.field("id"), pa.array(ids, pa.string()))
    return ledger, new.take(pa.array(others, pa.int64()))


def _free_places(ledger: pa.Table, shard_size: int, wanted: int) -> list[int]:
    """A shard for each of `wanted` new members: newest shards with room first, then new shards."""
    counts = pc.value_counts(_column(ledger, "shard")).to_pylist()
    used = sorted(((c["values"], c["counts"]) for c in counts), reverse=True)
    places: list[int] = []
    for shard, count in used:
        places += [shard] * min(max(shard_size - count, 0), wanted - len(places))
    shard = used[0][0] + 1 if used else 0
    while len(places) < wanted:
        places += [shard] * min(shard_size, wanted - len(places))
        shard += 1
    return places
