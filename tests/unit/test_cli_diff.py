"""`concord diff`: what is told of two runs that differ, and of two that do not."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from report_results import make_results
from typer.testing import CliRunner, Result

from concord import runs
from concord.cli import app
from concord.config import Config
from concord.feature_tables import ALL_FEATURES
from concord.provenance import write_provenance
from concord.report.aggregate import aggregate
from concord.report_tables import SUMMARY
from concord.tables import (
    CLIPS,
    COMPANION_FILES,
    EMBEDDINGS,
    MEDIA,
    SCORES,
    Table,
    read_metadata,
    read_table,
    write_table,
)

CLIP = "sub/0002 =1+1.mp4"
Edit = Callable[[dict[str, Any]], Any]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Config:
    """A run over two collections of eight clips."""
    folder = tmp_path_factory.mktemp("diff")
    return finish(make_results(folder, ("faithful", "late"), count=8))


def finish(config: Config) -> Config:
    aggregate(config, config.results / "tables")
    write_provenance(config, config.results / "provenance.json")
    return config


@pytest.fixture
def other(made: Config, tmp_path: Path) -> Config:
    """The same run in another folder."""
    shutil.copytree(made.results, tmp_path / "b")
    other = made.model_copy(update={"results": tmp_path / "b"})
    write_provenance(other, other.results / "provenance.json")
    return other


def diff(a: Config, b: Config, *options: str) -> Result:
    return CliRunner().invoke(app, ["diff", str(a.results), str(b.results), *options])


def differences(a: Config, b: Config) -> dict[str, Any]:
    result = diff(a, b, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.output)


def edit(config: Config, place: str, table: Table, change: Edit, **note: Any) -> None:
    """Change the rows of a table, and what is noted beside them."""
    path = config.results / place
    known = {k: v for k, v in read_metadata(path).items() if k not in ("table", "version")}
    rows = read_table(path, table).to_pylist()
    for row in rows:
        change(row)
    write_table(path, table, rows, **known | note)


def test_nothing_differs(made, other):
    found = differences(made, other)
    assert found["nothing"]
    assert found["same"]["clips"] == 18
    assert found["same"]["scores"] > 50
    said = diff(made, other).output
    assert said.startswith(f"Nothing differs: 18 clips, {found['same']['scores']} scores within")


def test_inputs(made, other):
    def change(row: dict[str, Any]) -> None:
        if row["clip_id"] == CLIP:
            row["video_prompt"] = "a green ball"
        if row["clip_id"] and row["clip_id"].startswith("sub/0007"):
            row["path"] = "/elsewhere/0007.mp4"

    edit(other, "clips/faithful/clips.parquet", CLIPS, change)
    edit(
        other,
        "media/faithful/0000/media.parquet",
        MEDIA,
        lambda row: row.update(source_key="other") if row["clip_id"] == CLIP else None,
    )
    path = other.results / "clips" / "late" / "clips.parquet"
    write_table(path, CLIPS, read_table(path, CLIPS).slice(1))
    finish(other)
    inputs = differences(made, other)["inputs"]
    assert inputs["only_a"] == ["late/sub/0000 <img src=x onerror=alert(1)>.mp4"]
    assert inputs["only_b"] == []
    assert inputs["changed"] == [f"faithful/{CLIP}"]
    assert inputs["elsewhere"] == ["faithful/sub/0007 -dash.mp4"]
    said = diff(made, other).output
    assert f"1 clip with a file that changed (size or time): faithful/{CLIP}" in said
    assert f"1 clip with a prompt that changed: faithful/{CLIP}" in said
    assert "-> 'a green ball'" in said


def test_labels_files_beside_the_clips_and_probes(made, other, tmp_path):
    """What changes the numbers of features, and names no clip or prompt."""

    def file(clip: str, path: str | None, key: str) -> dict[str, Any]:
        row = {"clip_id": clip, "modality": "depth", "path": path, "key": key, "status": "ok"}
        return row if path else row | {"status": "skipped", "reason": "no_depth_file"}

    shutil.copytree(made.results, tmp_path / "a")
    made = made.model_copy(update={"results": tmp_path / "a"})
    same = file("sub/0004 a b.mp4", "/d/4.png", "same")
    before = [file(CLIP, "/d/2.png", "old"), same, file("sub/0007 -dash.mp4", None, "none")]
    after = [file(CLIP, "/d/2.png", "new"), same, file("sub/0007 -dash.mp4", "/d/7.png", "came")]
    probe = {"scope": "*", "model": "mini", "modality": "video", "probe": "svm", "status": "ok"}
    probe |= {
        "protocol_id": "p",
        "split": "grouped",
        "metric": "accuracy",
        "n": 8,
        "limited": False,
    }
    for config, files, value in ((made, before, 0.5), (other, after, 0.75)):
        place = config.results / "clips/faithful/companions/depth/0000.parquet"
        write_table(place, COMPANION_FILES, files)
        rows = [probe | {"value": value}, probe | {"value": value, "fold": 0}]
        write_table(config.results / "tables/probes.parquet", ALL_FEATURES["probes"], rows)
    clips = pq.read_table(other.results / "tables/clips.parquet")
    labels = [
        "new" if row["clip_id"] == CLIP and row["collection"] == "late" else row["label"]
        for row in clips.to_pylist()
    ]
    index = clips.column_names.index("label")
    clips = clips.set_column(index, clips.schema.field("label"), [labels])
    pq.write_table(clips, other.results / "tables/clips.parquet")
    found = differences(made, other)
    (label,) = found["inputs"]["labels"]
    assert (label["collection"], label["clip_id"], label["label_b"]) == ("late", CLIP, "new")
    assert [(row["clip_id"], row["path_a"]) for row in found["inputs"]["beside"]] == [
        (CLIP, "/d/2.png"),
        ("sub/0007 -dash.mp4", None),
    ]
    (reached,) = found["probes"]
    assert (reached["value_a"], reached["value_b"], reached["same_protocol"]) == (0.5, 0.75, True)
    assert not found["nothing"]
    said = diff(made, other).output
    assert f"1 clip with a label or group that changed: late/{CLIP}" in said
    assert f"2 clips with a file beside it that changed, came or went: faithful/{CLIP}" in said
    assert "+0.2500" in said


def test_scores_states_and_means(made, other):
    def change(row: dict[str, Any]) -> None:
        if row["clip_id"] == CLIP:
            row["value"] += 0.25
        elif row["clip_id"] == "sub/0004 a b.mp4":
            row["value"] += 1e-9
        elif row["status"] == "ok" and row["clip_id"].startswith("sub/0001"):
            row.update(value=None, status="failed", reason="timeout")

    edit(other, "scores/video_text/mini/faithful.parquet", SCORES, change)
    finish(other)
    found = differences(made, other)
    (count,) = found["scores"]["counts"]
    assert (count["n_different"], count["n_common"], count["collection"]) == (1, 5, "faithful")
    assert count["largest"] == pytest.approx(0.25)
    assert [row["clip_id"] for row in found["scores"]["clips"]] == [CLIP]
    (mean,) = found["means"]
    assert (mean["n_scored_a"], mean["n_scored_b"], mean["same_protocol"]) == (6, 5, True)
    (state,) = found["status"]
    assert state["stage"] == "scores/video_text/mini"
    assert (state["status_a"], state["status_b"], state["reason_b"]) == ("ok", "failed", "timeout")
    said = diff(made, other).output
    assert "Scores that differ by more than 1e-06" in said
    assert "+0.25" in said
    assert "failed timeout" in said
    assert diff(made, other, "--tolerance", "0.5").output.count("Scores that differ") == 0


def test_protocols_configuration_and_software(made, other):
    def change(row: dict[str, Any]) -> None:
        if row["value"] is not None:
            row["value"] += 0.1

    protocol = {"task": "av_consistency", "model": "mini", "version": 2}
    for name in ("faithful", "late"):
        place = f"scores/av_consistency/mini/{name}.parquet"
        edit(other, place, SCORES, change, protocol=protocol, protocol_id="new")
        place = f"embeddings/mini/video/{name}/0000.parquet"
        for config, frames in ((made, 8), (other, 4)):
            rows = {"protocol": {"frames": frames, "options": {"views": "x"}}, "computed": []}
            edit(config, place, EMBEDDINGS, dict.items, **rows)
    other = finish(other.model_copy(update={"limit": 8}))
    content = json.loads((other.results / "provenance.json").read_text())
    content["packages"]["torch"] = "1.0"
    (other.results / "provenance.json").write_text(json.dumps(content))
    found = differences(made, other)
    assert found["protocols"] == [
        {"protocol": "embeddings mini/video", "field": "frames", "a": 8, "b": 4},
        {"protocol": "scores av_consistency/mini", "field": "version", "a": 1, "b": 2},
    ]
    assert found["configuration"] == [{"field": "limit", "a": None, "b": 8}]
    (torch,) = found["software"]
    assert (torch["field"], torch["b"]) == ("packages.torch", "1.0")
    assert {row["same_protocol"] for row in found["means"]} == {False}
    assert [row["collection"] for row in found["means"]] == ["faithful", "late"]
    assert "another: do not compare" in diff(made, other).output


def test_folders_that_hold_no_run_are_told(made, other, tmp_path):
    empty = made.model_copy(update={"results": tmp_path / "empty"})
    assert "does not exist; expected a results folder" in diff(made, empty).output
    empty.results.mkdir()
    assert "is no results folder: it has no tables/summary.parquet" in diff(empty, made).output
    (empty.results / runs.OPEN).touch()
    assert "no run into it has come to its tables yet" in diff(made, empty).output
    (other.results / runs.OPEN).touch()
    assert "has not ended; its tables may be older" in diff(made, other).output


@pytest.mark.parametrize("name", ["clips", "scores"])
def test_damaged_tables_are_told(made, other, name):
    path = other.results / "tables" / f"{name}.parquet"
    content = path.read_bytes()
    path.write_bytes(content[:4] + bytes(100) + content[104:])  # the first column's pages
    result = diff(made, other)
    assert (result.exit_code, type(result.exception)) == (1, SystemExit)
    assert f"{path}: damaged" in result.output


def test_tables_of_another_version_are_told(made, other):
    path = other.results / "tables" / "summary.parquet"
    old = Table("summary", 0, SUMMARY.columns)
    write_table(path, old, read_table(path, SUMMARY).replace_schema_metadata(None))
    result = diff(made, other)
    assert result.exit_code == 1
    assert f"{path}: expected table summary version {SUMMARY.version}, found" in result.output
