"""Distributions of features by label, against formulas and matrix roots."""

from pathlib import Path

import numpy as np
import pytest
from labelled_features import write_source
from scipy.linalg import sqrtm

from concord.feature_tables import FEATURE_DISTRIBUTIONS
from concord.scores import distributions as module
from concord.scores.distributions import distribution, distributions, frechet_distance
from concord.scores.labelled import read_labelled
from concord.tables import to_arrow

AUDIO = {"require": "audible", "silence_db": -60.0}


def drawn(n: int, dim: int, seed: int, scale: float = 1, shift: float = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    mixed = rng.normal(size=(n, dim)) @ rng.normal(size=(dim, dim))
    return (scale * mixed + shift).astype(np.float32)


@pytest.mark.parametrize(("n", "m"), [(50, 80), (50, 5), (4, 5)])
def test_frechet_distance_is_that_of_the_matrix_root(n: int, m: int) -> None:
    """Also for fewer clips than dimensions, where the covariances are singular."""
    a, b = drawn(n, 7, 1), drawn(m, 7, 2, scale=2, shift=1)
    cov_a, cov_b = (np.cov(x.astype(float), rowvar=False) for x in (a, b))
    shift = a.astype(float).mean(0) - b.astype(float).mean(0)
    root = sqrtm(sqrtm(cov_a) @ cov_b @ sqrtm(cov_a))
    expected = shift @ shift + np.trace(cov_a + cov_b - 2 * np.real(root))
    found = frechet_distance(distribution("a", a), distribution("b", b))
    assert found == pytest.approx(expected, rel=1e-3)


def test_frechet_distance_of_one_dimension_is_known() -> None:
    """(difference of means)^2 + (difference of standard deviations)^2."""
    a, b = (np.array(x, np.float32)[:, None] for x in ([-1, 1, -1, 1], [3, 7, 3, 7]))
    std = np.sqrt(4 / 3)
    expected = 5**2 + (2 * std - std) ** 2
    assert frechet_distance(distribution("a", a), distribution("b", b)) == pytest.approx(expected)
    assert frechet_distance(distribution("a", a), distribution("a", a)) == pytest.approx(0)


def rows(folder: Path, features: np.ndarray, labels: list[str | None]) -> list[dict]:
    clips = read_labelled([write_source(folder, features, labels)], "video", AUDIO)
    found = distributions(clips, clips.outcome.ok)
    return to_arrow(FEATURE_DISTRIBUTIONS, found).to_pylist()


def test_every_label_and_pair_is_described(tmp_path: Path) -> None:
    features = np.array([[3, 0], [5, 0], [0, 4], [0, 4], [9, 9]], np.float32)
    found = rows(tmp_path, features, ["real", "real", "fake", "fake", None])
    of_label = {
        (r["label"], r["statistic"]): (r["value"], r["n"]) for r in found if r["other"] is None
    }
    assert of_label == {
        ("real", "norm_mean"): (4, 2),
        ("real", "norm_std"): (1, 2),
        ("real", "spread"): (1, 2),
        ("fake", "norm_mean"): (4, 2),
        ("fake", "norm_std"): (0, 2),
        ("fake", "spread"): (0, 2),
    }
    pairs = {(r["statistic"], r["dimension"]): r["value"] for r in found if r["other"] is not None}
    assert pairs == {
        ("centroid_distance", None): pytest.approx(np.sqrt(32)),
        ("frechet_distance", None): pytest.approx(32 + 2),
        ("standardised_difference", 0): pytest.approx(-4 / np.sqrt((2 + 0) / 2)),
    }, "the second dimension does not vary within a label"
    assert {(r["label"], r["other"]) for r in found if r["other"]} == {("fake", "real")}


def test_dimensions_that_differ_most_come_first(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(400, 30))
    features[::2, 17] += 3
    features[::2, 4] -= 2
    found = rows(tmp_path, features, ["b", "a"] * 200)
    differences = [r for r in found if r["statistic"] == "standardised_difference"]
    assert len(differences) == module.DIMENSIONS
    assert [r["dimension"] for r in differences[:2]] == [17, 4]
    a, b = features[1::2, 17], features[::2, 17]
    pooled = np.sqrt((a.var(ddof=1) + b.var(ddof=1)) / 2)
    assert differences[0]["value"] == pytest.approx((a.mean() - b.mean()) / pooled, rel=1e-5)


def test_a_covariance_that_cannot_be_had_is_no_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = rows(tmp_path / "few", drawn(4, 3, 0), ["a", "a", "a", "b"])
    skipped = {(r["statistic"], r["value"], r["reason"]) for r in found if r["status"] != "ok"}
    assert skipped == {
        ("frechet_distance", None, "too_few_clips"),
        ("standardised_difference", None, "too_few_clips"),
    }
    monkeypatch.setattr(module, "MOST_LABELS", 2)
    found = rows(tmp_path / "many", drawn(6, 3, 0), ["a", "a", "b", "b", "c", "c"])
    assert not [row for row in found if row["other"]]
    (told,) = [row for row in found if row["label"] is None]
    assert (told["statistic"], told["status"]) == ("pairs", "skipped")
    assert (told["reason"], told["detail"]) == (
        "too_many_labels", "3 labels, at most 2 are compared"
    )  # fmt: skip


def test_rows_are_as_many_as_labels_where_these_are_many(tmp_path: Path) -> None:
    found = rows(tmp_path, drawn(500, 4, 0), [f"{i}" for i in range(500)])
    assert len(found) == 3 * 500 + 1
