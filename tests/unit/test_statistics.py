"""Summaries, intervals, paired comparisons and Holm's correction."""

import itertools
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import permutation_test

from concord.scores.statistics import (
    compare,
    holm,
    mean_interval,
    sign_flip_p_value,
    summarise,
)

SETTINGS = {"bootstrap": 1000, "confidence": 0.95, "seed": 3}


def test_summary_describes_the_scored_values_and_keeps_the_counts() -> None:
    row = summarise([1.0, 2.0, 3.0, 10.0], 9, 3, 2, SETTINGS)
    assert row["n_expected"] == 9
    assert (row["n_scored"], row["n_skipped"], row["n_failed"]) == (4, 3, 2)
    assert row["mean"] == 4.0
    assert row["std"] == pytest.approx(np.sqrt(12.5))
    assert (row["min"], row["max"], row["median"]) == (1.0, 10.0, 2.5)
    assert row["ci_low"] < 4.0 < row["ci_high"]


def test_nothing_scored_gives_nulls_and_one_value_no_interval() -> None:
    empty = summarise([], 3, 2, 1, SETTINGS)
    assert empty["n_expected"] == 3
    assert all(empty[name] is None for name in ("mean", "ci_low", "std", "min", "max", "median"))
    single = summarise([0.25], 1, 0, 0, SETTINGS)
    assert (single["mean"], single["std"], single["median"]) == (0.25, 0.0, 0.25)
    assert (single["ci_low"], single["ci_high"]) == (None, None)


@pytest.mark.parametrize("n", [2, 5, 3000])
def test_equal_values_have_an_interval_without_width(n: int) -> None:
    assert mean_interval([0.1] * n, SETTINGS) == (0.1, 0.1)


def test_values_that_differ_by_rounding_alone_have_an_interval_all_the_same() -> None:
    values = [1.0, 1.0 - 2**-53, 1.0]
    assert mean_interval(values, SETTINGS) == (1.0 - 2**-53, 1.0)


@settings(deadline=None, max_examples=200)
@given(st.lists(st.sampled_from([0.0, 1.0]) | st.floats(-1e6, 1e6), min_size=2, max_size=12))
def test_intervals_are_finite_ordered_and_within_the_values(values: list[float]) -> None:
    low, high = mean_interval(values, {**SETTINGS, "bootstrap": 100})
    tolerance = 1e-9 * max(map(abs, values))
    assert min(values) - tolerance <= low <= high <= max(values) + tolerance


def test_values_that_are_not_finite_are_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        summarise([1.0, float("nan")], 2, 0, 0, SETTINGS)


def test_the_same_seed_gives_the_same_interval_and_another_seed_another() -> None:
    values = np.random.default_rng(0).normal(size=50)
    assert mean_interval(values, SETTINGS) == mean_interval(values, SETTINGS)
    assert mean_interval(values, SETTINGS) != mean_interval(values, {**SETTINGS, "seed": 4})


@pytest.mark.parametrize("draw", ["normal", "exponential"])
def test_intervals_of_the_mean_hold_the_true_mean_as_often_as_they_say(draw: str) -> None:
    rng = np.random.default_rng(1)
    settings = {**SETTINGS, "bootstrap": 500}
    truth = {"normal": 0.0, "exponential": 1.0}[draw]
    held = []
    for _ in range(400):
        low, high = mean_interval(getattr(rng, draw)(size=60), settings)
        held.append(low <= truth <= high)
    assert 0.90 <= np.mean(held) <= 0.985


def test_large_samples_agree_with_the_normal_limit_in_bounded_memory() -> None:
    values = np.random.default_rng(2).normal(3.0, 2.0, size=200_000)
    tracemalloc.start()
    low, high = mean_interval(values, {**SETTINGS, "bootstrap": 400})
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    half = 1.96 * values.std() / np.sqrt(len(values))
    assert low == pytest.approx(values.mean() - half, abs=0.2 * half)
    assert high == pytest.approx(values.mean() + half, abs=0.2 * half)
    assert peak < 200e6


def test_comparison_pairs_the_common_items_alone() -> None:
    a = {"1": 1.0, "2": 2.0, "3": 3.0, "x": 100.0}
    b = {"3": 2.5, "2": 1.0, "1": 0.0, "y": -100.0, "z": -100.0}
    row = compare(a, b, SETTINGS)
    assert (row["n_common"], row["n_only_a"], row["n_only_b"]) == (3, 1, 2)
    assert (row["mean_a"], row["mean_b"]) == (2.0, pytest.approx(3.5 / 3))
    assert row["difference"] == pytest.approx(2.5 / 3)
    assert row["p_value"] == 2 / 8
    back = compare(b, a, SETTINGS)
    assert back["difference"] == -row["difference"]
    assert back["p_value"] == row["p_value"]


def test_comparison_without_common_items_is_null_and_with_one_has_no_interval() -> None:
    none = compare({"1": 1.0}, {"2": 1.0}, SETTINGS)
    assert none["n_common"] == 0
    assert none["difference"] is None
    assert none["p_value"] is None
    one = compare({"1": 1.0}, {"1": 0.5}, SETTINGS)
    assert (one["difference"], one["ci_low"], one["p_value"]) == (0.5, None, 1.0)


def test_identical_systems_do_not_differ() -> None:
    values = {str(i): float(i) for i in range(40)}
    row = compare(values, dict(values), SETTINGS)
    assert (row["difference"], row["ci_low"], row["ci_high"], row["p_value"]) == (0, 0, 0, 1)


def test_rounding_of_equal_scores_decides_nothing() -> None:
    """Of 21 clips 16 score alike, but for what single precision left of it; or copies of two do."""
    rng = np.random.default_rng(0)
    a, steps = rng.normal(0.1, 0.05, 21), rng.normal(-0.002, 0.004, 21)
    steps[5:] = 0
    copies = np.repeat([0.1, 0.13, 0.2], [10, 3, 1])
    found = []
    for noise in (np.zeros(21), *rng.normal(0, 1e-8, (20, 21))):
        b = a - steps + noise
        systems = ({str(i): x for i, x in enumerate(of)} for of in (a, b))
        row = compare(*systems, SETTINGS)
        ends = mean_interval(copies + noise[: len(copies)], SETTINGS)
        found.append((row["ci_low"], row["ci_high"], row["p_value"], *ends))
    assert np.ptp(np.array(found), axis=0).max() <= 1e-6


def test_pairing_finds_a_small_difference_under_large_variation() -> None:
    rng = np.random.default_rng(0)
    base = rng.normal(0, 10, 60)
    better = base + rng.normal(0.3, 0.3, 60)
    a, b = (dict(zip(map(str, range(60)), v, strict=True)) for v in (better, base))
    row = compare(a, b, SETTINGS)
    assert 0 < row["ci_low"] < 0.3 < row["ci_high"]
    assert row["p_value"] == pytest.approx(1 / 1001)


def test_exact_sign_flips_equal_the_enumeration() -> None:
    values = np.random.default_rng(8).normal(0.4, 1, 9)
    flips = [abs(np.dot(signs, values)) for signs in itertools.product((-1, 1), repeat=9)]
    expected = np.mean(np.array(flips) >= abs(values.sum()) - 1e-9)
    assert sign_flip_p_value(values, SETTINGS) == expected


@pytest.mark.parametrize("n", [15, 23, 64])
def test_random_sign_flips_agree_with_scipy(n: int) -> None:
    values = np.random.default_rng(n).normal(0.3, 1, n)
    reference = permutation_test(
        (values,), np.mean, permutation_type="samples", n_resamples=9999, vectorized=True, rng=0
    ).pvalue
    ours = sign_flip_p_value(values, {**SETTINGS, "bootstrap": 9999})
    assert ours == pytest.approx(reference, abs=0.02)


def test_p_values_are_uniform_when_nothing_differs() -> None:
    rng = np.random.default_rng(0)
    found = [sign_flip_p_value(rng.normal(size=30), SETTINGS) for _ in range(1000)]
    assert 0.03 <= np.mean(np.array(found) <= 0.05) <= 0.07
    assert 0.45 <= np.mean(np.array(found) <= 0.5) <= 0.55


@settings(deadline=None)
@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=40))
def test_p_values_are_never_zero_and_ignore_direction(values: list[float]) -> None:
    p = sign_flip_p_value(values, {**SETTINGS, "bootstrap": 200})
    assert 0 < p <= 1
    assert sign_flip_p_value([-v for v in values], {**SETTINGS, "bootstrap": 200}) == p


def test_holm_reproduces_a_worked_example() -> None:
    adjusted = holm([0.01, None, 0.04, 0.03, 0.005])
    assert adjusted == [pytest.approx(0.03), None, 0.06, 0.06, pytest.approx(0.02)]


@settings(deadline=None)
@given(st.lists(st.floats(0, 1) | st.none(), max_size=20))
def test_holm_keeps_order_and_never_lowers(p_values: list[float | None]) -> None:
    adjusted = holm(p_values)
    known = [(p, q) for p, q in zip(p_values, adjusted, strict=True) if p is not None]
    assert all(p <= q <= 1 for p, q in known)
    by_p = [q for _, q in sorted(known)]
    assert by_p == sorted(by_p)
    assert [q is None for q in adjusted] == [p is None for p in p_values]
