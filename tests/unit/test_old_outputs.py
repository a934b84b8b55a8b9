"""Exports against what the replaced scripts write for the same files and embeddings.

Every field, type and array is compared. What differs is listed here, and in docs/moving.md.
"""

import json
import pickle
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import old_scripts as old
import pytest
from planned_results import MODEL, configure, make_planned

from concord.config import Config
from concord.report.exports import export

DIM = 16
TASKS = ["video_text", "audio_text", "av_consistency", "retrieval"]
BROKEN, EMPTY, ABSENT = 3, 5, 7  # indices: unreadable picture, no video prompt, no file

# What differs, and why: a value, a key that is added (+) or left out (-).
REPAIRED_TEXT = {
    "statistics.timestamp": "has a time zone",
    "results[].error": "a word of the list of reasons, and what it means",
    "results[].KIND_embedding_shape +": "an item without a file has all keys too",
    "results[].text_embedding_shape +": "an item without a file has all keys too",
}
REPAIRED_PAIRS = {
    "json_file +": "as in the other modes",
    "statistics +": "as in the other modes",
    "results +": "a clip that failed is an item with its reason, and drops no other",
}
REPAIRED_SUMMARY = {
    "*.results[].output_file": "named by the collection",
    "*.results[].result.statistics.timestamp": "has a time zone",
    "*.results[].result.results -": "the items are in output_file",
    "av_consistency.json_file +": "as in the other modes",
    "av_consistency.results[].result.json_file +": "as in the other modes",
    "av_consistency.results[].result.statistics +": "as in the other modes",
}


@dataclass(frozen=True)
class Both:
    """The same clips through the old scripts and through Concord."""

    config: Config
    vectors: old.Vectors
    old: Path

    @property
    def new(self) -> Path:
        return self.config.results / "exports" / MODEL

    def read(self, old_name: str, new_name: str) -> tuple[Any, Any]:
        return read_json(self.old / old_name), read_json(self.new / new_name)


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def make_files(folder: Path, prompts: list[old.Json]) -> None:
    """Videos of a generator with separate sound, and the prompts."""
    (folder / "audio").mkdir(parents=True)
    for prompt in prompts:
        if prompt["index"] != ABSENT:
            (folder / f"sample_{prompt['index']:04d}.mp4").write_bytes(b"video")
            (folder / "audio" / f"sample_{prompt['index']:04d}.wav").write_bytes(b"audio")


def make_vectors(folder: Path, prompts: list[old.Json], broken: int | None) -> old.Vectors:
    """Raw embeddings: of no unit length, as ImageBind's means of views."""
    rng = np.random.default_rng(0)
    names = [str(path) for path in sorted(folder.rglob("*.*"))]
    names += [text for prompt in prompts for text in prompt.values() if isinstance(text, str)]
    values: dict[str, Any] = {
        name: (rng.normal(size=DIM) * rng.uniform(0.5, 13)).astype(np.float32) for name in names
    }
    for name in names:
        if broken is not None and name.endswith(f"{broken:04d}.mp4"):
            values[name] = ValueError("moov atom not found")
    return values


def make_both(folder: Path, *, tasks: list[str], faults: bool) -> Both:
    prompts = [
        {"index": i, "video_prompt": f"một quả bóng đỏ {i}", "audio_prompt": f"鼓声 {i}", "tag": 1}
        for i in range(1, 13)
    ]
    if faults:
        prompts[EMPTY - 1]["video_prompt"] = ""
        prompts[BROKEN - 1]["audio_prompt"] = ""
    else:
        prompts = [prompt for prompt in prompts if prompt["index"] != ABSENT]
    videos = folder / "kling" / "videos"
    make_files(videos, prompts)
    listed = folder / "prompts.json"
    listed.write_text(json.dumps(prompts, ensure_ascii=False), encoding="utf-8")
    vectors = make_vectors(videos, prompts, BROKEN if faults else None)
    out = folder / "old"
    modes = {
        f"{kind}_text": [old.text_mode(kind, where, listed, vectors, vectors, out)]
        for kind, where in (("video", videos), ("audio", videos / "audio"))
    }
    retrieval = "retrieval" in tasks
    pairs = old.av_consistency(videos, videos / "audio", vectors, out, retrieval=retrieval)
    old.summary(out, {**modes, "av_consistency": [pairs]}, listed)
    config = configure(folder, collections={"kling": str(videos)}, prompts=str(listed), tasks=tasks)
    make_planned(config, vectors)
    export(config)
    return Both(config, vectors, out)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Both:
    return make_both(tmp_path_factory.mktemp("good"), tasks=TASKS, faults=False)


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Both:
    return make_both(tmp_path_factory.mktemp("faulty"), tasks=TASKS, faults=True)


def differences(ours: Any, theirs: Any, place: str = "") -> Iterator[str]:
    """Where two JSON values differ: a value, a key we add (+) or leave out (-), an order."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        kept = [key for key in ours if key in theirs]
        if kept != [key for key in theirs if key in ours]:
            yield f"{place} order"
        yield from (f"{place}.{key} +".lstrip(".") for key in ours.keys() - theirs.keys())
        yield from (f"{place}.{key} -".lstrip(".") for key in theirs.keys() - ours.keys())
        for key in kept:
            yield from differences(ours[key], theirs[key], f"{place}.{key}".lstrip("."))
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for a, b in zip(ours, theirs, strict=True):
            yield from differences(a, b, f"{place}[]")
    elif type(ours) is not type(theirs) or not same(ours, theirs):
        yield place


def same(ours: Any, theirs: Any) -> bool:
    """Equal; numbers to single precision, in which the scripts compute."""
    if isinstance(ours, float):
        return bool(np.isclose(ours, theirs, rtol=0, atol=5e-7))
    return bool(ours == theirs)


@pytest.mark.parametrize("kind", ["video", "audio"])
def test_text_modes(both: Both, kind: str) -> None:
    folder = "videos" if kind == "video" else "audio"
    theirs, ours = both.read(
        f"{kind}_text/{folder}_{kind}_text.json", f"{kind}_text/kling_{kind}_text.json"
    )
    assert set(differences(ours, theirs)) == {"statistics.timestamp"}
    assert ours["statistics"]["successful_count"] == 11


@pytest.mark.parametrize("kind", ["video", "audio"])
def test_text_modes_with_faults(faulty: Both, kind: str) -> None:
    folder = "videos" if kind == "video" else "audio"
    theirs, ours = faulty.read(
        f"{kind}_text/{folder}_{kind}_text.json", f"{kind}_text/kling_{kind}_text.json"
    )
    expected = {name.replace("KIND", kind) for name in REPAIRED_TEXT}
    assert set(differences(ours, theirs)) == expected
    reasons = {item["index"]: item["error"] for item in ours["results"] if not item["success"]}
    found = {index: error.partition(":")[0] for index, error in reasons.items()}
    if kind == "video":
        assert found == {BROKEN: "unreadable", EMPTY: "empty_prompt", ABSENT: "no_clip"}
        assert reasons[BROKEN] == "unreadable: moov atom not found"
    else:
        assert found == {BROKEN: "empty_prompt", ABSENT: "no_clip"}


def test_the_text_is_formatted_as_before(both: Both) -> None:
    old_text = (both.old / "video_text/videos_video_text.json").read_text(encoding="utf-8")
    text = (both.new / "video_text/kling_video_text.json").read_text(encoding="utf-8")
    assert "một quả bóng đỏ 1" in text
    skeleton = [line.split(":")[0] for line in text.splitlines()]
    assert skeleton == [line.split(":")[0] for line in old_text.splitlines()]


def test_av_consistency(both: Both) -> None:
    theirs, ours = both.read(
        "av_consistency/videos_av_consistency.json", "av_consistency/kling_av_consistency.json"
    )
    assert set(differences(ours, theirs)) == set(REPAIRED_PAIRS)
    assert ours["audio_count"] == ours["video_count"] == 11


def pairs_of(both: Both) -> tuple[Path, Path]:
    folder = "av_consistency"
    return both.old / folder / f"videos_{folder}", both.new / folder / f"kling_{folder}"


def assert_same_folder(theirs: Path, ours: Path) -> None:
    written = {path.name for path in theirs.iterdir()} | {"consistency_report.txt"}
    assert {path.name for path in ours.iterdir()} == written
    for name in ("audio_embeddings", "video_embeddings", "similarity_matrix"):
        a, b = np.load(ours / f"{name}.npy"), np.load(theirs / f"{name}.npy")
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        if name == "similarity_matrix":
            np.testing.assert_allclose(a, b, rtol=0, atol=5e-7)
        else:
            np.testing.assert_array_equal(a, b, err_msg="raw, not of unit length")
    for name in ("audio_names.txt", "video_names.txt", "pairs.txt"):
        assert (ours / name).read_bytes() == (theirs / name).read_bytes()
    found = differences(read_json(ours / "metrics.json"), read_json(theirs / "metrics.json"))
    assert not set(found)


def test_the_folder_of_pairs_with_retrieval(both: Both) -> None:
    assert_same_folder(*pairs_of(both))
    metrics = read_json(pairs_of(both)[1] / "metrics.json")
    assert metrics["similarity_matrix_std"] != pytest.approx(metrics["paired_similarity_std"])


def test_the_folder_of_pairs_alone(tmp_path: Path) -> None:
    both = make_both(tmp_path, tasks=["av_consistency"], faults=False)
    assert_same_folder(*pairs_of(both))
    assert "mean_rank" not in read_json(pairs_of(both)[1] / "metrics.json")


def test_one_bad_clip_drops_only_itself(faulty: Both) -> None:
    theirs, ours = pairs_of(faulty)
    count = {
        side: {m: len(np.load(folder / f"{m}_embeddings.npy")) for m in ("audio", "video")}
        for side, folder in (("old", theirs), ("new", ours))
    }
    assert count["old"] == {"audio": 11, "video": 7}, "the old fault: rows no longer fit"
    assert count["new"] == {"audio": 10, "video": 10}
    stems = (ours / "video_names.txt").read_text("utf-8").split()
    assert stems == (ours / "audio_names.txt").read_text("utf-8").split()
    assert f"sample_{BROKEN:04d}" not in stems
    content = read_json(ours.with_suffix(".json"))
    assert (content["audio_count"], content["video_count"]) == (11, 11), "files, as before"
    bad = next(item for item in content["results"] if item["index"] == BROKEN)
    assert (bad["success"], bad["error"]) == (False, "unreadable: moov atom not found")
    values = [item["similarity"] for item in content["results"] if item["success"]]
    assert np.mean(values) == pytest.approx(content["metrics"]["paired_similarity_mean"])


def test_the_summary(both: Both) -> None:
    theirs, ours = both.read("summary.json", "summary.json")
    assert list(ours) == list(theirs)
    for mode in (*ours.values(), *theirs.values()):
        assert datetime.strptime(mode.pop("timestamp"), "%Y-%m-%d %H:%M:%S")
    found = {
        name.replace(mode, "*", 1) if name.replace(mode, "*", 1) in REPAIRED_SUMMARY else name
        for mode in ours
        for name in differences({mode: ours[mode]}, {mode: theirs[mode]})
    }
    assert found == set(REPAIRED_SUMMARY)
    for mode in ours.values():
        for entry in mode["results"]:
            assert Path(entry["output_file"]).exists()


def test_features(both: Both) -> None:
    folder = both.config.collections["kling"].path[0]
    old.features(folder, both.vectors, both.old / "features")
    theirs, ours = both.old / "features", both.new / "features" / "kling"
    a, b = np.load(ours / "features.npy"), np.load(theirs / "features.npy")
    assert a.dtype == b.dtype == np.float32
    np.testing.assert_array_equal(a, b)
    name = "video_paths.txt"
    assert (ours / name).read_bytes() == (theirs / name).read_bytes()
    a, b = (pickle.loads((where / "features.pkl").read_bytes()) for where in (ours, theirs))
    assert list(a) == list(b)
    assert a["video_paths"] == b["video_paths"]
    assert a["features"].dtype == np.float32
    np.testing.assert_array_equal(a["features"], b["features"])


@pytest.mark.shared
def test_the_published_pair(tmp_path: Path, shared: Path) -> None:
    """Embeddings, cosine, matrix and metrics of one pair, as its authors published them."""
    published = shared / "oracles" / "imagebind_pair"
    folder = tmp_path / "videos"
    (folder / "audio").mkdir(parents=True)
    vectors = {}
    for name, kind in (("sample_video_2.mp4", "video"), ("audio/sample_video_2.wav", "audio")):
        (folder / name).write_bytes(b"media")
        vectors[str(folder / name)] = np.load(published / f"{kind}_embeddings.npy")[0]
    config = configure(
        tmp_path, collections={"t2av": str(folder)}, tasks=["av_consistency", "retrieval"]
    )
    make_planned(config, vectors)
    export(config)
    ours = config.results / "exports" / MODEL / "av_consistency" / "t2av_av_consistency"
    for kind in ("audio", "video"):
        name = f"{kind}_embeddings.npy"
        assert (ours / name).read_bytes() == (published / name).read_bytes()
    matrix, expected = (np.load(f / "similarity_matrix.npy") for f in (ours, published))
    assert (matrix.dtype, matrix.shape) == (expected.dtype, expected.shape)
    np.testing.assert_allclose(matrix, expected, rtol=0, atol=1e-7)
    metrics, expected = (read_json(f / "metrics.json") for f in (ours, published))
    assert set(differences(metrics, expected)) == {"similarity_matrix_std"}
    assert metrics["similarity_matrix_std"] is None, "NaN there, which is no JSON"
    assert metrics["paired_similarity_mean"] == pytest.approx(0.119458302855, abs=2e-8)
    items = read_json(ours.with_suffix(".json"))["results"]
    assert items[0]["audio_embedding_shape"] == [1, 1024]
