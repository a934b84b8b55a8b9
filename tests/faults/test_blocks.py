"""Blocks of shards, run as a user runs them: grown and cut anew."""

import pyarrow.parquet as pq
import pytest

from concord.tables import read_metadata
from tests.workflow.conftest import Workflow, make_clip

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("nothing_is_left")]

TARGET = "results/scores/av_consistency/mini/own.parquet"


def tables(workflow: Workflow) -> dict[str, tuple[int, int]]:
    """Clips processed and kept by each job that embedded pictures."""
    folder = workflow.folder / "results/embeddings/mini/video/own"
    notes = {path.stem: read_metadata(path)["run"] for path in sorted(folder.glob("[0-9]*"))}
    return {name: (note["processed"], note["reused"]) for name, note in notes.items()}


def test_blocks_grow_and_are_cut_anew(workflow: Workflow) -> None:
    workflow.config |= {"tasks": ["av_consistency"], "models": {"mini": {"workers": 1}}}
    workflow.config["clips"] = {"shard_size": 2, "block_size": 4}
    workflow.run(TARGET)
    assert tables(workflow) == {"0000-0001": (3, 0)}
    for i in (4, 5):
        make_clip(workflow.folder / "clips" / f"sample_{i:04d}.mp4", hue=40 * i)
    workflow.run(TARGET)
    assert tables(workflow) == {"0000-0001": (1, 3), "0002-0003": (1, 0)}
    scores = pq.read_table(workflow.folder / TARGET)
    workflow.config["clips"]["block_size"] = 6
    workflow.run(TARGET)
    assert tables(workflow) == {"0000-0002": (0, 5)}, "nothing is computed again, nothing is left"
    assert pq.read_table(workflow.folder / TARGET).equals(scores)
