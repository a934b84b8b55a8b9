"""The tree of proxies: made when asked for, by its own rule, and kept in step with the clips."""

import av
from conftest import Workflow, make_clip


def tree(workflow: Workflow) -> set[str]:
    """The clips' paths in the tree."""
    folder = workflow.folder / "results" / "tree" / "own"
    files = (p.relative_to(folder) for p in folder.rglob("*") if p.is_file())
    return {f.as_posix() for f in files if not f.name.startswith(".")}


def test_tree_is_made_later_by_its_own_rule_and_follows_the_clips(workflow: Workflow) -> None:
    workflow.config["clips"] = {"shard_size": 2}
    clips = workflow.folder / "clips"
    make_clip(clips / "sub" / "sample_0004.mkv", hue=30)
    workflow.run()
    workflow.config["media"] = {"layout": "tree"}
    assert workflow.jobs() == {"write_tree": 2}
    workflow.run()
    assert workflow.jobs() == {}
    names = {f"sample_{i:04d}.mp4" for i in (1, 2, 3)}
    assert tree(workflow) == names | {"sub/sample_0004.mp4"}
    with av.open(str(workflow.folder / "results/tree/own/sub/sample_0004.mp4")) as container:
        assert [s.codec_context.name for s in container.streams] == ["h264", "aac"]

    make_clip(clips / "sub" / "sample_0004.mov", hue=60)
    (clips / "sample_0001.mp4").unlink()
    workflow.run()
    assert tree(workflow) == {
        "sample_0002.mp4",
        "sample_0003.mp4",
        "sub/sample_0004.mkv.mp4",
        "sub/sample_0004.mov.mp4",
    }


def test_what_a_vanished_shard_left_is_deleted(workflow: Workflow) -> None:
    workflow.config |= {
        "clips": {"shard_size": 2},
        "media": {"layout": "tree"},
        "tasks": ["av_consistency", "synchrony"],
        "models": {"mini": {}},
    }
    workflow.run()
    results = workflow.folder / "results"

    def left() -> set[str]:
        rooms = ("media", "embeddings", "synchrony", "tree")
        found = (p for room in rooms for p in (results / room).rglob("*0001*"))
        return {str(p.relative_to(results)) for p in found if "sample" not in p.name}

    assert left()
    (workflow.folder / "clips" / "sample_0003.mp4").unlink()
    workflow.jobs()
    assert left(), "a dry run deletes nothing"
    workflow.run()
    assert left() == set()
    assert tree(workflow) == {"sample_0001.mp4", "sample_0002.mp4"}
    assert workflow.jobs() == {}
