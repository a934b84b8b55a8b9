"""A small workflow on SLURM: the tables of a local run, GPUs of SLURM's choice, and one walk."""

from collections.abc import Callable
from itertools import combinations

import pytest

from tests.slurm.fixtures import ClusterRun, Witness, assert_same_tables, leftovers, run_here
from tests.slurm.private_slurm import NODES, PrivateSlurm
from tests.workflow.conftest import Workflow

pytest_plugins = ["tests.slurm.fixtures"]


@pytest.mark.slow
def test_tables_equal_those_of_a_local_run(
    on_slurm: Callable[..., ClusterRun],
    witnessed: Callable[[Workflow], Witness],
    slurm: PrivateSlurm,
) -> None:
    run = on_slurm(clips=4, tasks=["av_consistency", "retrieval", "synchrony"])
    run.config["clips"] = {"shard_size": 2}
    witness = witnessed(run)
    # Two GPU jobs on one node, so that they have to differ.
    pin = ["--set-resources", "embed_media:slurm_extra='--nodelist=node1'"]
    run.run(*pin)
    rows = assert_same_tables(run, run_here(run))
    assert rows["media"] == 4
    assert leftovers(run) == []

    notes = witness.notes()
    walks = [note for note in notes if note["event"] == "walk"]
    assert [note["job"] for note in walks] == [None], "one look, in the main process"
    on_gpu = [note for note in notes if note["gpus"] is not None and note["job"]]
    assert {note["node"] for note in on_gpu} == {"node1"}
    taken = {
        job: [note for note in on_gpu if note["job"] == job] for job in {n["job"] for n in on_gpu}
    }
    assert all(len({note["gpus"] for note in notes}) == 1 for notes in taken.values())
    overlapping = [
        (a[0]["gpus"], b[0]["gpus"])
        for a, b in combinations(taken.values(), 2)
        if max(x[0]["time"] for x in (a, b)) < min(x[-1]["time"] for x in (a, b))
    ]
    assert overlapping, "pictures and sounds were embedded at the same time"
    assert all({a, b} == {"0", "1"} for a, b in overlapping)


def test_a_cluster_without_gpus_computes_on_processors(
    on_slurm: Callable[..., ClusterRun], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("slurm")
    with PrivateSlurm(folder, gpus=dict.fromkeys(NODES, 0)) as bare:
        run = on_slurm(clips=1, tasks=["video_text"])
        run.environment |= bare.environment
        target = "results/quality/mini/text/prompts.parquet"
        printed = run.run(target)
    assert "no node of this cluster offers a GPU" in printed
    assert (run.folder / target).exists()
