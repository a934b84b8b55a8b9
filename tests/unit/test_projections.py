"""Features in two dimensions: as an oracle has them, the same again, and never made up."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from report_features import project_all
from report_results import BROKEN, SILENT, make_results

from concord.config import Config
from concord.feature_tables import PROJECTIONS
from concord.report.projections import Projection, directions, project
from concord.tables import read_metadata, read_table

METHODS = ["pca", "tsne", "umap"]
LABELS = np.arange(90) % 3


@pytest.fixture(scope="module")
def features() -> np.ndarray:
    """Three well separated clusters on the sphere."""
    rng = np.random.default_rng(0)
    found = 3 * rng.normal(size=(3, 20))[LABELS] + rng.normal(size=(90, 20))
    return found / np.linalg.norm(found, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def made(features: np.ndarray) -> dict[str, Projection]:
    return project(features, METHODS, seed=3)


def test_principal_components_are_those_of_the_svd(
    features: np.ndarray, made: dict[str, Projection]
) -> None:
    u, s, _ = np.linalg.svd(features - features.mean(axis=0), full_matrices=False)
    expected, xy = u[:, :2] * s[:2], made["pca"].xy
    signs = np.sign((expected * xy).sum(axis=0))
    np.testing.assert_allclose(xy, expected * signs, atol=1e-9)
    np.testing.assert_allclose(made["pca"].note["explained"], (s**2 / (s**2).sum())[:2])


@pytest.mark.parametrize("method", METHODS)
def test_clusters_stay_apart(method: str, made: dict[str, Projection]) -> None:
    from sklearn.metrics import silhouette_score

    assert silhouette_score(made[method].xy, LABELS) > 0.5


def test_the_same_seed_gives_the_same_picture(
    features: np.ndarray, made: dict[str, Projection]
) -> None:
    again = project(features, METHODS, seed=3)
    for method in METHODS:
        np.testing.assert_array_equal(again[method].xy, made[method].xy)
        assert again[method].note == made[method].note


@pytest.mark.parametrize(
    ("count", "reasons"),
    [
        (0, {"pca": 3, "tsne": 10, "umap": 16}),
        (2, {"pca": 3, "tsne": 10, "umap": 16}),
        (9, {"tsne": 10, "umap": 16}),
        (15, {"umap": 16}),
    ],
)
def test_too_few_clips_are_a_reason(features: np.ndarray, count: int, reasons: dict) -> None:
    found = project(features[:count], METHODS, seed=0)
    told = {name: made.note["reason"] for name, made in found.items() if made.xy is None}
    assert told == {
        name: f"needs at least {fewest} clips, found {count}" for name, fewest in reasons.items()
    }


def test_few_clips_have_a_smaller_perplexity(features: np.ndarray) -> None:
    found = project(features[:10], ["tsne"], seed=0)["tsne"]
    assert found.note == {"perplexity": 3.0}
    assert np.isfinite(found.xy).all()


def test_equal_features_have_no_picture() -> None:
    found = project(np.full((20, 4), 0.5), METHODS, seed=0)
    assert {made.note["reason"] for made in found.values()} == {"all features are equal"}


def test_directions_of_clips_and_their_labels() -> None:
    clips = pd.DataFrame({"clip_id": list("abcdef"), "label": ["p", "p", "p", "q", "q", "r"]})
    features = np.array([[3, 0], [0, 2], [4, 0], [0, 0], [np.nan, 1], [0, 5]], float)
    shown, unit = directions(clips, features)
    assert list(shown["clip_id"]) == ["a", "b", "c", "f"]
    assert list(shown["norm"]) == [3, 2, 4, 5]
    np.testing.assert_allclose(np.linalg.norm(unit, axis=1), 1)
    expected = [0.5**0.5, 0, 0.5**0.5, np.nan]  # f has no other clip of its label
    np.testing.assert_allclose(shown["centre_cosine"], expected, atol=1e-12)


def test_the_table_holds_every_scope_and_what_it_rests_on(tmp_path: Path) -> None:
    config = made_config(tmp_path, labels=3)
    path = project_all(config)["mini", "audio"]
    rows = read_table(path, PROJECTIONS).to_pandas()
    scopes = read_metadata(path)["scopes"]
    assert list(scopes) == ["faithful", "late", "*"]
    assert {s: note["shown"] for s, note in scopes.items()} == {"faithful": 22, "late": 22, "*": 44}
    assert set(rows["method"]) == {"pca"}
    assert set(rows.loc[rows["scope"] == "late", "label"]) == {"label 00", "label 01", "label 02"}
    assert set(rows.loc[rows["scope"] == "*", "label"]) == {"faithful", "late"}
    hidden = rows["clip_id"].str.contains(f"{SILENT:04d}|{BROKEN:04d}")
    assert not hidden.any()


def test_without_labels_collections_are_told_apart(tmp_path: Path) -> None:
    config = made_config(tmp_path, labels=0)
    rows = read_table(project_all(config)["mini", "video"], PROJECTIONS).to_pandas()
    assert set(rows["scope"]) == {"*"}
    assert set(rows["label"]) == {"faithful", "late"}


def test_a_mapping_of_labels_decides_what_is_shown(tmp_path: Path) -> None:
    labels = {"real": ["faithful"], "fake": ["late"]}
    config = made_config(tmp_path, labels=2, probes={"labels": labels})
    rows = read_table(project_all(config)["mini", "video"], PROJECTIONS).to_pandas()
    assert set(zip(rows["collection"], rows["label"], strict=True)) == {
        ("faithful", "real"), ("late", "fake"),
    }  # fmt: skip
    assert set(rows["scope"]) == {"*"}


def made_config(folder: Path, labels: int, **options: object) -> Config:
    return make_results(
        folder, ("faithful", "late"), labels=labels, tasks=["features"],
        report={"projections": ["pca"]}, **options,
    )  # fmt: skip
