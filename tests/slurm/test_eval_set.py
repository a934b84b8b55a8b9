"""The real evaluation set by the SLURM profile on three nodes, against a run on this machine."""

from pathlib import Path

import pytest

from tests.slurm.fixtures import ClusterRun, assert_same_tables, leftovers, run_here
from tests.slurm.private_slurm import PrivateSlurm
from tests.workflow.eval_set import lay_out

pytest_plugins = ["tests.slurm.fixtures"]
pytestmark = [pytest.mark.shared, pytest.mark.slow]


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
