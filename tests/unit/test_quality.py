"""The checks of embedding tables, against brute force over all pairs."""

import json
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from labelled_features import Row, embedding, write_embeddings, write_media

from concord.config import Quality
from concord.errors import UserError
from concord.feature_tables import QUALITY
from concord.models.batches import Batches
from concord.parallel import Failure
from concord.scores.quality import check
from concord.tables import read_table


def normal(n: int, dim: int = 6, seed: int = 0) -> list[Row]:
    vectors = np.random.default_rng(seed).normal(size=(n, dim))
    return [embedding(f"clip {i}", vector) for i, vector in enumerate(vectors)]


def checked(
    folder: Path,
    rows: list[Row],
    origins: list[Path] | None = None,
    modality: Any = "video",
    shards: int = 3,
    **limits: Any,
) -> dict[str, Row]:
    """The rows of QUALITY by check."""
    output = folder / "quality.parquet"
    check(
        write_embeddings(folder / "embeddings", rows, shards),
        output,
        model="m",
        modality=modality,
        source="c",
        origins=origins or [],
        quality=Quality(**limits).model_dump(),
    )
    return {row["check"]: row for row in read_table(output, QUALITY).to_pylist()}


def statuses(found: dict[str, Row]) -> dict[str, str]:
    return {name: row["status"] for name, row in found.items() if row["status"] != "ok"}


def test_ordinary_vectors_pass(tmp_path: Path) -> None:
    found = checked(tmp_path, normal(200, dim=32))
    assert [*found] == [
        "not_finite", "zero", "collapsed", "effective_rank", "duplicates", "norms"
    ]  # fmt: skip
    assert statuses(found) == {}
    assert {row["n"] for row in found.values()} == {200}
    assert {row["protocol_id"] for row in found.values()} == {"p"}


def test_vectors_that_are_not_finite_or_zero_are_named(tmp_path: Path) -> None:
    rows = normal(20)
    rows[3]["embedding"] = np.array([np.nan, 1, 1, 1, 1, 1], np.float32)
    rows[7]["embedding"] = np.array([np.inf, 1, 1, 1, 1, 1], np.float32)
    rows[9]["embedding"] = np.zeros(6, np.float32)
    found = checked(tmp_path, rows)
    assert statuses(found) == {"not_finite": "failed", "zero": "failed"}
    assert sorted(json.loads(found["not_finite"]["examples"])) == ["clip 3", "clip 7"]
    assert (found["not_finite"]["count"], found["not_finite"]["share"]) == (2, 0.1)
    assert json.loads(found["zero"]["examples"]) == ["clip 9"]
    allowed = checked(tmp_path, rows, not_finite=0.1, zero=0.5)
    assert statuses(allowed) == {"not_finite": "warning", "zero": "warning"}


class Broken:
    """A model whose second embedding is not a number."""

    def embed(self, modality: Any, inputs: Any) -> np.ndarray:
        vectors = np.random.default_rng(0).normal(size=(len(inputs), 4)).astype(np.float32)
        vectors[1, 2] = np.nan
        return vectors


def test_embeddings_that_the_jobs_refused_are_counted(tmp_path: Path) -> None:
    """The embedding job turns such a vector into a failed row, so the table itself is clean."""
    rows = []
    for i, result in enumerate(Batches(Broken(), "m", "video", 4).embed([np.zeros(1)] * 4)):  # type: ignore[arg-type]
        if isinstance(result, Failure):
            rows.append(embedding(f"clip {i}", None, reason=result.reason))
        else:
            rows.append(embedding(f"clip {i}", result))
    rows.append(embedding("bad sound", None, reason="not_finite", views=None))
    found = checked(tmp_path, rows)["not_finite"]
    assert (found["status"], found["count"], found["n"]) == ("failed", 1, 4)
    assert json.loads(found["examples"]) == ["clip 1"]


def test_mean_cosine_is_that_of_all_pairs(tmp_path: Path) -> None:
    rows = normal(30, seed=5)
    units = [row["embedding"] / np.linalg.norm(row["embedding"]) for row in rows]
    expected = np.mean([a @ b for a, b in combinations(units, 2)])
    assert checked(tmp_path, rows)["collapsed"]["value"] == pytest.approx(expected, abs=1e-6)


def test_effective_rank_counts_the_dimensions_that_vary(tmp_path: Path) -> None:
    """Unit vectors on k axes, each as often, vary equally in k - 1 directions."""
    axes = np.eye(6)
    rows = [embedding(f"{i}", axes[i % 4] * (1 + i)) for i in range(40)]
    found = checked(tmp_path, rows, norm_factor=100)
    assert found["effective_rank"]["value"] == pytest.approx(3, rel=1e-6)


def test_nearly_equal_vectors_are_collapsed(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = [embedding(f"{i}", 1 + 0.01 * rng.normal(size=6)) for i in range(50)]
    found = checked(tmp_path, rows)
    assert statuses(found) == {"collapsed": "failed"}
    line = [embedding(f"{i}", [np.cos(i / 20), np.sin(i / 20)]) for i in range(20)]
    assert checked(tmp_path, line, effective_rank=2)["effective_rank"]["status"] == "failed"


def test_equal_vectors_have_no_effective_rank(tmp_path: Path) -> None:
    rows = [embedding(f"{i}", [0.1, 0.7, 0.3]) for i in range(50)]
    found = checked(tmp_path, rows)
    assert statuses(found) == {
        "collapsed": "failed", "effective_rank": "failed", "duplicates": "failed"
    }  # fmt: skip
    assert found["effective_rank"]["value"] == 0
    assert found["duplicates"]["count"] == 49


def test_norms_far_from_the_median_are_named(tmp_path: Path) -> None:
    rows = normal(100)
    for i, factor in ((4, 100), (5, 0.001)):
        rows[i]["embedding"] = rows[i]["embedding"] * np.float32(factor)
    found = checked(tmp_path, rows)["norms"]
    assert (found["status"], found["count"]) == ("failed", 2)
    assert sorted(json.loads(found["examples"])) == ["clip 4", "clip 5"]
    assert checked(tmp_path, rows, norms=0.02)["norms"]["status"] == "warning"
    assert checked(tmp_path, rows, norm_factor=1e4)["norms"]["status"] == "ok"


def twins(folder: Path, contents: dict[str, bytes], **media: Any) -> tuple[list[Row], list[Path]]:
    """Clips of one vector with these files, beside ten others; and their media table."""
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    rows = [*normal(10), *(embedding(name, [1, 2, 3, 4, 5, 6]) for name in contents)]
    listed = [{"clip_id": n, "path": str(folder / n), **media} for n in contents]
    return rows, [write_media(folder, listed)]


def test_equal_vectors_of_different_files_are_duplicates(tmp_path: Path) -> None:
    rows, media = twins(tmp_path, {"a": b"one", "b": b"two"})
    found = checked(tmp_path, rows, media)["duplicates"]
    assert (found["status"], found["count"]) == ("failed", 1)
    assert [sorted(group) for group in json.loads(found["examples"])] == [["a", "b"]]


def test_equal_files_may_have_equal_vectors(tmp_path: Path) -> None:
    rows, media = twins(tmp_path, {"a": b"same", "b": b"same"})
    assert checked(tmp_path, rows, media)["duplicates"]["count"] == 0
    rows, media = twins(tmp_path, {"a": b"same", "b": b"same", "c": b"more"})
    found = checked(tmp_path, rows, media)["duplicates"]
    assert found["count"] == 1, "two are copies, the third is another input"
    assert json.loads(found["examples"]) == [["a", "c", "b"]], "what differs comes first"


def test_one_input_among_many_copies_is_one_finding(tmp_path: Path) -> None:
    contents = {f"{i}": b"same" for i in range(40)} | {"other": b"more", "third": b"else"}
    rows, media = twins(tmp_path, contents)
    found = checked(tmp_path, rows, media, duplicates=0.05)["duplicates"]
    assert (found["status"], found["count"], found["n"]) == ("warning", 2, 52)


def test_equal_waves_may_have_equal_vectors(tmp_path: Path) -> None:
    """Two videos with one sound: what the model hears is the same file."""
    rows, media = twins(tmp_path, {"a": b"one", "b": b"two"}, wave_digest="of both")
    assert checked(tmp_path, rows, media, "audio")["duplicates"]["count"] == 0
    assert checked(tmp_path, rows, media, "video")["duplicates"]["count"] == 1


def test_silence_is_one_input(tmp_path: Path) -> None:
    rows, media = twins(tmp_path, {"a": b"one", "b": b"two"}, max_volume_db=-91.0)
    assert checked(tmp_path, rows, media, "audio")["duplicates"]["count"] == 0


def test_equal_vectors_of_two_texts_are_duplicates(tmp_path: Path) -> None:
    rows = [*normal(10), embedding("x", np.ones(6)), embedding("y", np.ones(6))]
    assert checked(tmp_path, rows, modality="text")["duplicates"]["count"] == 1


@pytest.mark.parametrize("n", [0, 1])
def test_too_few_vectors_are_no_verdict(tmp_path: Path, n: int) -> None:
    found = checked(tmp_path, [*normal(n), embedding("failed", None)], shards=1)
    assert found["collapsed"]["status"] == found["effective_rank"]["status"] == "skipped"
    assert found["collapsed"]["value"] is None
    assert found["zero"]["status"] == ("ok" if n else "skipped")


def test_a_failed_check_stops_where_wanted(tmp_path: Path) -> None:
    rows = normal(20)
    rows[9]["embedding"] = np.zeros(6, np.float32)
    with pytest.raises(UserError) as caught:
        checked(tmp_path, rows, action="fail")
    (problem,) = caught.value.args
    for word in (str(tmp_path / "embeddings"), "zero", "1 of 20", "clip 9", "models.m", "record"):
        assert word in problem
    assert statuses(checked(tmp_path, rows, action="fail", zero=0.05)) == {"zero": "warning"}


def test_shards_of_two_dimensions_are_refused(tmp_path: Path) -> None:
    rows = [embedding("a", np.ones(3)), embedding("b", np.ones(4))]
    with pytest.raises(UserError, match="4 values found, 3 expected"):
        checked(tmp_path, rows, shards=2)
