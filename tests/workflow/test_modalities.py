"""Images, depth maps and sounds through every room, by a small ImageBind with random weights."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from imagebind_checkpoint import write_tiny
from PIL import Image

from concord.tables import EMBEDDINGS, read_metadata, read_table
from tests.workflow.conftest import Workflow, make_clip

TASKS = ["video_text", "image_text", "depth_video", "audio_image", "retrieval", "features"]


def write_image(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (40, 56, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def modalities(tmp_path: Path) -> Workflow:
    """Two clips with sound, two images as clips of their own, depth maps for the first clip."""
    folder = tmp_path / "clips"
    for i in (1, 2):
        make_clip(folder / f"sample_{i:04d}.mp4", hue=90 * i, tone_hz=300 * i, seconds=2.2)
        write_image(folder / f"sample_{i + 2:04d}.png", i)
    (tmp_path / "depth").mkdir()
    np.save(tmp_path / "depth" / "1.npy", np.linspace(0, 1, 30 * 40).reshape(30, 40))
    weights = write_tiny(tmp_path / "weights" / "tiny.pth")
    workflow = Workflow(
        tmp_path,
        {
            "collections": {"own": {"path": "clips", "depth": "depth", "label": "parent"}},
            "prompts": "prompts.json",
            "models": {"tiny": {"entry": "imagebind", "checkpoint": str(weights), "workers": 1}},
            "tasks": TASKS,
            "media": {"keep_proxies": False},
            "report": {"projections": []},
        },
    )
    workflow.write_prompts(range(1, 5))
    return workflow


def scores(workflow: Workflow, task: str) -> dict[str, tuple[str, str | None]]:
    """Status and reason of every clip's score."""
    rows = workflow.table("scores").to_pylist()
    return {r["clip_id"]: (r["status"], r["reason"]) for r in rows if r["task"] == task}


def embeddings(workflow: Workflow, modality: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Rows by clip, and the metadata, of the one block of a modality."""
    path = workflow.folder / f"results/embeddings/tiny/{modality}/own/0000-0009.parquet"
    return {r["id"]: r for r in read_table(path, EMBEDDINGS).to_pylist()}, read_metadata(path)


@pytest.mark.slow
def test_every_clip_has_a_row_for_every_modality(modalities: Workflow) -> None:
    modalities.run()
    every_modality_is_scored(modalities)
    media = modalities.folder / "results" / "media"
    assert not [*media.rglob("*.mp4"), *media.rglob("*.wav")], "proxies are not to be kept"
    assert modalities.jobs() == {}, "nothing changed, so nothing is to be done"
    config = modalities.config
    modalities.config = config | {"media": config["media"] | {"max_pixels": 40_000_000}}
    assert modalities.jobs()["embed_companions"] == 2, "what was too large may not be any more"
    modalities.config = config
    only_what_a_change_touches_is_embedded_again(modalities)


def every_modality_is_scored(modalities: Workflow) -> None:
    clips, images = ["sample_0001.mp4", "sample_0002.mp4"], ["sample_0003.png", "sample_0004.png"]
    ok = ("ok", None)
    assert scores(modalities, "video_text") == dict.fromkeys(clips, ok) | dict.fromkeys(
        images, ("skipped", "still_image")
    )
    assert scores(modalities, "image_text") == dict.fromkeys(
        clips, ("skipped", "no_image")
    ) | dict.fromkeys(images, ok)
    assert scores(modalities, "depth_video") == {
        clips[0]: ok,
        clips[1]: ("skipped", "no_depth_file"),
        **dict.fromkeys(images, ("skipped", "still_image")),
    }
    assert set(scores(modalities, "audio_image").values()) == {
        ("skipped", "no_image"),
        ("skipped", "no_audio_stream"),
    }
    ranked = {r["direction"] for r in modalities.table("retrieval").to_pylist() if r["rank"]}
    assert {"video_to_text", "image_to_text", "text_to_image", "depth_to_video"} <= ranked
    stages = {r["stage"] for r in modalities.table("status").to_pylist()}
    assert {"embeddings/tiny/image", "embeddings/tiny/depth", "scores/image_text/tiny"} <= stages
    assert set(modalities.table("clips")["label"].to_pylist()) == {"clips"}
    page = (modalities.folder / "results" / "report" / "index.html").read_text()
    assert "Image and prompt" in page
    assert "sample_0003.png" in page


def only_what_a_change_touches_is_embedded_again(modalities: Workflow) -> None:
    modalities.config["tasks"] = ["depth_video", "image_text"]
    before, note = embeddings(modalities, "video")
    assert "media" not in note["protocol"], "originals were read"

    modalities.config["media"] = {"keep_proxies": False, "size_px": 64}
    assert modalities.jobs()["embed_media"] == 1
    modalities.run("--until", "embed_media")
    after, note = embeddings(modalities, "video")
    assert note["run"] == {"processed": 0, "reused": 4}, "another proxy is no other original"
    assert after == before

    os.utime(modalities.folder / "depth" / "1.npy", ns=(1, 1))
    write_image(modalities.folder / "depth" / "sample_0002.png", 5)
    jobs = modalities.jobs()
    assert jobs["embed_companions"] == 1, "the images are as they were"
    assert not {"embed_media", "transcode_shard", "embed_texts"} & jobs.keys()
    modalities.run("--until", "embed_companions")
    rows, note = embeddings(modalities, "depth")
    assert (note["run"]["processed"], note["run"]["reused"]) == (2, 2)
    assert rows["sample_0002.mp4"]["status"] == "ok"
