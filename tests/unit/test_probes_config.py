"""What the configuration's probes ask for, and what is wrong with it."""

from pathlib import Path
from typing import Any

import pytest

from concord.clips import plan
from concord.config import Config
from concord.errors import UserError
from concord.layout import Layout
from concord.load import load
from concord.models.catalogue import spec
from concord.scores.sources import ACROSS, scopes


def config(folder: Path, **sections: Any) -> Config:
    """Three collections of one empty file each, the first with labels."""
    collections: dict[str, Any] = {}
    for name in ("real", "kling", "sora"):
        (folder / name / "sub").mkdir(parents=True, exist_ok=True)
        (folder / name / "sub" / "1.mp4").touch()
        collections[name] = {"path": str(folder / name)}
    collections["real"]["label"] = "parent"
    return load(
        {
            "collections": collections,
            "results": str(folder / "results"),
            "models": ["mini"],
            "tasks": ["features"],
            **sections,
        }
    )


def layout(given: Config) -> Layout:
    plan(given)
    return Layout(given, {name: spec(given, name) for name in given.models})


def test_each_labelled_collection_is_a_scope(tmp_path: Path) -> None:
    given = config(tmp_path)
    assert scopes(given) == {"real": {"real": None}}
    results = tmp_path / "results" / "probes" / "mini"
    assert layout(given).probed() == [results / "video" / "real", results / "audio" / "real"]
    assert layout(config(tmp_path, tasks=["av_consistency"])).probed() == []


def test_collections_are_one_scope(tmp_path: Path) -> None:
    given = config(tmp_path, probes={"labels": "collection"})
    assert scopes(given) == {ACROSS: {"real": "real", "kling": "kling", "sora": "sora"}}
    merged = config(tmp_path, probes={"labels": {"real": "real", "fake": ["kling", "sora"]}})
    assert scopes(merged) == {ACROSS: {"real": "real", "kling": "fake", "sora": "fake"}}
    sources = layout(merged).probe_sources("mini", "video", ACROSS)
    assert [(s.collection, s.label) for s in sources] == [
        ("real", "real"), ("kling", "fake"), ("sora", "fake")
    ]  # fmt: skip
    assert all(s.embeddings and s.media for s in sources)


def test_everything_that_is_summed_up_rests_on_checks(tmp_path: Path) -> None:
    given = config(tmp_path, tasks=["av_consistency"])
    files = layout(given).everything(given.collections)
    checks = {path.relative_to(tmp_path / "results").as_posix() for path in files}
    for modality in ("video", "audio"):
        for name in given.collections:
            assert f"quality/mini/{modality}/{name}.parquet" in checks


@pytest.mark.parametrize(
    ("probes", "problem"),
    [
        ({"labels": "lable"}, r"probes.labels: found \"lable\".*did you mean 'label'\?$"),
        ({"labels": {"fake": "kelng"}}, "probes.labels: no collection is called 'kelng'; did you"),
        ({"labels": {"a": "sora", "b": ["sora"]}}, "probes.labels: found sora under several"),
        ({"labels": {"a": []}}, "probes.labels: found .*expected at least one"),
        ({"split": "grouped"}, "probes.split: found grouped, but no collection has the key group"),
        ({"classifiers": ["forest"]}, "probes.classifiers: found \"forest\""),
        ({"folds": 1}, "probes.folds: found 1, expected greater than or equal to 2"),
    ],
)  # fmt: skip
def test_mistakes_are_named(tmp_path: Path, probes: dict[str, Any], problem: str) -> None:
    with pytest.raises(UserError, match=problem) as caught:
        config(tmp_path, probes=probes)
    assert len(caught.value.args) == 1
