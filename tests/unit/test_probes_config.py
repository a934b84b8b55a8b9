"""What the configuration's probes ask for, and what is wrong with it."""

import re
from pathlib import Path
from typing import Any

import pytest

from concord.clips.plan import plan
from concord.config import Config
from concord.errors import UserError
from concord.layout import Layout
from concord.load import load
from concord.models.catalogue import spec
from concord.scores.sources import ACROSS, labelling, scopes, unlearned


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


@pytest.mark.parametrize(
    "sections",
    [
        {"probes": {"standardise": False}},
        {"probes": {"folds": 3}},
        {"statistics": {"seed": 1}},
        {"statistics": {"bootstrap": 100}},
    ],
)
def test_what_decides_the_numbers_makes_probes_run_again(tmp_path: Path, sections: Any) -> None:
    before, after = (
        layout(config(tmp_path, **given)).probe_parameters("video", "real")
        for given in ({}, sections)
    )
    assert before != after


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
    files = layout(given).everything()
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


@pytest.mark.parametrize(
    ("sections", "note"),
    [
        ({"collections": {"real": {"path": "real"}}}, "no collection has the key label"),
        ({}, "collections.real.label: .*parent.* one folder, sub"),
        ({"probes": {"labels": {"fake": ["kling", "sora"]}}}, "all clips have the label fake"),
        (
            {"collections": {"real": {"path": "real"}}, "probes": {"labels": "collection"}},
            "all clips have the label real",
        ),
        (
            {
                "collections": {"a": {"path": "kling", "group": "parent"}, "b": {"path": "sora"}},
                "probes": {"labels": "collection"},
            },
            "a has groups, b has none",
        ),
        (
            {
                "collections": {"a": {"path": "kling", "group": "parent"}, "b": {"path": "sora"}},
                "probes": {"labels": "collection", "split": "stratified"},
            },
            "stratified splits the groups of a",
        ),
    ],
)
def test_what_cannot_be_learned_is_told_before_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sections: dict[str, Any], note: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (found,) = unlearned(config(tmp_path, **sections))
    assert re.search(note, found)
    assert not [*unlearned(config(tmp_path, **sections, tasks=["av_consistency"]))]


def test_nothing_is_said_of_probes_that_can_learn(tmp_path: Path) -> None:
    (tmp_path / "real" / "more").mkdir(parents=True)
    (tmp_path / "real" / "more" / "1.mp4").touch()
    assert not [*unlearned(config(tmp_path))]
    assert not [*unlearned(config(tmp_path, probes={"classifiers": []}))]


def test_where_labels_come_from(tmp_path: Path) -> None:
    given = config(tmp_path)
    assert labelling(given, "real") == {
        "real": {"label": None, "label_key": "parent", "group_key": None}
    }
