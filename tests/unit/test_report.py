"""The report's tables: what they count, what they refuse, what a spreadsheet may do with them."""

import csv
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from report_results import BROKEN, SILENT, make_results

from concord.config import Config
from concord.errors import UserError
from concord.load import load
from concord.report.aggregate import aggregate
from concord.report.comparisons import pairs
from concord.report.console import print_summary
from concord.report.verdicts import verdict
from concord.report_tables import (
    ALL_CLIPS,
    ALL_MEDIA,
    ALL_RETRIEVAL,
    ALL_SCORES,
    COMPARISONS,
    STATUS,
    SUMMARY,
)
from concord.tables import SCORES, Table, read_metadata, read_table, write_table

COUNT = 24
DECLARED = {
    "summary": SUMMARY,
    "comparisons": COMPARISONS,
    "status": STATUS,
    "clips": ALL_CLIPS,
    "media": ALL_MEDIA,
    "scores": ALL_SCORES,
    "retrieval": ALL_RETRIEVAL,
}


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    config = make_results(tmp_path_factory.mktemp("report"), count=COUNT)
    aggregate(config, tables_of(config))
    return config


def tables_of(config: Config) -> Path:
    return config.results / "tables"


def rows_of(config: Config, name: str) -> list[dict]:
    return read_table(tables_of(config) / f"{name}.parquet", DECLARED[name]).to_pylist()


def find(rows: list[dict], **wanted: str) -> dict:
    found = [row for row in rows if all(row[k] == v for k, v in wanted.items())]
    assert len(found) == 1, (wanted, found)
    return found[0]


@pytest.mark.parametrize("name", DECLARED)
def test_every_table_is_there_twice(config: Config, name: str) -> None:
    rows = rows_of(config, name)
    with (tables_of(config) / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    assert rows
    assert len(lines) == len(rows)
    assert list(lines[0]) == list(rows[0])


def test_summary_counts_and_averages_what_was_scored(config: Config) -> None:
    path = config.results / "scores" / "video_text" / "mini" / "faithful.parquet"
    values = [r["value"] for r in read_table(path, SCORES).to_pylist() if r["status"] == "ok"]
    row = find(rows_of(config, "summary"), task="video_text", collection="faithful")
    counts = [row[f"n_{name}"] for name in ("expected", "scored", "skipped", "failed")]
    # 24 clips and a prompt without one; one clip is silent, one broken
    assert counts == [COUNT + 1, COUNT - 2, 2, 1]
    assert row["mean"] == pytest.approx(np.mean(values))
    assert row["std"] == pytest.approx(np.std(values))
    assert row["ci_low"] < row["mean"] < row["ci_high"]
    assert row["control"] is None


def test_retrieval_has_a_row_a_direction_and_a_control(config: Config) -> None:
    queries = [r for r in rows_of(config, "retrieval") if r["collection"] == "late"]
    queries = [r for r in queries if r["status"] == "ok"]
    rows = [r for r in rows_of(config, "summary") if r["collection"] == "late"]
    first = find(rows, metric="video_to_audio/recall_at_1")
    rank = find(rows, metric="video_to_audio/rank")
    assert first["mean"] == pytest.approx(np.mean([q["recall_at_1"] for q in queries]))
    assert first["control"] == pytest.approx(np.mean([q["shuffled_recall_at_1"] for q in queries]))
    assert rank["median"] == pytest.approx(np.median([q["rank"] for q in queries]))
    assert find(rows, metric="video_to_audio/recall_at_5")["control"] is None


def test_comparisons_find_what_was_planted(config: Config) -> None:
    rows = rows_of(config, "comparisons")
    planted = find(rows, task="video_text", a="faithful", b="careless")
    nothing = find(rows, metric="av_align", a="faithful", b="careless")
    late = find(rows, metric="offset_ms", a="faithful", b="late")
    assert planted["n_common"] == COUNT - 2
    assert planted["ci_low"] > 0
    assert planted["p_holm"] < 0.05
    assert nothing["ci_low"] < 0 < nothing["ci_high"]
    assert nothing["p_holm"] > 0.05
    assert late["difference"] == pytest.approx(-800, abs=60)


def test_holm_corrects_over_the_rows_of_a_task(config: Config) -> None:
    rows = [r for r in rows_of(config, "comparisons") if r["task"] == "synchrony"]
    assert len(rows) == 9
    smallest = min(rows, key=lambda row: row["p_value"])
    assert smallest["p_holm"] == pytest.approx(9 * smallest["p_value"])


def test_many_comparisons_can_still_be_significant(tmp_path: Path) -> None:
    names = ("faithful", "late", "c", "d", "careless")
    config = make_results(tmp_path, names, tasks=["synchrony"], statistics={"bootstrap": 100})
    aggregate(config, tables_of(config))
    row = find(rows_of(config, "comparisons"), metric="av_align", a="faithful", b="late")
    assert row["p_holm"] < 0.05


def test_the_intervals_keep_to_the_configured_samples(tmp_path: Path) -> None:
    names = ("faithful", "late", "c", "d", "careless")
    options: dict = {"tasks": ["synchrony"], "statistics": {"bootstrap": 100}}
    many = make_results(tmp_path / "many", names, **options)
    few = make_results(tmp_path / "few", ("faithful", "late"), **options)
    ends, samples = [], []
    for config in (many, few):
        aggregate(config, tables_of(config))
        row = find(rows_of(config, "comparisons"), metric="av_align", a="faithful", b="late")
        ends.append((row["ci_low"], row["ci_high"]))
        samples.append(row["permutations"])
    assert ends[0] == ends[1]
    assert samples == [2400, 240]  # 4 x 30 and 4 x 3 rows / 0.05


def test_clips_without_prompts_pair_by_stem(tmp_path: Path) -> None:
    config = make_results(tmp_path, ("faithful", "late"), prompts=False, tasks=["av_consistency"])
    aggregate(config, tables_of(config))
    row = find(rows_of(config, "comparisons"), task="av_consistency")
    assert row["n_common"] == COUNT - 2


def test_collections_of_different_prompts_are_not_paired() -> None:
    collections = {"a": "a", "b": "b", "c": {"path": "c", "prompts": "long"}}
    collections |= {name: {"path": name, "prompts": "none"} for name in ("d", "e", "f")}
    prompts = {"short": "short.json", "long": "long.json"}
    for name in ("a", "b"):
        collections[name] = {"path": name, "prompts": "short"}
    config = Config.model_validate({"collections": collections, "prompts": prompts})
    items = {"a": "1", "b": "1", "c": "1", "d": "1", "e": "1", "f": "another"}
    long = pd.DataFrame({"collection": items.keys(), "item": items.values()})
    assert pairs(config, long) == [("a", "b"), ("d", "e")]


@pytest.mark.parametrize("pair", [("a", "b"), ("b", "c")])
def test_a_configured_pair_needs_the_same_prompts(tmp_path: Path, pair: tuple[str, str]) -> None:
    for name in "abc":
        (tmp_path / name).mkdir()
    sets = dict(zip("abc", ("short", "long", "none"), strict=True))
    raw = {
        "collections": {n: {"path": str(tmp_path / n), "prompts": s} for n, s in sets.items()},
        "prompts": {name: str(tmp_path / f"{name}.json") for name in ("short", "long")},
        "compare": [pair],
    }
    with pytest.raises(UserError, match=r"compare: found . \(prompts: (short|long)\) with"):
        load(raw)


def claim(config: Config, collection: str, count: int) -> None:
    """Leave only the first `count` offsets of a collection claimed."""
    path = config.results / "scores" / "synchrony" / "signal" / f"{collection}.parquet"
    rows, note = read_table(path, SCORES).to_pylist(), read_metadata(path)
    for metric in ("offset_ms", "abs_offset_ms"):
        claimed = [r for r in rows if r["metric"] == metric and r["status"] == "ok"]
        for row in claimed[count:]:
            row |= {"value": None, "status": "skipped", "reason": "no_synchrony"}
    write_table(path, SCORES, rows, protocol_id=note["protocol_id"])


@pytest.mark.parametrize(("claims", "comparable"), [(11, True), (10, False)])
def test_no_winner_by_offsets_that_are_rarely_claimed(
    tmp_path: Path, claims: int, comparable: bool
) -> None:
    config = make_results(tmp_path, ("faithful", "late"), tasks=["synchrony"])
    claim(config, "late", claims)
    aggregate(config, tables_of(config))
    row = find(rows_of(config, "comparisons"), metric="abs_offset_ms")
    assert (row["n_common"], row["n_only_a"]) == (claims, COUNT - 2 - claims)
    counted = (
        f"an offset is claimed in {COUNT - 2} of {COUNT - 2} and {claims} of {COUNT - 2} items"
    )
    assert row["note"].startswith(counted)
    assert row["comparable"] is comparable
    assert (verdict(row, 0.05).winner == "faithful") is comparable


def test_configured_pairs_only(tmp_path: Path) -> None:
    config = make_results(tmp_path, compare=[("careless", "faithful")])
    aggregate(config, tables_of(config))
    assert {(r["a"], r["b"]) for r in rows_of(config, "comparisons")} == {("careless", "faithful")}


def test_several_clips_of_an_item_count_as_one(tmp_path: Path) -> None:
    config = make_results(tmp_path, ("faithful", "late"), tasks=["video_text"])
    path = config.results / "scores" / "video_text" / "mini" / "faithful.parquet"
    rows = read_table(path, SCORES).to_pylist()
    twice = {**rows[0], "clip_id": "another take.mp4", "value": rows[0]["value"] + 0.2}
    note = read_metadata(path)
    write_table(path, SCORES, [*rows, twice], protocol_id=note["protocol_id"])
    before = np.mean([row["value"] for row in rows if row["status"] == "ok"])
    aggregate(config, tables_of(config))
    row = find(rows_of(config, "comparisons"), task="video_text")
    assert row["n_common"] == COUNT - 2
    assert row["mean_a"] == pytest.approx(before + 0.1 / (COUNT - 2))


def test_two_protocols_are_never_compared(tmp_path: Path) -> None:
    config = make_results(tmp_path, ("faithful", "late"))
    path = config.results / "scores" / "video_text" / "mini" / "late.parquet"
    write_table(path, SCORES, read_table(path, SCORES).replace_schema_metadata(None),
                protocol_id="another")  # fmt: skip
    with pytest.raises(UserError, match="faithful and late were scored under different protocols"):
        aggregate(config, tables_of(config))


def test_a_missing_score_table_is_an_error(tmp_path: Path) -> None:
    config = make_results(tmp_path, ("faithful",))
    (config.results / "scores" / "video_text" / "mini" / "faithful.parquet").unlink()
    with pytest.raises(UserError, match=r"video_text/mini/faithful\.parquet"):
        aggregate(config, tables_of(config))


def test_scores_of_another_configuration_are_left_alone(tmp_path: Path) -> None:
    make_results(tmp_path, ("faithful", "late"))
    config = make_results(tmp_path, ("faithful",), tasks=["synchrony"])
    aggregate(config, tables_of(config))
    assert {(r["task"], r["collection"]) for r in rows_of(config, "scores")} == {
        ("synchrony", "faithful")
    }


def test_ranks_among_different_numbers_of_candidates_are_flagged(tmp_path: Path) -> None:
    make_results(tmp_path, ("faithful",), count=COUNT)
    config = make_results(tmp_path, ("late",), count=12)
    config = config.model_copy(
        update={"collections": dict.fromkeys(("faithful", "late"), config.collections["late"])}
    )
    aggregate(config, tables_of(config))
    rows = rows_of(config, "comparisons")
    note = find(rows, metric="video_to_audio/rank")["note"]
    assert note == "22 and 10 candidates: the smaller pool is easier"
    assert find(rows, metric="video_to_audio/rank")["comparable"] is False
    assert find(rows, task="video_text")["note"] is None


def test_status_has_every_clip_at_every_stage(config: Config) -> None:
    rows = [r for r in rows_of(config, "status") if r["collection"] == "faithful"]
    stages = {row["stage"] for row in rows}
    assert stages >= {
        "clips", "prompts", "media", "embeddings/mini/video", "embeddings/mini/audio",
        "scores/video_text/mini", "scores/synchrony/signal/offset_ms",
        "scores/retrieval/mini/video_to_audio",
    }  # fmt: skip
    by_clip = [row for row in rows if row["clip_id"] and f"{BROKEN:04d}" in row["clip_id"]]
    bad = {row["stage"]: row["reason"] for row in by_clip if row["status"] == "failed"}
    assert set(bad) == stages - {"clips", "prompts"}
    assert set(bad.values()) == {"unreadable"}
    reasons = {(row["stage"], row["reason"]) for row in rows if row["clip_id"] is None}
    assert ("clips", "no_clip") in reasons


def test_the_wide_table_has_a_clip_a_row(config: Config) -> None:
    rows = rows_of(config, "clips")
    scores = rows_of(config, "scores")
    assert len(rows) == 3 * (COUNT + 2)
    row = next(r for r in rows if r["clip_id"] and r["clip_id"].startswith("sub/0007"))
    score = find(scores, clip_id=row["clip_id"], collection=row["collection"], task="audio_text")
    assert row["audio_text/mini/cosine"] == score["value"]
    silent = next(r for r in rows if r["clip_id"] and f"{SILENT:04d}" in r["clip_id"])
    assert silent["audio_text/mini/cosine"] is None


def test_csv_is_safe_in_a_spreadsheet(tmp_path: Path) -> None:
    from concord.report.spreadsheet import write_csv

    texts = ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx", "a=1", "'q", 'đỏ, "红"\nنص', None, ""]
    rows = [{"task": text, "mean": -1.5} for text in texts]
    write_table(tmp_path / "t.parquet", SUMMARY, rows)
    write_csv(tmp_path / "t.parquet")
    with (tmp_path / "t.csv").open(encoding="utf-8", newline="") as file:
        found = list(csv.DictReader(file))
    assert [row["task"] for row in found] == [
        "'=1+1", "'+1", "'-1", "'@SUM(A1)", "'\tx", "'\rx", "a=1", "'q", "đỏ, \"红\"\nنص", "", "",
    ]  # fmt: skip
    assert found[0]["mean"] == "-1.5"
    assert pq.read_table(tmp_path / "t.parquet")["task"][0].as_py() == "=1+1"


@pytest.mark.parametrize("limit", [None, 20])
def test_a_trial_run_is_marked_everywhere(tmp_path: Path, limit: int | None) -> None:
    config = make_results(tmp_path, ("faithful", "late"), limit=limit)
    aggregate(config, tables_of(config))
    for name in DECLARED:
        assert {row["limited"] for row in rows_of(config, name)} == {limit is not None}


@pytest.mark.parametrize(
    "options",
    [
        {"collections": ("faithful",)},
        {"prompts": False},
        {"scored": False},
        {"count": 1, "collections": ("faithful", "late")},
        {"tasks": ["synchrony"], "models": {}},
    ],
)
def test_little_is_enough(tmp_path: Path, options: dict, capsys: pytest.CaptureFixture) -> None:
    config = make_results(tmp_path, **options)
    aggregate(config, tables_of(config))
    print_summary(tables_of(config))
    assert "faithful" in capsys.readouterr().out


def test_a_collection_without_any_clip(tmp_path: Path) -> None:
    config = make_results(tmp_path, ("faithful",), count=0)
    aggregate(config, tables_of(config))
    row = find(rows_of(config, "summary"), task="video_text")
    assert (row["n_expected"], row["n_scored"], row["mean"]) == (1, 0, None)


def test_the_end_of_a_run_is_told(config: Config, capsys: pytest.CaptureFixture) -> None:
    print_summary(tables_of(config))
    lines = capsys.readouterr().out.splitlines()
    row = find(rows_of(config, "summary"), task="audio_text", collection="careless")
    assert any("careless" in line and f"{row['mean']:.3f}" in line for line in lines)
    assert "Synchrony: offset (ms) · signal" in lines
    assert max(map(len, lines)) <= 80


def describe(table: Table) -> set[str]:
    return {column.name for column in table.columns if not column.meaning}


def test_every_column_has_a_meaning() -> None:
    assert not any(describe(table) for table in DECLARED.values())
