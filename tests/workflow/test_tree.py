"""The tree of proxies: made when asked for, by its own rule, and kept in step with the clips."""

import av
import pytest

from tests.workflow.conftest import Workflow, make_clip


def tree(workflow: Workflow) -> set[str]:
    """The clips' paths in the tree."""
    folder = workflow.folder / "results" / "tree" / "own"
    files = (p.relative_to(folder) for p in folder.rglob("*") if p.is_file())
    return {f.as_posix() for f in files if not f.name.startswith(".")}


def left(workflow: Workflow, shard: str) -> set[str]:
    """What the rooms hold of a shard."""
    results = workflow.folder / "results"
    rooms = ("media", "synchrony", "tree")
    found = (p for room in rooms for p in (results / room).rglob(f"*{shard}*"))
    return {str(p.relative_to(results)) for p in found if "sample" not in p.name}


@pytest.mark.slow
def test_tree_is_made_later_and_follows_the_clips(workflow: Workflow) -> None:
    workflow.config["clips"] = {"shard_size": 2}
    clips = workflow.folder / "clips"
    make_clip(clips / "sub" / "sample_0004.mkv", hue=30)
    workflow.run()
    workflow.config["media"] = {"layout": "tree"}
    assert workflow.jobs() == {"write_tree": 2}, "by its own rule"
    workflow.run()
    assert workflow.jobs() == {}
    names = {f"sample_{i:04d}.mp4" for i in (1, 2, 3)}
    assert tree(workflow) == names | {"sub/sample_0004.mp4"}
    with av.open(str(workflow.folder / "results/tree/own/sub/sample_0004.mp4")) as container:
        assert [s.codec_context.name for s in container.streams] == ["h264", "aac"]

    make_clip(clips / "sub" / "sample_0004.mov", hue=60)
    (clips / "sample_0001.mp4").unlink()
    workflow.run("--until", "write_tree")
    sub = {"sub/sample_0004.mkv.mp4", "sub/sample_0004.mov.mp4"}
    assert tree(workflow) == {"sample_0002.mp4", "sample_0003.mp4", *sub}
    what_a_vanished_shard_left_is_deleted(workflow)


def what_a_vanished_shard_left_is_deleted(workflow: Workflow) -> None:
    shard = "0001"
    assert {path.split("/")[0] for path in left(workflow, shard)} == {"media", "synchrony", "tree"}
    remaining = tree(workflow)
    for name in ("sample_0003.mp4", "sub/sample_0004.mkv"):
        (workflow.folder / "clips" / name).unlink()
    workflow.jobs()
    assert left(workflow, shard), "a dry run deletes nothing"
    workflow.run()
    assert left(workflow, shard) == set()
    gone = {"sample_0003.mp4", "sub/sample_0004.mkv.mp4", "sub/sample_0004.mov.mp4"}
    assert tree(workflow) == (remaining - gone) | {"sub/sample_0004.mp4"}
    assert workflow.jobs() == {}
