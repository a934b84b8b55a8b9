"""What each job reads: all that it opens, nothing else, and found without needless work."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from concord.clips import plan
from concord.layout import Layout
from concord.load import load
from concord.models.catalogue import spec
from concord.scores.sources import ACROSS


def layout(folder: Path, **sections: Any) -> Layout:
    """Three collections of two files in two shards, one with an image; a model that sees images."""
    for name in ("real", "kling", "sora"):
        (folder / name).mkdir(exist_ok=True)
        for stem in ("1", "2"):
            (folder / name / f"{stem}.mp4").touch()
    (folder / "images").mkdir(exist_ok=True)
    (folder / "images" / "1.png").touch()
    collections: dict[str, Any] = {n: {"path": str(folder / n)} for n in ("real", "kling", "sora")}
    collections["real"]["image"] = str(folder / "images")
    given = load(
        {
            "collections": collections,
            "results": str(folder / "results"),
            "models": {"mini": {}, "sharp": {"entry": "mini"}},
            "clips": {"shard_size": 1, "block_size": 1},
            "tasks": ["features"],
            **sections,
        }
    )
    plan.plan(given)
    specs = {name: spec(given, name) for name in given.models}
    specs["sharp"] = replace(specs["sharp"], modalities=(*specs["sharp"].modalities, "image"))
    return Layout(given, specs)


def relative(found: Layout, paths: list[Path]) -> set[str]:
    return {path.relative_to(found.results).as_posix() for path in paths}


def test_a_pair_concerns_the_retrieval_of_models_that_know_it(tmp_path: Path) -> None:
    before = layout(tmp_path, tasks=["retrieval"])
    after = layout(tmp_path, tasks=["retrieval", "image_video"])

    def known(model: str) -> list[Any]:
        return [
            (at.score_parameters("retrieval", model), at.needed("retrieval", model, "real"))
            for at in (before, after)
        ]

    assert known("mini")[0] == known("mini")[1]
    assert known("sharp")[0] != known("sharp")[1]
    assert after.score_parameters("retrieval", "sharp")["pairs"] == ["image_video"]


def test_the_limits_for_sound_concern_sound_alone(tmp_path: Path) -> None:
    probes = {"labels": "collection"}
    plain, strict = (
        layout(tmp_path, probes=probes, audio=audio) for audio in ({}, {"silence_db": -20})
    )
    for parameters, *scope in (("projection_parameters",), ("probe_parameters", ACROSS)):
        mine, theirs = (getattr(found, parameters) for found in (plain, strict))
        for modality in ("video", "image"):
            assert mine(modality, *scope) == theirs(modality, *scope)
        assert mine("audio", *scope) != theirs("audio", *scope)


def test_pictures_of_features_read_the_collections_of_the_mapping(tmp_path: Path) -> None:
    found = layout(tmp_path, probes={"labels": {"a": "kling", "b": "sora"}})
    inputs = relative(found, found.projection_inputs("mini", "video"))
    assert {name for name in inputs if "real" in name} == set()
    assert {"clips/kling/labels.parquet", "embeddings/mini/video/sora/0001.parquet"} < inputs
    everywhere = layout(tmp_path)
    inputs = relative(everywhere, everywhere.projection_inputs("mini", "video"))
    assert "media/real/0000/media.parquet" in inputs


def test_no_job_waits_for_plans_that_are_not_made(tmp_path: Path) -> None:
    """Only one collection has an image; the features of the others are not there, nor planned."""
    found = layout(tmp_path, probes={"labels": "collection"})
    inputs = [
        *found.probe_inputs("sharp", "image", ACROSS),
        *found.projection_inputs("sharp", "image"),
        *found.exported(),
        *found.shown(),
    ]
    plans = [path for path in inputs if path.is_relative_to(found.results / "clips")]
    assert any("companions/image" in path.as_posix() for path in plans)
    assert [path for path in plans if not path.exists()] == []


def test_exports_and_page_name_what_they_open(tmp_path: Path) -> None:
    found = layout(tmp_path, tasks=["features", "image_video", "synchrony"])
    exported = relative(found, found.exported())
    assert {
        "clips/real/clips.parquet",
        "clips/real/labels.parquet",
        "clips/real/plan/0001.parquet",
        "clips/real/companions/image/0000.parquet",
        "scores/image_video/sharp/real.parquet",
        "embeddings/mini/audio/sora/0000.parquet",
    } < exported
    rooms = Counter(name.partition("/")[0] for name in exported)
    assert rooms.keys() == {"clips", "scores", "embeddings"}
    assert not any("synchrony" in name for name in exported)
    assert relative(found, found.shown()) == {
        *(f"projections/{model}/{m}.parquet" for model in found.specs for m in ("video", "audio")),
        "projections/sharp/image.parquet",
        *(f"clips/{n}/companions/image/{s}.parquet"
          for n in found.config.collections for s in ("0000", "0001")),
    }  # fmt: skip
    assert {"clips/sora/labels.parquet"} < relative(found, found.everything())


def test_lists_of_shards_are_read_once_and_only_where_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = layout(tmp_path, probes={"labels": "collection"})
    listed: Counter[str] = Counter()
    read = Path.read_text

    def counted(path: Path, *args: Any, **options: Any) -> str:
        listed[path.relative_to(found.results).as_posix()] += 1
        return read(path, *args, **options)

    monkeypatch.setattr(Path, "read_text", counted)
    with monkeypatch.context() as patch:
        patch.delattr(Layout, "embeddings")
        assert len(found.probed()) == 5
        assert len(found.projections()) == 5
    found.everything()
    found.exported()
    assert set(listed.values()) == {1}
    assert listed.keys() == {
        f"clips/{name}/{what}.json" for name in found.config.collections
        for what in ("shards", "companions")
    }  # fmt: skip
