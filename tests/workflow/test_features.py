"""Features from clips to tables: labels, probes, checks, and what is done again."""

import csv
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from concord.feature_tables import PREDICTIONS, PROBES
from concord.tables import EMBEDDINGS, read_metadata, read_table, write_table
from tests.workflow.conftest import Workflow, make_clip

ROOMS_AFTER_PROBES = {"aggregate_tables", "render_report"}


@pytest.fixture
def features(tmp_path: Path) -> Workflow:
    """Four real and four fake clips, and one that cannot be read."""
    for i in range(4):
        make_clip(tmp_path / "clips" / "real" / f"{i}.mp4", hue=5 * i, tone_hz=300 + 5 * i)
        make_clip(tmp_path / "clips" / "fake" / f"{i}.mp4", hue=180 + 5 * i, tone_hz=900 + 5 * i)
    (tmp_path / "clips" / "fake" / "broken.mp4").write_bytes(b"no video")
    return Workflow(
        tmp_path,
        {
            "collections": {"own": {"path": "clips", "label": "parent"}},
            "models": {"mini": {"workers": 1}},
            "tasks": ["features"],
            "probes": {"classifiers": ["logistic"], "folds": 2},
            "report": {"projections": []},
        },
    )


@pytest.mark.slow
def test_features_are_checked_and_probed(features: Workflow) -> None:
    new_labels_reach_exports_and_page(features)
    every_clip_is_probed(features)
    again_where_it_must(features)
    stops_at_a_broken_table(features)


def every_clip_is_probed(features: Workflow) -> None:
    features.run()
    probes = [row for row in features.table("probes").to_pylist() if row["fold"] is None]
    assert {(r["modality"], r["n"], r["n_expected"], r["n_failed"]) for r in probes} == {
        ("video", 8, 9, 1),
        ("audio", 8, 9, 1),
    }
    predictions = features.table("predictions").to_pylist()
    assert {row["clip_id"]: row["label"] for row in predictions} == {
        **{f"{label}/{i}.mp4": label for label in ("real", "fake") for i in range(4)},
        "fake/broken.mp4": "fake",
    }
    (broken,) = {(r["status"], r["reason"]) for r in predictions if "broken" in r["clip_id"]}
    assert broken == ("failed", "unreadable")
    counted = {
        (r["modality"], r["label"], r["predicted"]): r["n"]
        for r in features.table("confusion").to_pylist()
    }
    assert counted == Counter(
        (r["modality"], r["label"], r["predicted"]) for r in predictions if r["predicted"]
    )
    checks = {(r["modality"], r["source"], r["n"]) for r in features.table("quality").to_pylist()}
    assert checks == {("video", "own", 8), ("audio", "own", 8)}
    pairs = features.table("feature_distributions").to_pylist()
    assert {(r["label"], r["other"]) for r in pairs if r["other"]} == {("fake", "real")}


def again_where_it_must(features: Workflow) -> None:
    config = features.config

    def jobs(**changes: Any) -> set[str]:
        features.config = config | changes
        return set(features.jobs())

    assert jobs() == set()
    again = {"probe_features"} | ROOMS_AFTER_PROBES
    assert jobs(probes=config["probes"] | {"folds": 3}) == again
    assert jobs(quality={"zero": 0.5}) == {"check_embeddings"} | ROOMS_AFTER_PROBES
    assert jobs(statistics={"bootstrap": 100}) == again
    features.config = config


def new_labels_reach_exports_and_page(features: Workflow) -> None:
    """Even where a run ended after the tables; nothing is scored for them."""
    config = features.config
    features.config = config | {
        "collections": {"own": config["collections"]["own"] | {"label": None}},
        "tasks": ["av_consistency", "features"],
        "probes": config["probes"] | {"labels": "collection"},
    }
    features.run()
    features.config["collections"]["own"]["label"] = "parent"
    assert set(features.jobs()) == {"probe_features", "export_formats"} | ROOMS_AFTER_PROBES
    features.run("--until", "aggregate_tables")
    assert set(features.jobs()) == {"export_formats", "render_report"}
    features.run()
    assert features.jobs() == {}
    exported = features.folder / "results/exports/mini/features/own/features.parquet"
    assert set(pq.read_table(exported)["label"].to_pylist()) == {"real", "fake"}
    features.config = config


def stops_at_a_broken_table(features: Workflow) -> None:
    """A table with a zero vector is written down, or ends the run before anything is summed up."""
    table = (
        features.folder / "results" / "embeddings" / "mini" / "video" / "own" / "0000-0009.parquet"
    )
    rows, note = read_table(table, EMBEDDINGS), read_metadata(table)
    vectors = [
        None if vector is None else np.zeros(len(vector), np.float32)
        for vector in rows["embedding"].to_pylist()
    ]
    column = pa.array(vectors, EMBEDDINGS.schema.field("embedding").type)
    rows = rows.set_column(rows.column_names.index("embedding"), "embedding", column)
    metadata = {key: value for key, value in note.items() if key not in ("table", "version")}
    write_table(table, EMBEDDINGS, rows.replace_schema_metadata(None), **metadata)
    features.config["quality"] = {"action": "fail"}
    summary = features.folder / "results" / "tables" / "summary.parquet"
    before = summary.stat().st_mtime_ns
    printed = features.run(ok=False)
    log = features.folder / "results" / "logs" / "check_embeddings" / "mini.video.own.log"
    for text in (printed, log.read_text()):
        assert "the check zero failed: 8 of 8 vectors are zero" in text
        assert "real/0.mp4" in text
        assert "quality.action: record" in text
    assert not summary.exists() or summary.stat().st_mtime_ns == before
    features.config["quality"] = {"action": "record"}
    features.run()
    found = {(r["modality"], r["check"]): r for r in features.table("quality").to_pylist()}
    assert found["video", "zero"]["status"] == "failed"
    assert found["audio", "zero"]["status"] == "ok"
    reasons = {
        (r["modality"], r["reason"])
        for r in features.table("predictions").to_pylist()
        if r["status"] != "ok"
    }
    assert ("video", "not_finite") in reasons


@pytest.mark.shared
@pytest.mark.slow
def test_sounds_of_ten_kinds_are_probed(tmp_path: Path, shared: Path) -> None:
    """ESC-10, eight clips of each label: sound alone, takes of a recording kept together.

    mini was not trained on sounds like these, and yet finds the labels far more often than chance.
    """
    with (shared / "annotations" / "esc10_labels.tsv").open(newline="") as file:
        listed = list(csv.DictReader(file, delimiter="\t"))
    clips = [row for label in sorted({r["label"] for r in listed}) for row in eight(listed, label)]
    lines = [f"{shared / 'media' / r['path']},{r['label']},{r['freesound_id']}" for r in clips]
    (tmp_path / "esc10.csv").write_text("\n".join(["path,label,group", *lines]) + "\n")
    collection = {"path": "esc10.csv", "label": "label", "group": "group"}
    run = Workflow(
        tmp_path,
        {
            "collections": {"esc10": collection},
            "models": {"mini": {"workers": 2}},
            "tasks": ["features"],
            "probes": {"classifiers": ["logistic"], "folds": 2, "split": "grouped"},
        },
    )
    folder = "results/probes/mini/audio/esc10"
    run.run(f"{folder}/probes.parquet")
    group = {row["path"].rpartition("/")[2]: row["freesound_id"] for row in clips}
    rows = read_table(tmp_path / folder / "probes.parquet", PROBES).to_pylist()
    (sound,) = [r for r in rows if r["fold"] is None and r["metric"] == "accuracy"]
    assert (sound["n"], sound["n_labels"]) == (80, 10)
    assert sound["n_groups"] == len(set(group.values()))
    assert sound["chance"] == 0.1
    assert sound["value"] > 0.25
    assert sound["shuffled"] < 0.25
    predictions = read_table(tmp_path / folder / "predictions.parquet", PREDICTIONS)
    sides = {
        (group[row["clip_id"].rpartition("/")[2]], row["fold"]) for row in predictions.to_pylist()
    }
    assert len(sides) == len(set(group.values())), "a recording is in one fold alone"


def eight(listed: list[dict[str, str]], label: str) -> list[dict[str, str]]:
    """The first eight clips of a label; they hold several takes of some recordings."""
    return [row for row in listed if row["label"] == label][:8]
