"""Clip features as files: every format readable, rows aligned with paths, nothing lost."""

import csv
import json
import pickle
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from planned_results import MODEL, configure, make_planned

from concord.config import Config
from concord.report import feature_exports
from concord.report.exports import export

DIM = 8
NAMES = [
    "b.mp4",
    "new\nline\ttab.mp4",
    "日本 ấ.avi",
    "back\\slash.MOV",
    "a b'\"<.mkv",
    "broken.webm",
]


def folder_of_seed(folder: Path, seed: int) -> Path:
    return folder / ("a/real" if seed % 2 else "z/fake")


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    """Videos with unusual names in labelled folders; one is broken, one not named in UTF-8.

    By clip_id, `fake/` comes first, by path `a/real/`.
    """
    folder = tmp_path_factory.mktemp("features")
    vectors: dict[str, np.ndarray | Exception] = {}
    for seed, name in enumerate(NAMES):
        path = folder_of_seed(folder, seed) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"video")
        values = np.random.default_rng(seed).normal(size=DIM).astype(np.float32)
        vectors[str(path)] = ValueError('moov, "atom"\nnot found') if "broken" in name else values
    Path(f"{folder}/a/real/\udcff.mp4").write_bytes(b"video")
    (folder / "a/real/notes.txt").write_text("notes")
    source = {"path": [str(folder_of_seed(folder, seed)) for seed in (0, 1)], "label": "parent"}
    config = configure(folder, collections={"mine": source}, tasks=["features"])
    make_planned(config, vectors)
    export(config)
    return config


def folder_of(config: Config) -> Path:
    return config.results / "exports" / MODEL / "features" / "mine"


@pytest.fixture
def expected(config: Config) -> tuple[list[str], np.ndarray, list[str]]:
    """Paths, features and labels, in the order of the paths."""
    root = config.results.parent
    seeds = {
        str(folder_of_seed(root, seed) / name): seed
        for seed, name in enumerate(NAMES)
        if name != "broken.webm"
    }
    paths = sorted(seeds)
    rows = [np.random.default_rng(seeds[path]).normal(size=DIM) for path in paths]
    return paths, np.array(rows, np.float32), [Path(path).parent.name for path in paths]


Expected = tuple[list[str], np.ndarray, list[str]]


def test_npy_and_its_paths(config: Config, expected: Expected) -> None:
    features = np.load(folder_of(config) / "features.npy")
    assert features.dtype == np.float32
    np.testing.assert_array_equal(features, expected[1])
    escaped = {"\\": "\\\\", "\n": "\\n", "\t": "\\t"}
    lines = ["".join(escaped.get(letter, letter) for letter in path) for path in expected[0]]
    listed = (folder_of(config) / "video_paths.txt").read_text("utf-8")
    assert listed == "".join(f"{line}\n" for line in lines)


def test_pickle(config: Config, expected: Expected) -> None:
    content = pickle.loads((folder_of(config) / "features.pkl").read_bytes())
    assert list(content) == ["features", "video_paths", "labels"]
    np.testing.assert_array_equal(content["features"], expected[1])
    assert (content["video_paths"], content["labels"]) == (expected[0], expected[2])


def test_hdf5(config: Config, expected: Expected) -> None:
    with h5py.File(folder_of(config) / "features.h5", locking=False) as file:
        np.testing.assert_array_equal(file["features"][:], expected[1])
        assert file["features"].dtype == np.float32
        assert [path.decode() for path in file["video_paths"]] == expected[0]
        assert [label.decode() for label in file["labels"]] == expected[2]


def test_parquet(config: Config, expected: Expected) -> None:
    table = pq.read_table(folder_of(config) / "features.parquet")
    assert table.column_names == ["clip_id", "path", "label", "features"]
    assert table["path"].to_pylist() == expected[0]
    assert table["label"].to_pylist() == expected[2]
    np.testing.assert_array_equal(np.stack(table["features"].to_numpy()), expected[1])


def test_parquet_is_written_in_row_groups(
    config: Config, expected: Expected, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Arrow counts the floats of a column's lists in 32 bits, so not all can be in one."""
    monkeypatch.setattr(feature_exports, "_FLOATS_A_ROW_GROUP", 2 * DIM + 1)
    export(config)
    file = pq.ParquetFile(folder_of(config) / "features.parquet")
    groups = [file.metadata.row_group(i) for i in range(file.num_row_groups)]
    assert [group.num_rows for group in groups] == [2, 2, 1]
    table = file.read()
    assert table["path"].to_pylist() == expected[0]
    np.testing.assert_array_equal(np.stack(table["features"].to_numpy()), expected[1])


def test_arrow_holds_the_vectors_of_one_shard_at_a_time(tmp_path: Path) -> None:
    """For the same reason; and the matrix of all is then the only copy."""
    (tmp_path / "videos").mkdir()
    vectors = {}
    for i in range(40):
        path = tmp_path / "videos" / f"{i:02}.mp4"
        path.write_bytes(b"video")
        vectors[str(path)] = np.random.default_rng(i).normal(size=8192).astype(np.float32)
    source, clips = str(tmp_path / "videos"), {"block_size": 1, "shard_size": 1}
    config = configure(tmp_path, collections={"mine": source}, tasks=["features"], clips=clips)
    results = make_planned(config, vectors)
    usual, counted = pa.default_memory_pool(), pa.proxy_memory_pool(pa.default_memory_pool())
    pa.set_memory_pool(counted)
    try:
        ids, matrix = results.vectors(MODEL, "video", "mine")
    finally:
        pa.set_memory_pool(usual)
    np.testing.assert_array_equal(matrix, np.stack(list(vectors.values())))
    assert ids == [Path(path).name for path in vectors]
    assert counted.max_memory() < matrix.nbytes / 2


def test_every_other_file_is_a_failure_with_its_reason(config: Config) -> None:
    with (folder_of(config) / "failures.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    root = folder_of_seed(config.results.parent, 1)
    assert rows == [
        {"path": f"{root}/\\xff.mp4", "status": "skipped", "reason": "name_not_utf8", "detail": ""},
        {
            "path": f"{root}/broken.webm",
            "status": "failed",
            "reason": "unreadable",
            "detail": 'moov, "atom"\nnot found',
        },
        {"path": f"{root}/notes.txt", "status": "skipped", "reason": "not_media", "detail": ""},
    ]


def test_facts(config: Config, expected: Expected) -> None:
    facts = json.loads((folder_of(config) / "features.json").read_text("utf-8"))
    norms = np.linalg.norm(expected[1], axis=1)
    numbers = {name: facts.pop(name) for name in ("min", "max", "norm_min", "norm_max")}
    assert numbers == pytest.approx(
        {
            "min": expected[1].min(),
            "max": expected[1].max(),
            "norm_min": norms.min(),
            "norm_max": norms.max(),
        }
    )
    assert facts == {
        "model": MODEL,
        "protocol_id": "p-video",
        "modality": "video",
        "shape": [5, DIM],
        "dtype": "float32",
        "finite": True,
        "left_out": 3,
        "reasons": {"name_not_utf8": 1, "not_media": 1, "unreadable": 1},
    }


def test_sounds_have_a_folder_of_their_own(config: Config, expected: Expected) -> None:
    folder = folder_of(config) / "audio"
    content = pickle.loads((folder / "features.pkl").read_bytes())
    assert content["audio_paths"] == expected[0], "the sound lies in the video file"
    assert len((folder / "audio_paths.txt").read_text("utf-8").splitlines()) == len(expected[0])
    assert json.loads((folder / "features.json").read_text())["modality"] == "audio"


def test_labels_are_left_out_where_there_are_none(tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "a.mp4").write_bytes(b"video")
    vectors = {str(tmp_path / "videos" / "a.mp4"): np.ones(DIM, np.float32)}
    config = configure(tmp_path, collections={"mine": str(tmp_path / "videos")}, tasks=["features"])
    make_planned(config, vectors)
    export(config)
    content = pickle.loads((folder_of(config) / "features.pkl").read_bytes())
    assert list(content) == ["features", "video_paths"]
    with h5py.File(folder_of(config) / "features.h5", locking=False) as file:
        assert sorted(file) == ["features", "video_paths"]


def test_a_collection_without_one_good_clip_has_empty_features(tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "a.mp4").write_bytes(b"video")
    vectors = {str(tmp_path / "videos" / "a.mp4"): ValueError("moov")}
    config = configure(tmp_path, collections={"mine": str(tmp_path / "videos")}, tasks=["features"])
    make_planned(config, vectors)
    export(config)
    assert len(np.load(folder_of(config) / "features.npy")) == 0
    assert pq.read_table(folder_of(config) / "features.parquet").num_rows == 0
    facts = json.loads((folder_of(config) / "features.json").read_text())
    assert (facts["min"], facts["left_out"]) == (None, 1)


def test_vectors_without_direction_are_failures(tmp_path: Path) -> None:
    """As scores and probes have it."""
    (tmp_path / "videos").mkdir()
    vectors = {}
    for name, value in {"a.mp4": 1.0, "b.mp4": 0.0, "c.mp4": np.nan}.items():
        (tmp_path / "videos" / name).write_bytes(b"video")
        vectors[str(tmp_path / "videos" / name)] = np.full(DIM, value, np.float32)
    config = configure(tmp_path, collections={"mine": str(tmp_path / "videos")}, tasks=["features"])
    make_planned(config, vectors)
    export(config)
    folder = folder_of(config)
    np.testing.assert_array_equal(np.load(folder / "features.npy"), np.ones((1, DIM)))
    with (folder / "failures.csv").open(encoding="utf-8", newline="") as file:
        found = [(Path(r["path"]).name, r["status"], r["reason"], r["detail"])
                 for r in csv.DictReader(file)]  # fmt: skip
    assert found == [
        ("b.mp4", "failed", "not_finite", "the embedding has norm 0.0"),
        ("c.mp4", "failed", "not_finite", "the embedding has norm nan"),
    ]
    facts = json.loads((folder / "features.json").read_text())
    assert (facts["shape"], facts["finite"], facts["left_out"]) == ([1, DIM], True, 2)
    assert facts["reasons"] == {"not_finite": 2}
