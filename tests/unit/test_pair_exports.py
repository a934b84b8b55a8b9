"""Pairs that the scripts did not know are written as those that they did."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from planned_results import MODEL, configure, make_planned

from concord.config import Config
from concord.report.exports import export
from concord.report.pairs import sides
from concord.report.results import Results

DIM = 8
CLIPS = ("sample_0001", "sample_0002", "sample_0003")


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    """Three videos with prompts, of which two have an image beside them."""
    folder = tmp_path_factory.mktemp("pairs")
    names = [folder / "videos" / f"{name}.mp4" for name in CLIPS]
    names += [folder / "images" / f"{name}.png" for name in CLIPS[:2]]
    rng = np.random.default_rng(0)
    vectors: dict[str, Any] = {f"prompt {i}": None for i in (1, 2, 3)}
    for path in names:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"media")
        vectors[str(path)] = None
    vectors = {name: rng.normal(size=DIM).astype(np.float32) for name in vectors}
    prompts = [{"index": i, "video_prompt": f"prompt {i}"} for i in (1, 2, 3)]
    (folder / "prompts.json").write_text(json.dumps(prompts))
    config = configure(
        folder,
        entry="imagebind",
        collections={"c": {"path": str(folder / "videos"), "image": str(folder / "images")}},
        prompts=str(folder / "prompts.json"),
        tasks=["image_text", "image_video", "retrieval", "features"],
    )
    make_planned(config, vectors)
    export(config)
    return config


def load(config: Config, name: str) -> Any:
    path = config.results / "exports" / MODEL / name
    return json.loads(path.read_text(encoding="utf-8"))


def test_image_and_prompt(config: Config) -> None:
    content = load(config, "image_text/c_image_text.json")
    assert list(content) == ["image_dir", "json_file", "statistics", "results"]
    images = config.collections["c"].image
    assert content["image_dir"] == str(images)
    good, bad = content["results"][0], content["results"][2]
    assert (good["image_path"], good["video_prompt"]) == (f"{images}/{CLIPS[0]}.png", "prompt 1")
    assert list(good)[-2:] == ["image_embedding_shape", "text_embedding_shape"]
    assert good["image_embedding_shape"] == [1, DIM]
    assert (bad["success"], bad["image_path"]) == (False, None)
    assert content["statistics"]["successful_count"] == 2


def test_image_and_picture(config: Config) -> None:
    content = load(config, "image_video/c_image_video.json")
    assert (content["image_count"], content["video_count"]) == (2, 3)
    folder = config.results / "exports" / MODEL / "image_video" / "c_image_video"
    assert json.loads((folder / "metrics.json").read_text()) == content["metrics"]
    assert np.load(folder / "image_embeddings.npy").shape == (2, DIM)
    images, videos = (config.collections["c"].image, config.collections["c"].path[0])
    lines = (folder / "pairs.txt").read_text().splitlines()
    assert lines == [f"{images}/{name}.png\t{videos}/{name}.mp4" for name in CLIPS[:2]]
    matrix = np.load(folder / "similarity_matrix.npy").astype(float)
    ranks = (matrix > np.diag(matrix)[:, None]).sum(1) + 1
    assert content["metrics"]["mean_rank"] == ranks.mean()


def test_features_of_images(config: Config) -> None:
    folder = config.results / "exports" / MODEL / "features" / "c" / "image"
    images = config.collections["c"].image
    listed = (folder / "image_paths.txt").read_text().splitlines()
    assert listed == [f"{images}/{name}.png" for name in CLIPS[:2]]
    assert np.load(folder / "features.npy").shape == (2, DIM)


def test_images_that_are_clips_themselves(tmp_path: Path) -> None:
    image = tmp_path / "images" / "a.png"
    image.parent.mkdir()
    image.write_bytes(b"image")
    config = configure(
        tmp_path,
        entry="imagebind",
        collections={"c": str(image.parent)},
        tasks=["image_video", "features"],
    )
    make_planned(config, {str(image): np.ones(DIM, np.float32)})
    export(config)
    folder = config.results / "exports" / MODEL / "features" / "c" / "image"
    assert (folder / "image_paths.txt").read_text() == f"{image}\n"
    content = load(config, "image_video/c_image_video.json")
    assert (content["image_dir"], content["image_count"]) == (str(image.parent), 1)
    assert content["results"][0]["image_path"] == str(image)


def test_sounds_are_the_rows_of_av_consistency() -> None:
    assert sides("av_consistency") == ("audio", "video")
    assert sides("image_video") == ("image", "video")


def test_an_image_that_is_a_clip_is_counted_as_an_image_alone(tmp_path: Path) -> None:
    """It has neither a moving picture nor a sound."""
    vectors = {}
    for seed, name in enumerate(("a.mp4", "a.png", "b.png")):
        (tmp_path / "mixed").mkdir(exist_ok=True)
        (tmp_path / "mixed" / name).write_bytes(b"media")
        values = np.random.default_rng(seed).normal(size=DIM).astype(np.float32)
        vectors[str(tmp_path / "mixed" / name)] = values
    config = configure(
        tmp_path,
        entry="imagebind",
        collections={"c": str(tmp_path / "mixed")},
        tasks=["image_video", "audio_image", "features"],
    )
    make_planned(config, vectors)
    export(config)
    content = load(config, "image_video/c_image_video.json")
    assert (content["image_count"], content["video_count"]) == (2, 1)
    content = load(config, "audio_image/c_audio_image.json")
    assert (content["image_count"], content["audio_count"]) == (2, 1)


def test_exports_read_what_the_workflow_says_they_read(config: Config, tmp_path: Path) -> None:
    """Beside the lists of shards, which are read whenever the workflow is planned."""
    lists = [*config.results.glob("clips/*/*.json"), *config.results.glob("prompts/*/*.json")]
    for path in [*Results(config).layout.exported(), *lists]:
        copy = tmp_path / path.relative_to(config.results)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
    export(config.model_copy(update={"results": tmp_path}))

    def written(results: Path) -> set[Path]:
        return {path.relative_to(results) for path in (results / "exports").rglob("*")}

    assert written(tmp_path) == written(config.results)
