"""Retrieval of 100,000 x 100,000 with intervals in bounded memory, and its price at 10,000.

Run: python -m benchmarks.retrieval [--size 100000] [--small 10000] [--rounds 3]

The large run ranks every clip's text among all texts and back, with a shuffled control, and gives
intervals. At the small size, in turn, the same ranks come from the whole float32 matrix in NumPy:
by counting the better candidates (the cheapest way there is) and by sorting (the usual one); the
plain ways have no control and no exact ties. The last line is one JSON object.
"""

import argparse
import json
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from concord.scores.ranking import Ranking, rank_both_ways
from concord.scores.statistics import summarise

GOAL_GB = 8.0
DIM = 512
SETTINGS = {"bootstrap": 2000, "confidence": 0.95, "seed": 0}
Vectors = npt.NDArray[np.float32]


def make(n: int) -> tuple[Vectors, Vectors]:
    """Noisy pairs [n, 512] of which some, not all, find each other."""
    rng = np.random.default_rng(0)
    left = rng.standard_normal((n, DIM), dtype=np.float32)
    right = left + 4 * rng.standard_normal((n, DIM), dtype=np.float32)
    return left, right


def ours(left: Vectors, right: Vectors) -> tuple[Ranking, Ranking]:
    own = np.arange(len(left))
    return rank_both_ways(left, right, own, own, seed=0)


def plain_counting(left: Vectors, right: Vectors) -> list[npt.NDArray[np.int64]]:
    """Ranks both ways from the whole matrix: one more than the number of better candidates."""
    scores = unit(left) @ unit(right).T
    own = np.diag(scores).copy()
    return [1 + (scores > own[:, None]).sum(axis=1), 1 + (scores > own).sum(axis=0)]


def plain_sorting(left: Vectors, right: Vectors) -> list[npt.NDArray[np.int64]]:
    """Ranks both ways from the whole matrix: the place of the right one in sorted order."""
    scores = unit(left) @ unit(right).T
    own = np.arange(len(left))[:, None]
    return [1 + np.argmax(np.argsort(-s, axis=1) == own, axis=1) for s in (scores, scores.T)]


def unit(vectors: Vectors) -> Vectors:
    scaled: Vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return scaled


def seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def with_intervals(rankings: tuple[Ranking, Ranking]) -> None:
    """Print R@1/5/10 and mean rank of both directions with intervals, the median, the control."""
    for name, found in zip(("left to right", "right to left"), rankings, strict=True):
        for k, values in found.recall.items():
            show(f"{name} R@{k}", values)
        show(f"{name} mean rank", found.rank)
        print(f"{name} median rank: {np.median(found.rank):.1f}")
        control = found.shuffled_recall_at_1.mean()
        print(f"{name} shuffled R@1: {control:.6f}, mean rank {found.shuffled_rank.mean():.1f}")


def show(name: str, values: npt.NDArray[np.float64]) -> None:
    row = summarise(values, len(values), 0, 0, SETTINGS)
    print(f"{name}: {row['mean']:.4f} [{row['ci_low']:.4f}, {row['ci_high']:.4f}]", flush=True)


def compare_in_turn(n: int, rounds: int) -> dict[str, float]:
    """Median over rounds of each plain way's time relative to ours, run after one another."""
    left, right = make(n)
    for found, expected in zip(ours(left, right), plain_counting(left, right), strict=True):
        agree = np.mean(found.rank == expected)
        print(f"{n} x {n}: {agree:.4%} of the ranks equal those of plain NumPy")
        assert np.abs(found.rank - expected).max() <= 2, "ranks differ by more than rounding"
    times: dict[str, list[float]] = {"ours": [], "counting": [], "sorting": []}
    for _ in range(rounds):
        times["ours"].append(seconds(lambda: ours(left, right)))
        times["counting"].append(seconds(lambda: plain_counting(left, right)))
        times["sorting"].append(seconds(lambda: plain_sorting(left, right)))
    for name, taken in times.items():
        print(f"{n} x {n} {name}: " + ", ".join(f"{t:.2f} s" for t in taken), flush=True)
    return {
        f"time_of_plain_{name}_over_ours": round(
            statistics.median(p / o for p, o in zip(times[name], times["ours"], strict=True)), 3
        )
        for name in ("counting", "sorting")
    }


def peak_gb() -> float:
    """Largest resident memory of this process so far, in GB (10^9 bytes)."""
    unit_bytes = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit_bytes / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=100_000)
    parser.add_argument("--small", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    left, right = make(options.size)
    start = time.perf_counter()
    rankings = ours(left, right)
    ranked = time.perf_counter() - start
    with_intervals(rankings)
    total = time.perf_counter() - start
    peak = peak_gb()
    print(f"{options.size} x {options.size}: ranks {ranked:.1f} s, with intervals {total:.1f} s")
    del left, right, rankings
    result = {
        "name": f"peak memory of retrieval {options.size} x {options.size} with intervals",
        "value": round(peak, 3),
        "unit": "GB",
        "goal": GOAL_GB,
        "met": peak < GOAL_GB,
        "seconds": round(total, 1),
        "cores": os.cpu_count(),
        "small": options.small,
        **compare_in_turn(options.small, options.rounds),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
