"""The formats of the batch scripts, field by field."""

import json
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from report_results import BROKEN, DIM, SILENT, make_results
from scipy.spatial.distance import cdist

from concord.config import Config
from concord.report import pairs
from concord.report.exports import export
from concord.tables import EMBEDDINGS, RETRIEVAL, SCORES, read_table

COUNT = 24
SCORED = COUNT - 2


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    config = make_results(tmp_path_factory.mktemp("exports"), count=COUNT)
    export(config)
    return config


def folder_of(config: Config) -> Path:
    return config.results / "exports" / "mini"


def pairs_of(config: Config, collection: str) -> Path:
    return folder_of(config) / "av_consistency" / f"{collection}_av_consistency"


def load(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def scores_of(config: Config, task: str, collection: str) -> dict[str, float]:
    path = config.results / "scores" / task / "mini" / f"{collection}.parquet"
    rows = read_table(path, SCORES).to_pylist()
    return {row["clip_id"]: row["value"] for row in rows if row["status"] == "ok"}


def embeddings_of(config: Config, modality: str, collection: str) -> dict[str, np.ndarray]:
    folder = config.results / "embeddings" / "mini" / modality / collection
    rows = [
        r for p in sorted(folder.glob("*.parquet")) for r in read_table(p, EMBEDDINGS).to_pylist()
    ]
    return {row["id"]: np.float32(row["embedding"]) for row in rows if row["embedding"]}


@pytest.mark.parametrize(("mode", "modality"), [("video_text", "video"), ("audio_text", "audio")])
def test_items_have_all_keys(config: Config, mode: str, modality: str) -> None:
    content = load(folder_of(config) / mode / f"careless_{mode}.json")
    assert set(content) == {f"{modality}_dir", "json_file", "statistics", "results"}
    assert content[f"{modality}_dir"] == str(config.collections["careless"].path[0])
    assert content["json_file"] == str(config.prompts["world"].path)
    item = content["results"][2]
    scores = scores_of(config, mode, "careless")
    path = next(name for name in scores if name.startswith("sub/0002"))
    assert item == {
        "index": 2,
        f"{modality}_path": f"{config.collections['careless'].path[0]}/{path}",
        f"{modality}_prompt": "كرة حمراء تقفز على الأرض 2",
        "success": True,
        "error": None,
        "similarity": scores[path],
        f"{modality}_embedding_shape": [1, DIM],
        "text_embedding_shape": [1, DIM],
    }


def test_failed_items_say_why(config: Config) -> None:
    items = load(folder_of(config) / "video_text" / "late_video_text.json")["results"]
    by_index = {item["index"]: item for item in items}
    assert len(items) == COUNT + 1
    broken, silent, absent = by_index[BROKEN], by_index[SILENT], by_index[24000]
    assert not any(item["success"] for item in (broken, silent, absent))
    assert {item["similarity"] for item in (broken, silent, absent)} == {None}
    assert broken["error"] == "unreadable: moov <not> found"
    assert broken["video_embedding_shape"] is None
    assert silent["error"] == "silent: the sound is quieter than audio.silence_db"
    assert absent["error"] == "no_clip: no clip belongs to the prompt"
    assert absent["video_path"] is None
    assert absent["video_prompt"] == "never made"


def test_statistics(config: Config) -> None:
    statistics = load(folder_of(config) / "audio_text" / "faithful_audio_text.json")["statistics"]
    values = list(scores_of(config, "audio_text", "faithful").values())
    assert datetime.fromisoformat(statistics.pop("timestamp"))
    assert statistics.pop("similarity") == pytest.approx(
        {
            "mean": np.mean(values),
            "std": np.std(values),
            "min": min(values),
            "max": max(values),
            "median": np.median(values),
        }
    )
    assert statistics == {
        "total_count": COUNT + 1, "successful_count": SCORED, "failed_count": 3,
    }  # fmt: skip


def test_statistics_without_success_have_no_similarity(tmp_path: Path) -> None:
    config = make_results(tmp_path, ("faithful",), scored=False)
    export(config)
    statistics = load(folder_of(config) / "video_text" / "faithful_video_text.json")["statistics"]
    assert statistics["successful_count"] == 0
    assert "similarity" not in statistics
    content = load(folder_of(config) / "av_consistency" / "faithful_av_consistency.json")
    assert content["metrics"] == load(pairs_of(config, "faithful") / "metrics.json") == {}
    assert content["audio_count"] == COUNT
    assert not (pairs_of(config, "faithful") / "similarity_matrix.npy").exists()


def test_json_is_indented_and_keeps_its_script(config: Config) -> None:
    text = (folder_of(config) / "video_text" / "faithful_video_text.json").read_text("utf-8")
    assert '\n  "statistics": {\n    "timestamp"' in text
    assert "一只红色的球在弹跳" in text


def test_pairs_are_aligned(config: Config) -> None:
    folder = pairs_of(config, "careless")
    scores = scores_of(config, "av_consistency", "careless")
    names = sorted(scores)
    for modality in ("audio", "video"):
        saved = np.load(folder / f"{modality}_embeddings.npy")
        found = embeddings_of(config, modality, "careless")
        assert saved.dtype == np.float32
        np.testing.assert_array_equal(saved, np.stack([found[name] for name in names]))
        listed = (folder / f"{modality}_names.txt").read_text("utf-8").splitlines()
        assert listed == [Path(name).stem for name in names]
    pairs = [line.split("\t") for line in (folder / "pairs.txt").read_text("utf-8").splitlines()]
    root = config.collections["careless"].path[0]
    assert pairs == [[f"{root}/{name}"] * 2 for name in names]
    matrix = np.load(folder / "similarity_matrix.npy")
    np.testing.assert_allclose(np.diag(matrix), [scores[name] for name in names], atol=1e-6)


def test_metrics_are_those_of_the_matrix(config: Config) -> None:
    folder = pairs_of(config, "careless")
    metrics = load(folder / "metrics.json")
    matrix = np.load(folder / "similarity_matrix.npy").astype(float)
    paired = np.diag(matrix)
    ranks = (matrix > paired[:, None]).sum(1) + 1
    assert metrics.pop("paired_similarities") == pytest.approx(paired, abs=1e-6)
    assert metrics == pytest.approx(
        {
            "paired_similarity_mean": paired.mean(),
            "paired_similarity_std": paired.std(),
            "paired_similarity_min": paired.min(),
            "paired_similarity_max": paired.max(),
            "mean_rank": ranks.mean(),
            "median_rank": np.median(ranks),
            "recall_at_1": (ranks <= 1).mean(),
            "recall_at_5": (ranks <= 5).mean(),
            "recall_at_10": (ranks <= 10).mean(),
            "similarity_matrix_mean": matrix.mean(),
            "similarity_matrix_std": matrix.std(ddof=1),
        },
        abs=1e-6,
    )


def test_the_moments_are_added_up_block_by_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairs, "_BLOCK", 7)
    rng = np.random.default_rng(0)
    left, right = rng.normal(0.3, 1, (2, 25, 6)).astype(np.float32)
    matrix = 1 - cdist(left, right, "cosine")
    moments = {
        "similarity_matrix_mean": matrix.mean(),
        "similarity_matrix_std": matrix.std(ddof=1),
    }
    assert pairs._moments(left, right) == pytest.approx(moments, rel=1e-6)


def test_the_report_shows_metrics_pairs_and_a_corner_of_the_matrix(config: Config) -> None:
    folder = pairs_of(config, "careless")
    report = (folder / "consistency_report.txt").read_text("utf-8").splitlines()
    metrics, matrix = load(folder / "metrics.json"), np.load(folder / "similarity_matrix.npy")
    assert f"pairs: {SCORED}" in report
    assert f"mean_rank: {metrics['mean_rank']:.6f}" in report
    stem = (folder / "audio_names.txt").read_text("utf-8").splitlines()[1]
    assert f"{stem} <-> {stem}: {metrics['paired_similarities'][1]:.4f}" in report
    assert report[-10:] == ["\t".join(f"{x:.4f}" for x in row[:10]) for row in matrix[:10]]


def test_ranks_are_those_of_the_tables(config: Config) -> None:
    path = config.results / "scores" / "retrieval" / "mini" / "late.parquet"
    rows = [
        row
        for row in read_table(path, RETRIEVAL).to_pylist()
        if row["direction"] == "audio_to_video" and row["status"] == "ok"
    ]
    metrics = load(pairs_of(config, "late") / "metrics.json")
    assert metrics["recall_at_5"] == np.mean([row["recall_at_5"] for row in rows])
    assert metrics["mean_rank"] == np.mean([row["rank"] for row in rows])
    assert metrics["median_rank"] == np.median([row["rank"] for row in rows])


def test_a_model_without_scores_has_a_folder(tmp_path: Path) -> None:
    config = make_results(tmp_path, ("faithful",), tasks=["synchrony"])
    export(config)
    assert load(folder_of(config) / "summary.json") == {}


def test_a_large_matrix_is_left_out_with_a_note(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = load(pairs_of(config, "faithful") / "metrics.json")
    monkeypatch.setattr("concord.report.pairs.MATRIX_LIMIT", 10)
    config = make_results(tmp_path, ("faithful",), count=COUNT)
    export(config)
    folder = pairs_of(config, "faithful")
    assert not (folder / "similarity_matrix.npy").exists()
    note = (folder / "consistency_report.txt").read_text("utf-8").splitlines()[-1]
    assert note == "similarity_matrix.npy is left out above 10 pairs"
    large = load(folder / "metrics.json")
    for name, value in small.items():
        assert large[name] == pytest.approx(value, abs=1e-6)


def test_collections_never_overwrite_each_other(tmp_path: Path) -> None:
    config = make_results(tmp_path, ("faithful", "late"))
    last = {Path(collection.path[0]).name for collection in config.collections.values()}
    assert last == {"videos"}
    export(config)
    summary = load(config.results / "exports" / "mini" / "summary.json")
    for mode in ("video_text", "audio_text", "av_consistency"):
        files = {path.name for path in (folder_of(config) / mode).glob("*.json")}
        assert files == {f"faithful_{mode}.json", f"late_{mode}.json"}
        written = [Path(entry["output_file"]).name for entry in summary[mode]["results"]]
        assert written == [f"faithful_{mode}.json", f"late_{mode}.json"]
    everything = load(config.results / "exports" / "summary.json")
    statistics = everything["models"]["mini"]["video_text"]["late"]
    assert statistics == summary["video_text"]["results"][1]["result"]["statistics"]
    assert everything["limited"] is False


def test_exports_of_an_earlier_run_are_gone(tmp_path: Path) -> None:
    config = make_results(tmp_path, ("faithful", "late"), tasks=["video_text"])
    export(config)
    less = make_results(tmp_path, ("faithful",), tasks=["video_text"])
    export(less)
    assert not list((config.results / "exports").rglob("late*"))
