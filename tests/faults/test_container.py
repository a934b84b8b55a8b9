"""Proxies as files or in one tar a shard: the same results, and switching runs nothing again."""

import re
import shutil
from pathlib import Path

import pyarrow.parquet as pq

from tests.workflow.conftest import Workflow

ROOMS = ("embeddings", "synchrony", "scores", "quality", "tables", "exports", "tree")
STAMP = re.compile(rb'"timestamp": "[^"]*"')
COSTS = ("cost.parquet", "cost.csv")


def results(workflow: Workflow) -> dict[str, object]:
    """All that rests on the media, by path: rows of Parquet files, bytes of others.

    Exports say when they were written, which is left out.
    """
    root = workflow.folder / "results"
    files = [path for room in (*ROOMS, "report/media") for path in (root / room).rglob("*")]
    return {
        path.relative_to(root).as_posix(): pq.read_table(path).replace_schema_metadata(None)
        if path.suffix == ".parquet"
        else STAMP.sub(b"", path.read_bytes())
        for path in files
        if path.is_file() and not path.name.startswith(".") and path.name not in COSTS
    }


def times(workflow: Workflow) -> dict[Path, int]:
    """Modification times of all tables."""
    root = workflow.folder / "results"
    found = [path for room in (*ROOMS, "media") for path in (root / room).rglob("*.parquet")]
    return {path: path.stat().st_mtime_ns for path in found if path.name not in COSTS}


def kept(workflow: Workflow) -> set[str]:
    """The kinds of files in which proxies and waves are kept."""
    media = workflow.folder / "results" / "media"
    return {path.suffix for path in media.rglob("*") if path.suffix in (".mp4", ".wav", ".tar")}


def spoil(path: Path) -> None:
    """One byte within the first file of the tar, a proxy, is another."""
    content = bytearray(path.read_bytes())
    content[512 + 500] ^= 1
    path.write_bytes(content)


def test_files_and_tar_give_the_same(workflow: Workflow) -> None:
    """Embeddings, synchrony, scores, tables, exports, the tree and the page's clips."""
    workflow.config |= {"models": ["mini"], "media": {"layout": "tree"}}
    workflow.config["tasks"] = ["av_consistency", "synchrony"]
    workflow.run()
    assert kept(workflow) == {".mp4", ".wav"}
    from_files, before = results(workflow), times(workflow)

    workflow.config["media"]["container"] = "tar"
    assert workflow.started() == {"repack_shard": 1}
    assert kept(workflow) == {".tar"}
    assert times(workflow) == before

    spoil(next((workflow.folder / "results/media").rglob("proxies.tar")))
    for room in (*ROOMS, "report"):
        shutil.rmtree(workflow.folder / "results" / room)
    assert "transcode_shard" not in workflow.started()
    from_tar = results(workflow)
    assert from_tar.keys() == from_files.keys()
    assert not [name for name, content in from_files.items() if content != from_tar[name]]
    assert kept(workflow) == {".mp4", ".tar"}, "what was damaged lies beside the tar"
    assert workflow.started() == {"repack_shard": 1}
    assert kept(workflow) == {".tar"}
    assert workflow.jobs() == {}

    workflow.config["media"]["container"] = "files"
    assert workflow.jobs() == {"repack_shard": 1}
    workflow.config["media"]["keep_proxies"] = False
    assert workflow.jobs() == {"drop_proxies": 1}
