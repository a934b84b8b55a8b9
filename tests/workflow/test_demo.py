"""The shipped configuration: the demo's clips are made, and the page says what is true of them."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from tests.workflow.conftest import ROOT, Workflow

CHANCE = 1 / 48


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Workflow:
    """The results of the shipped config.yaml, from nothing."""
    folder = tmp_path_factory.mktemp("demo")
    shutil.copy(ROOT / "config.yaml", folder)
    demo = Workflow(folder, yaml.safe_load((folder / "config.yaml").read_text()))
    demo.run()
    return demo


def difference(demo: Workflow, a: str, b: str, metric: str) -> dict[str, Any]:
    (row,) = (
        row
        for row in demo.table("comparisons").to_pylist()
        if (row["a"], row["b"], f"{row['task']}/{row['metric']}") == (a, b, metric)
    )
    return row


@pytest.mark.parametrize("task", ["video_text", "audio_text", "av_consistency"])
def test_the_careless_generator_agrees_less(demo: Workflow, task: str) -> None:
    row = difference(demo, "faithful", "careless", f"{task}/cosine")
    assert row["n_common"] == 48
    assert 0 < row["ci_low"] <= row["difference"] <= row["ci_high"]


def test_the_late_generator_is_late(demo: Workflow) -> None:
    row = difference(demo, "faithful", "late", "synchrony/av_align")
    assert row["ci_low"] > 0
    row = difference(demo, "faithful", "late", "synchrony/abs_offset_ms")
    assert row["ci_high"] < 0
    assert row["difference"] == pytest.approx(-800, abs=150), "the sound is 0.8 s late"


@pytest.mark.parametrize(
    "measure",
    [
        "video_text/cosine",
        "audio_text/cosine",
        "av_consistency/cosine",
        "synchrony/av_align",
        "synchrony/abs_offset_ms",
    ],
)
def test_two_halves_of_the_faithful_generator_are_not_told_apart(
    demo: Workflow, measure: str
) -> None:
    """By 95 % intervals of the difference of means; of 20 random splits one may err, and a bit."""
    from scipy.stats import bootstrap

    scored = np.array(
        [
            row["value"]
            for row in demo.table("scores").to_pylist()
            if (row["collection"], f"{row['task']}/{row['metric']}") == ("faithful", measure)
            and row["status"] == "ok"
        ]
    )
    assert len(scored) >= 24
    rng = np.random.default_rng(0)
    alike = 0
    for _ in range(20):
        first, second = np.array_split(rng.permutation(scored), 2)
        interval = bootstrap(
            (first, second),
            lambda a, b, axis: a.mean(axis=axis) - b.mean(axis=axis),
            n_resamples=1000,
            method="percentile",
            rng=rng,
        ).confidence_interval
        alike += bool(interval.low <= 0 <= interval.high)
    assert alike >= 17


def test_retrieval_is_far_above_chance_and_the_control_is_not(demo: Workflow) -> None:
    rows = [
        row
        for row in demo.table("summary").to_pylist()
        if row["collection"] == "faithful" and row["metric"].endswith("recall_at_1")
    ]
    assert len(rows) == 6, "every direction of three modalities"
    for row in rows:
        assert row["n_scored"] == 48
        assert row["mean"] >= 10 * CHANCE, row["metric"]
        assert row["control"] <= 6 * CHANCE, row["metric"]


def test_the_demo_is_made_once(demo: Workflow) -> None:
    assert demo.jobs() == {}
    made = sorted(Path(demo.folder, "results", "demo").glob("*/*.mp4"))
    assert len(made) == 3 * 48
