"""The real evaluation set by the SLURM profile on three nodes, against a run on this machine."""

from pathlib import Path
from typing import Any

import pytest

from tests.slurm.fixtures import ClusterRun, assert_same_tables, leftovers, run_here
from tests.slurm.private_slurm import PrivateSlurm
from tests.workflow.eval_set import lay_out

pytest_plugins = ["tests.slurm.fixtures"]
pytestmark = [pytest.mark.shared, pytest.mark.slow]

EVENT_RICH = (1, 2, 3, 4)
MUSIC = (6, 7, 18, 19)


def test_tables_equal_those_of_a_local_run(
    slurm: PrivateSlurm, shared: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "eval"
    folder.mkdir()
    config = lay_out(folder, shared) | {"clips": {"shard_size": 25}, "media": {"workers": 2}}
    run = ClusterRun(folder, config, slurm=slurm, limit_s=3000)
    run.run()
    rows = assert_same_tables(run, run_here(run))
    assert rows["media"] >= 23 + 2 * 21 + 60
    assert leftovers(run) == []
    nodes = set(slurm.client("squeue", "--noheader", "--states=all", "--format=%N").split())
    assert nodes >= {"node1", "node2", "node3"}, "all nodes had work"
    print(rows)
    synchrony = scores_of_synchrony(run)
    delay_is_seen_where_there_are_events(synchrony)
    no_synchrony_is_claimed_for_music(synchrony)
    muted = [s for (c, *_), s in synchrony.items() if c == "muted"]
    assert {(row["status"], row["reason"]) for row in muted} == {("skipped", "silent")}


def scores_of_synchrony(run: ClusterRun) -> dict[tuple[str, int, str], dict[str, Any]]:
    """Rows by collection, prompt index and metric."""
    return {
        (row["collection"], int(row["item"]), row["metric"]): row
        for row in run.table("scores").to_pylist()
        if row["task"] == "synchrony" and row["clip_id"] and row["item"].isdigit()
    }


def delay_is_seen_where_there_are_events(scores: dict) -> None:
    shifts = []
    for index in EVENT_RICH:
        now, late = (scores[c, index, "offset_ms"]["value"] for c in ("original", "delayed"))
        if now is not None and late is not None:
            shifts.append(late - now)
    assert len(shifts) >= 2, "at least half of the event-rich clips allow a claim"
    assert all(abs(shift - 1000) <= 100 for shift in shifts), shifts


def no_synchrony_is_claimed_for_music(scores: dict) -> None:
    for index in MUSIC:
        for collection in ("original", "delayed"):
            row = scores[collection, index, "offset_ms"]
            assert row["value"] is None, (collection, index, row)
            assert row["status"] == "skipped"
