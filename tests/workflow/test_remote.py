"""Clips on an S3 server give what local ones give, and cost what is new alone."""

import os
from typing import Any

import pytest
from compare import content

from tests.workflow.conftest import Workflow


@pytest.fixture
def remote(workflow: Workflow, bucket: Any) -> Workflow:
    """The workflow's clips on a server alone, and the run over the local ones beside it."""
    (workflow.folder / "clips" / "notes.txt").write_text("no clip")
    bucket.put_folder(workflow.folder / "clips", "own")
    other = workflow.folder / "remote"
    other.mkdir()
    (other / "prompts.json").symlink_to(workflow.folder / "prompts.json")
    config = workflow.config | {
        "collections": {"own": bucket.url("own")},
        "remote": {"endpoint_url": bucket.endpoint_url, "retries": 2},
        "publish": bucket.url("out"),
    }
    return Workflow(other, config)


def test_clips_on_a_server_are_measured_as_local_ones(
    workflow: Workflow, remote: Workflow, bucket: Any, clip: Any
) -> None:
    workflow.run()
    remote.run()
    assert content(remote) == content(workflow)
    assert {row["path"] for row in remote.table("media").to_pylist()} == {
        bucket.url(f"own/sample_{i:04d}.mp4") for i in (1, 2, 3)
    }
    assert published(bucket) == left_behind(remote)
    assert remote.jobs() == {}
    refused = remote.run("-n", "--default-storage-provider", "s3", ok=False)
    assert "--default-storage-provider: found s3, expected none" in refused
    secret = os.environ["AWS_SECRET_ACCESS_KEY"].encode()
    found = [p for p in (remote.folder / "results").rglob("*") if p.is_file()]
    assert not [p for p in found if secret in p.read_bytes()]

    bucket.put("own/sample_0004.mp4", clip(workflow.folder / "new.mp4", hue=60))
    bucket.put("own/sample_0001.mp4", clip(workflow.folder / "new.mp4", hue=90))
    bucket.delete("own/sample_0002.mp4")
    remote.write_prompts(range(1, 5))
    remote.run()
    assert remote.processed()["media"] == 2
    rows = {row["clip_id"]: row["status"] for row in remote.table("media").to_pylist()}
    assert rows == dict.fromkeys(("sample_0001.mp4", "sample_0003.mp4", "sample_0004.mp4"), "ok")
    assert published(bucket) == left_behind(remote)
    assert bucket.keys("own/") == {"own/notes.txt", *(f"own/{name}" for name in rows)}


def published(bucket: Any) -> dict[str, bytes]:
    return {key.removeprefix("out/"): bucket.get(key) for key in bucket.keys("out/")}


def left_behind(workflow: Workflow) -> dict[str, bytes]:
    """The tables, exports, page and provenance of a run, by their path below the results."""
    results = workflow.folder / "results"
    tops = [results / name for name in ("tables", "exports", "report", "provenance.json")]
    files = [file for top in tops for file in ([top] if top.is_file() else top.rglob("*"))]
    return {
        file.relative_to(results).as_posix(): file.read_bytes()
        for file in files
        if file.is_file() and not file.name.startswith(".")
    }
