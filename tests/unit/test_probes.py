"""Probes against what is known of made features, and against scikit-learn used by hand."""

from collections import Counter
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from labelled_features import blobs, write_media, write_source
from scipy.stats import bootstrap
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, balanced_accuracy_score, roc_auc_score
from sklearn.preprocessing import StandardScaler

from concord.config import Probes
from concord.errors import UserError
from concord.feature_tables import FEATURE_DISTRIBUTIONS, PREDICTIONS, PROBES
from concord.report.feature_tables import confusion
from concord.scores.classification import HeldOut, area, intervals, metrics
from concord.scores.probes import probe
from concord.scores.sources import ACROSS, Source
from concord.scores.splits import folds, sample, shuffled
from concord.tables import read_metadata, read_table

STATISTICS = {"bootstrap": 300, "confidence": 0.95, "seed": 0}
AUDIO = {"require": "audible", "silence_db": -60.0}
Row = dict[str, Any]


def probed(
    folder: Path, *sources: Source, threads: int = 1, scope: str = "c", **options: Any
) -> tuple[list[Row], list[Row]]:
    """Rows of PROBES and of PREDICTIONS."""
    options = {"classifiers": ["logistic"], **options}
    probe(
        folder / "out",
        scope=scope,
        model="m",
        modality="video",
        sources=sources,
        labelling={source.collection: {"label_key": "kind"} for source in sources},
        probes=Probes(**options).model_dump(),
        audio=AUDIO,
        statistics=STATISTICS,
        threads=threads,
    )
    tables = (("probes", PROBES), ("predictions", PREDICTIONS))
    rows, predictions = (
        read_table(folder / "out" / f"{name}.parquet", table).to_pylist() for name, table in tables
    )
    return rows, predictions


def pooled(rows: list[Row], value: str = "value") -> dict[tuple[str, str], Any]:
    """A column of the rows of all folds together, by probe and metric."""
    return {(r["probe"], r["metric"]): r[value] for r in rows if r["fold"] is None}


@pytest.mark.parametrize("labels", [2, 3])
def test_what_is_separable_is_separated(tmp_path: Path, labels: int) -> None:
    source = write_source(tmp_path, *blobs(90, labels, distance=20))
    rows, predictions = probed(tmp_path, source, classifiers=["logistic", "svm", "mlp"])
    values, chance = pooled(rows), pooled(rows, "chance")
    assert len(values) == 9
    assert set(values.values()) == {1.0}
    assert chance["svm", "accuracy"] == pytest.approx(1 / labels)
    assert chance["mlp", "balanced_accuracy"] == pytest.approx(1 / labels)
    assert chance["logistic", "roc_auc"] == 0.5
    assert {(r["n"], r["n_expected"], r["n_labels"]) for r in rows if r["fold"] is None} == {
        (90, 90, labels)
    }
    for metric, by_luck in (("accuracy", 1 / labels), ("roc_auc", 0.5)):
        assert abs(pooled(rows, "shuffled")["logistic", metric] - by_luck) < 0.2
    assert all(row["predicted"] == row["label"] for row in predictions)


def test_features_without_the_label_are_at_chance(tmp_path: Path) -> None:
    source = write_source(tmp_path, *blobs(400, 2, distance=0))
    rows, _ = probed(tmp_path, source, classifiers=["logistic", "svm", "mlp"])
    low, high = pooled(rows, "ci_low"), pooled(rows, "ci_high")
    for key, value in pooled(rows).items():
        assert abs(value - 0.5) < 0.09, key
        assert low[key] < value < high[key]
        assert 0.05 < high[key] - low[key] < 0.2


def test_numbers_are_those_of_scikit_learn_by_hand(tmp_path: Path) -> None:
    """Everything is counted again from the folds that the predictions name."""
    features, labels = blobs(120, 3, distance=2, seed=3)
    rows, predictions = probed(tmp_path, write_source(tmp_path, features, labels))
    label = np.array(labels)
    fold = np.array([row["fold"] for row in predictions])
    assert Counter(fold.tolist()) == dict.fromkeys(range(5), 24)
    predicted, areas = np.empty(120, dtype=object), []
    for held_out in range(5):
        train, test = fold != held_out, fold == held_out
        assert set(Counter(label[test]).values()) == {8}, "stratified"
        scaler = StandardScaler().fit(features[train].astype(float))
        model = LogisticRegression().fit(scaler.transform(features[train]), label[train])
        predicted[test] = model.predict(scaler.transform(features[test]))
        probability = model.predict_proba(scaler.transform(features[test]))
        areas.append(roc_auc_score(label[test], probability, multi_class="ovr"))
        value = accuracy_score(label[test], predicted[test])
        (row,) = [r for r in rows if (r["fold"], r["metric"]) == (held_out, "accuracy")]
        assert (row["value"], row["n"]) == (pytest.approx(value), 24)
    assert [row["predicted"] for row in predictions] == predicted.tolist()
    assert pooled(rows) == {
        ("logistic", "accuracy"): pytest.approx(accuracy_score(label, predicted)),
        ("logistic", "balanced_accuracy"): pytest.approx(balanced_accuracy_score(label, predicted)),
        ("logistic", "roc_auc"): pytest.approx(np.mean(areas), abs=1e-6),
    }


def test_scores_of_two_labels_are_of_the_second(tmp_path: Path) -> None:
    source = write_source(tmp_path, *blobs(60, 2, distance=1))
    rows, predictions = probed(tmp_path, source, classifiers=["svm"])
    areas = []
    for fold in range(5):
        part = [row for row in predictions if row["fold"] == fold]
        positive = [row["label"] == "label 1" for row in part]
        areas.append(roc_auc_score(positive, [row["score"] for row in part]))
    assert pooled(rows)["svm", "roc_auc"] == pytest.approx(np.mean(areas))
    assert all((row["score"] > 0) == (row["predicted"] == "label 1") for row in predictions)


def test_confusion_counts_the_predictions(tmp_path: Path) -> None:
    features, labels = blobs(60, 3, distance=1)
    probed(tmp_path, write_source(tmp_path, features, [*labels[:-1], None]))
    table = read_table(tmp_path / "out" / "predictions.parquet", PREDICTIONS)
    pairs = Counter((r["label"], r["predicted"]) for r in table.to_pylist() if r["predicted"])
    counted = {(row["label"], row["predicted"]): row["n"] for row in confusion(table).to_pylist()}
    assert counted == dict(pairs)
    assert sum(counted.values()) == 59


def test_groups_are_never_on_both_sides(tmp_path: Path) -> None:
    """Every group has a place of its own, so the place tells the group, and nothing the label."""
    rng = np.random.default_rng(0)
    group = np.repeat(np.arange(30), 6)
    features = 10 * rng.normal(size=(30, 8))[group] + 0.01 * rng.normal(size=(180, 8))
    labels = [f"label {g % 2}" for g in group]
    source = write_source(tmp_path, features, labels, [f"g{g}" for g in group])
    rows, predictions = probed(tmp_path, source, classifiers=["mlp"])
    held_out: dict[str, set[int]] = {}
    for row, g in zip(predictions, group, strict=True):
        held_out.setdefault(f"g{g}", set()).add(row["fold"])
    assert all(len(found) == 1 for found in held_out.values())
    assert {(row["split"], row["n_groups"]) for row in rows} == {("grouped", 30)}
    assert probed(tmp_path, source, split="grouped", classifiers=["mlp"])[0][0]["n_groups"] == 30
    leaky, _ = probed(tmp_path, source, split="stratified", classifiers=["mlp"])
    assert pooled(leaky)["mlp", "accuracy"] > 0.99
    assert pooled(leaky, "shuffled")["mlp", "accuracy"] > 0.99, "the control shows the leak"
    assert pooled(rows)["mlp", "accuracy"] < 0.8
    assert pooled(rows, "shuffled")["mlp", "accuracy"] < 0.65
    assert {row["split"] for row in leaky} == {"stratified"}


def test_folds_are_the_same_every_time_and_of_every_label() -> None:
    label, group = np.repeat(np.arange(3), 40), np.arange(120) // 4
    for units in (np.arange(120), group):
        fold = folds(label, units, 5, seed=1)
        assert (fold == folds(label, units, 5, seed=1)).all()
        assert (fold != folds(label, units, 5, seed=2)).any()
        assert all(set(label[fold == f]) == {0, 1, 2} for f in range(5))


def test_copies_of_a_clip_are_held_out_together(tmp_path: Path) -> None:
    """Three treatments of the same clips that change nothing: siblings would bias the folds."""
    features = 10 * np.random.default_rng(0).normal(size=(40, 8))
    sources = [write_source(tmp_path, features, [None] * 40, name=n, label=n) for n in "abc"]
    rows, predictions = probed(tmp_path, *sources, scope=ACROSS)
    assert {(row["split"], row["n_groups"]) for row in rows} == {("items", 40)}
    sides = {(row["clip_id"], row["fold"]) for row in predictions}
    assert len(sides) == 40
    assert pooled(rows)["logistic", "accuracy"] == pytest.approx(1 / 3, abs=0.05)
    apart, _ = probed(tmp_path, *sources, scope=ACROSS, split="stratified", classifiers=["mlp"])
    assert pooled(apart)["mlp", "accuracy"] < 0.1, "what the default must not do"
    assert pooled(apart, "shuffled")["mlp", "accuracy"] < 0.2, "which the control shows"


def test_clips_without_a_group_are_told_of(tmp_path: Path) -> None:
    made = {"a": [f"g{i // 2}" for i in range(20)], "b": None}
    features = np.random.default_rng(0).normal(size=(2, 20, 4))
    sources = [
        write_source(tmp_path, own, [None] * 20, groups, name=name, label=name)
        for own, (name, groups) in zip(features, made.items(), strict=True)
    ]
    rows, _ = probed(tmp_path, *sources, scope=ACROSS)
    assert {(row["split"], row["detail"]) for row in rows} == {
        ("grouped", "no clip of b has a group")
    }


def test_groups_of_one_label_stay_whole_when_labels_are_shuffled() -> None:
    label = np.array([0, 0, 1, 1, 2, 2, 0, 1, 0, 1])
    unit = np.array([0, 0, 1, 1, 2, 2, 3, 3, 4, 4])
    seen = set()
    for seed in range(500):
        made = shuffled(label, unit, np.random.default_rng(seed))
        assert (made[0:6:2] == made[1:6:2]).all(), "the first three groups have one label each"
        assert sorted(made[0:6:2]) == [0, 1, 2]
        assert sorted(made[6:8]) == sorted(made[8:]) == [0, 1]
        seen.add(tuple(made.tolist()))
    assert len(seen) == 6 * 2 * 2


def test_more_clips_than_wanted_are_sampled(tmp_path: Path) -> None:
    features, labels = blobs(90, 3, distance=9)
    labels = ["label 0" if label == "label 2" else label for label in labels]
    rows, predictions = probed(tmp_path, write_source(tmp_path, features, labels), max_clips=45)
    assert {(r["n"], r["n_expected"], r["n_skipped"]) for r in rows if r["fold"] is None} == {
        (45, 90, 45)
    }
    assert {row["detail"] for row in rows} == {"a sample of 45 of 90 clips"}
    taken = Counter(row["label"] for row in predictions if row["status"] == "ok")
    assert taken == {"label 0": 30, "label 1": 15}
    assert {row["reason"] for row in predictions if row["status"] != "ok"} == {"not_sampled"}


def test_where_nothing_can_be_learned_a_sample_is_described(tmp_path: Path) -> None:
    features, _ = blobs(90, 3, distance=9)
    rows, _ = probed(tmp_path, write_source(tmp_path, features, ["only"] * 90), max_clips=45)
    assert {(row["reason"], row["n"]) for row in rows} == {("one_label", 0)}
    assert {row["detail"].split("; ")[1] for row in rows} == {"a sample of 45 of 90 clips"}
    told = read_table(tmp_path / "out" / "distributions.parquet", FEATURE_DISTRIBUTIONS)
    assert set(told["n"].to_pylist()) == {45}


def test_a_sample_is_of_every_stratum_and_the_same_again() -> None:
    strata = [
        np.repeat(np.array(["a", "b"], object), 500),
        np.tile(np.array(["x", "y"], object), 500),
    ]
    taken = sample(strata, 100, seed=0)
    assert Counter(zip(*(column[taken] for column in strata), strict=True)) == dict.fromkeys(
        [("a", "x"), ("a", "y"), ("b", "x"), ("b", "y")], 25
    )
    assert (taken == sample(strata, 100, seed=0)).all()
    assert (taken != sample(strata, 100, seed=1)).any()


def test_the_protocol_says_what_the_labels_are(tmp_path: Path) -> None:
    probed(tmp_path, write_source(tmp_path, *blobs(20, 2, distance=1)))
    note = read_metadata(tmp_path / "out" / "probes.parquet")
    assert note["protocol"]["labelling"] == {"c": {"label_key": "kind"}}
    assert note["protocol"]["max_clips"] == 20_000
    assert note["computed"] == {"scikit-learn": version("scikit-learn")}


def test_a_label_that_the_training_folds_lack_has_no_score(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All clips of the second label are held out at once, as large groups may be."""

    def at_once(label: np.ndarray, *_: Any) -> np.ndarray:
        return np.where(label == 1, 0, np.arange(40) % 4 // 2)

    monkeypatch.setitem(probe.__globals__, "folds", at_once)
    _, predictions = probed(tmp_path, write_source(tmp_path, *blobs(40, 2, distance=9)))
    assert {(row["fold"], row["score"] is None) for row in predictions} == {(0, True), (1, False)}


def test_threads_change_nothing(tmp_path: Path) -> None:
    source = write_source(tmp_path, *blobs(60, 2, distance=1))
    options = {"classifiers": ["logistic", "svm", "mlp"]}
    assert probed(tmp_path, source, threads=1, **options) == probed(
        tmp_path, source, threads=3, **options
    )


def test_clips_left_out_are_listed_with_their_reason(tmp_path: Path) -> None:
    features, labels = blobs(40, 2, distance=5)
    given: list[str | None] = [*labels]
    given[0] = None
    given[1:4] = ["rare"] * 3
    rows, predictions = probed(tmp_path, write_source(tmp_path, features, given))
    assert {(r["n"], r["n_expected"], r["n_skipped"]) for r in rows if r["fold"] is None} == {
        (36, 40, 4)
    }
    reasons = [(row["status"], row["reason"]) for row in predictions]
    assert reasons[:5] == [
        ("skipped", "no_label"),
        *[("skipped", "too_few_clips")] * 3,
        ("ok", None),
    ]
    assert predictions[1]["detail"] == "3 clips of label rare, 5 folds"


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        ([None] * 20, "no_label"),
        (["one"] * 20, "one_label"),
        (["one"] * 17 + ["two"] * 3, "too_few_clips"),
    ],
)
def test_what_cannot_be_probed_says_why(
    tmp_path: Path, labels: list[str | None], reason: str
) -> None:
    features = np.random.default_rng(0).normal(size=(20, 4))
    rows, predictions = probed(tmp_path, write_source(tmp_path, features, labels))
    assert {(row["status"], row["reason"], row["value"]) for row in rows} == {
        ("skipped", reason, None)
    }
    assert {(row["n"], row["n_expected"], row["n_skipped"]) for row in rows} == {(0, 20, 20)}
    assert len(predictions) == 20
    assert {row["status"] for row in predictions} == {"skipped"}


def test_without_features_the_reason_is_that_of_the_clips(tmp_path: Path) -> None:
    """Sounds alone have no picture to learn from."""
    features, labels = blobs(20, 2, distance=1)
    source = write_source(tmp_path, features, labels)
    silent = {"video_status": "skipped", "video_reason": "no_video_stream"}
    write_media(source.media[0].parent, [{"clip_id": f"{i:03}"} | silent for i in range(20)])
    rows, predictions = probed(tmp_path, source)
    found = {(row["status"], row["reason"]) for row in [*rows, *predictions]}
    assert found == {("skipped", "no_video_stream")}
    assert {(row["n"], row["n_skipped"]) for row in rows} == {(0, 20)}


def test_collections_are_told_apart(tmp_path: Path) -> None:
    """Two generators are one label; all three have clips of the same names."""
    rng = np.random.default_rng(0)
    made = {"a": ("real", 0), "b": ("fake", 8), "c": ("fake", 8)}
    sources = [
        write_source(tmp_path, rng.normal(size=(20, 4)) + at, [None] * 20, name=name, label=label)
        for name, (label, at) in made.items()
    ]
    rows, predictions = probed(tmp_path, *sources, scope=ACROSS)
    assert {row["scope"] for row in [*rows, *predictions]} == {"*"}
    assert pooled(rows)["logistic", "accuracy"] == 1
    assert [(row["collection"], row["predicted"]) for row in predictions[15:25]] == [
        *[("a", "real")] * 5, *[("b", "fake")] * 5
    ]  # fmt: skip


def test_features_of_two_protocols_are_not_mixed(tmp_path: Path) -> None:
    features, labels = blobs(20, 2, distance=1)
    sources = [
        write_source(tmp_path, features, labels, name=name, protocol_id=f"p-{name}", label=name)
        for name in "ab"
    ]
    with pytest.raises(UserError, match=r"p-a in .*p-b in "):
        probed(tmp_path, *sources, scope=ACROSS)


def test_features_of_two_precisions_are_not_mixed(tmp_path: Path) -> None:
    """`precision: auto` is one protocol, but not the same numbers on every device."""
    features, labels = blobs(20, 2, distance=1)
    sources = [
        write_source(
            tmp_path,
            features,
            labels,
            name=name,
            label=name,
            protocol={"precision": "auto"},
            computed=[{"precision": precision}],
        )
        for name, precision in (("a", "fp32"), ("b", "bf16"))
    ]
    with pytest.raises(UserError, match=r"one precision.*set models\.m\.precision"):
        probed(tmp_path, *sources, scope=ACROSS)


def test_a_fit_that_does_not_converge_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(probe.__globals__["MAX_ITERATIONS"], "mlp", 1)
    source = write_source(tmp_path, *blobs(40, 2, distance=1))
    rows, _ = probed(tmp_path, source, classifiers=["mlp"])
    assert {row["detail"] for row in rows} == {"not converged after 1 iterations in 5 of 5 folds"}


def test_area_is_that_of_scikit_learn_with_weights_and_ties() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        scores, positive = rng.integers(0, 6, 40).astype(float), rng.random(40) < 0.4
        weights = rng.integers(0, 4, (3, 40)).astype(float)
        expected = [roc_auc_score(positive, scores, sample_weight=w) for w in weights]
        assert area(scores, positive, weights) == pytest.approx(expected)
    assert np.isnan(area(scores, np.ones(40, bool), weights)).all()


def held_out(n: int, k: int, seed: int = 0) -> HeldOut:
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(n, k))
    label = np.argmax(scores + rng.normal(size=(n, k)), axis=1)
    return HeldOut(label, np.argmax(scores, axis=1), np.zeros(n, np.int64), scores)


def test_intervals_are_those_of_the_bootstrap() -> None:
    given = held_out(200, 2)
    many = STATISTICS | {"bootstrap": 4000}
    low, high = intervals(given, np.arange(200), many)

    def again(label: Any, predicted: Any, score: Any) -> list[float]:
        return [
            accuracy_score(label, predicted),
            balanced_accuracy_score(label, predicted),
            roc_auc_score(label, score),
        ]

    by_scipy = bootstrap(
        (given.label, given.predicted, given.scores[:, 1]),
        lambda *x: np.array(again(*x)),
        paired=True,
        vectorized=False,
        n_resamples=1000,
        method="percentile",
        rng=np.random.default_rng(1),
    ).confidence_interval
    assert low == pytest.approx(by_scipy.low, abs=0.012)
    assert high == pytest.approx(by_scipy.high, abs=0.012)
    by_hand = again(given.label, given.predicted, given.scores[:, 1])
    assert metrics(given)[0] == pytest.approx(by_hand)


def test_clips_of_one_group_count_once() -> None:
    """Ten copies of each clip, as groups, are no more certain than the clips themselves."""
    few = held_out(60, 2)
    parts = (few.label, few.predicted, few.fold, few.scores)
    many = HeldOut(*(np.repeat(part, 10, axis=0) for part in parts))
    widths = [
        np.ptp(intervals(given, unit, STATISTICS), axis=0)
        for given, unit in (
            (few, np.arange(60)),
            (many, np.repeat(np.arange(60), 10)),
            (many, np.arange(600)),
        )
    ]
    assert widths[1] == pytest.approx(widths[0])
    assert (widths[2] < widths[0] / 2).all()
