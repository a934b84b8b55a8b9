"""Assignment of clips to shards."""

from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from concord.clips.ledger import LEDGER, assign, extend
from concord.tables import PLAN, write_table

Files = dict[str, tuple[int, int]]

names = st.text("abcdef", min_size=1, max_size=3)
signatures = st.tuples(st.integers(0, 3), st.integers(0, 3))
files = st.dictionaries(names, signatures, max_size=20)
shard_sizes = st.integers(1, 4)


def table(members: Files) -> pa.Table:
    ids = sorted(members)
    columns = {
        "id": pa.array(ids, pa.string()),
        "size": pa.array([members[i][0] for i in ids], pa.int64()),
        "mtime_ns": pa.array([members[i][1] for i in ids], pa.int64()),
    }
    return pa.table(columns)


def shards_of(ledger: pa.Table) -> dict[str, int]:
    return dict(zip(ledger["id"].to_pylist(), ledger["shard"].to_pylist(), strict=True))


def grown(history: list[Files], shard_size: int) -> list[pa.Table]:
    ledgers = [LEDGER.schema.empty_table()]
    for members in history:
        ledgers.append(extend(ledgers[-1], table(members), shard_size))
    return ledgers


@settings(deadline=None)
@given(st.lists(files, max_size=5), shard_sizes)
def test_a_known_clip_keeps_its_shard_and_no_shard_is_overfull(
    history: list[Files], shard_size: int
) -> None:
    ledgers = grown(history, shard_size)
    for members, before, after in zip(history, ledgers[:-1], ledgers[1:], strict=True):
        old, new = shards_of(before), shards_of(after)
        assert len(new) == len(after)
        assert members.keys() <= new.keys()
        assert all(new[name] == old[name] for name in members.keys() & old.keys())
        assert len(after) >= len(before)
        counts = Counter(new.values())
        assert max(counts.values(), default=0) <= shard_size
        assert sorted(counts) == list(range(len(counts)))


@settings(deadline=None)
@given(st.lists(files, max_size=4), shard_sizes)
def test_nothing_new_changes_nothing(history: list[Files], shard_size: int) -> None:
    ledger = grown(history, shard_size)[-1]
    assert extend(ledger, table(history[-1] if history else {}), shard_size).equals(ledger)


@settings(deadline=None)
@given(files.filter(bool), shard_sizes, st.data())
def test_a_renamed_clip_keeps_its_shard(
    members: Files, shard_size: int, data: st.DataObject
) -> None:
    before = extend(LEDGER.schema.empty_table(), table(members), shard_size)
    old = data.draw(st.sampled_from(sorted(members)))
    new = data.draw(names.filter(lambda name: name not in members))
    renamed = {name: value for name, value in members.items() if name != old}
    renamed[new] = members[old]
    after = extend(before, table(renamed), shard_size)
    expected = {name: shard for name, shard in shards_of(before).items() if name != old}
    assert shards_of(after) == expected | {new: shards_of(before)[old]}


@settings(deadline=None)
@given(files, shard_sizes, signatures)
def test_one_added_clip_joins_the_newest_shard_with_room(
    members: Files, shard_size: int, signature: tuple[int, int]
) -> None:
    before = extend(LEDGER.schema.empty_table(), table(members), shard_size)
    shard = shards_of(extend(before, table(members | {"new": signature}), shard_size))["new"]
    assert shard == len(members) // shard_size


def test_a_removed_clip_leaves_a_hole_that_it_finds_again() -> None:
    both = {"a": (1, 1), "b": (2, 2)}
    first, removed, added, back = grown(
        [both, {"b": (2, 2)}, {"b": (2, 2), "c": (3, 3)}, both | {"c": (3, 3)}], 2
    )[1:]
    assert shards_of(removed) == shards_of(first) == {"a": 0, "b": 0}
    assert shards_of(added)["c"] == 1
    assert shards_of(back) == {"a": 0, "b": 0, "c": 1}


def test_clips_that_look_alike_take_over_one_hole_each() -> None:
    alike = dict.fromkeys("abcd", (0, 5))
    before = extend(LEDGER.schema.empty_table(), table(alike), 2)
    after = extend(before, table(dict.fromkeys("abxyz", (0, 5))), 2)
    assert shards_of(after) == {"a": 0, "b": 0, "x": 1, "y": 1, "z": 2}


def test_smaller_shards_apply_to_new_clips_only() -> None:
    before = extend(LEDGER.schema.empty_table(), table(dict.fromkeys("abcd", (0, 0))), 4)
    after = extend(before, table(dict.fromkeys("abcdefg", (0, 0))), 2)
    assert shards_of(after) == {**dict.fromkeys("abcd", 0), "e": 1, "f": 1, "g": 2}


def test_a_lost_ledger_is_made_again_from_the_plan_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger = tmp_path / "ledger.parquet"
    members = table(dict.fromkeys("acegik", (1, 1)))
    assign(ledger, members, 2)
    members = table(dict.fromkeys("abcegik", (1, 1)))  # b joins the newest shard
    before = assign(ledger, members, 2).to_pylist()
    column = pa.array([f"{shard:04d}" for shard in before])
    for shard in set(column.to_pylist()):
        ids = members["id"].filter(pc.equal(column, shard))
        rows = pa.table([ids, ids, ids, ids], schema=PLAN.schema)
        write_table(tmp_path / "plan" / f"{shard}.parquet", PLAN, rows)
    ledger.write_bytes(b"PAR1 damaged")
    assert assign(ledger, members, 2).to_pylist() == before
    assert "made again from the plan files" in capsys.readouterr().err
    ledger.unlink()
    assert assign(ledger, members, 2).to_pylist() == before
