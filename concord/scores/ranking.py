"""Ranks of right answers among all candidates, in both directions, without the whole matrix.

Ties are exact. Unit vectors are rounded to multiples of 2^-26, so that products are multiples of
2^-52 and every partial sum of a dot product, at most 1 in size, fits a double without rounding.
Scores then depend on nothing but the vectors: not on the order of summation, the block, the
number of threads or the machine, and equal candidates tie. The rounding moves a cosine by about
1e-8, less than single precision does.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

CUTOFFS = (1, 5, 10)
_GRID = 2.0**26
_ROWS = 255  # a column of a block is counted in one byte
_COLUMNS = 8192


@dataclass(frozen=True)
class Ranking:
    """The right answers' places for n queries; NaN for a query without one.

    `rank` is the expected rank of the best positive, `recall[k]` the chance that a positive is
    among the first k, both with ties broken at random. The shuffled values are those after a
    random permutation of the candidates' identities.
    """

    rank: Floats
    recall: dict[int, Floats]
    positives: Indices
    candidates: int
    shuffled_rank: Floats
    shuffled_recall_at_1: Floats


@dataclass(frozen=True)
class _Targets:
    """Best positive score of n queries, +inf without one, and how many positives reach it."""

    score: Floats
    hits: Indices


@dataclass(frozen=True)
class _Counts:
    """Candidates above a query's target and those at or above it, [targets, n]."""

    above: Indices
    reached: Indices


def rank_both_ways(
    left: npt.NDArray[np.float32],
    right: npt.NDArray[np.float32],
    i: Indices,
    j: Indices,
    *,
    seed: int,
) -> tuple[Ranking, Ranking]:
    """Rank right [m, d] for every left [n, d] by cosine, and left for every right.

    The distinct pairs (i[p], j[p]) are the right answers. Vectors must be finite and not zero.
    The matrix [n, m] is computed once, in blocks; memory grows with n + m alone.
    """
    rng = np.random.default_rng(seed)
    x, y = _on_grid(left), _on_grid(right)
    shuffled_j = rng.permutation(len(y))[j]
    shuffled_i = rng.permutation(len(x))[i]
    forward = [_targets(x, y, i, j), _targets(x, y, i, shuffled_j)]
    backward = [_targets(y, x, j, i), _targets(y, x, j, shuffled_i)]
    counted = _count(
        x, y, np.stack([t.score for t in forward]), np.stack([t.score for t in backward])
    )
    return (
        _ranking(forward, counted[0], np.bincount(i, minlength=len(x)), len(y)),
        _ranking(backward, counted[1], np.bincount(j, minlength=len(y)), len(x)),
    )


def expected_rank(above: Indices, tied: Indices, hits: Indices) -> Floats:
    """Expected place [n] of the first of `hits` among `tied` in random order, after `above`."""
    rank: Floats = above + (tied + 1) / (hits + 1)
    return rank


def expected_recall(above: Indices, tied: Indices, hits: Indices, k: int) -> Floats:
    """Chance [n] that one of `hits` among `tied` in random order is in the first k places.

    Hypergeometric: k - above draws without replacement, none of which is a hit, and its complement.
    """
    draws = np.clip(k - above, 0, tied)
    missed = np.ones(len(above))
    for draw in range(k):
        factor = np.maximum(tied - hits - draw, 0) / np.maximum(tied - draw, 1)
        missed = np.where(draw < draws, missed * factor, missed)
    return 1 - missed


def _on_grid(vectors: npt.NDArray[np.float32]) -> Floats:
    result = vectors.astype(np.float64)
    result *= _GRID / np.sqrt(np.einsum("nd,nd->n", result, result))[:, None]
    np.rint(result, out=result)
    result /= _GRID
    return result


def _targets(queries: Floats, candidates: Floats, i: Indices, j: Indices) -> _Targets:
    scores = np.empty(len(i))
    for start in range(0, len(i), _COLUMNS):
        block = slice(start, start + _COLUMNS)
        scores[block] = np.einsum("nd,nd->n", queries[i[block]], candidates[j[block]])
    best = np.full(len(queries), -np.inf)
    np.maximum.at(best, i, scores)
    hits = np.bincount(i[scores == best[i]], minlength=len(queries))
    return _Targets(np.where(hits > 0, best, np.inf), hits)


def _count(x: Floats, y: Floats, for_x: Floats, for_y: Floats) -> tuple[_Counts, _Counts]:
    """Count candidates against the targets [targets, n] of x and [targets, m] of y."""
    rows = _Counts(np.zeros(for_x.shape, np.int64), np.zeros(for_x.shape, np.int64))
    columns = _Counts(np.zeros(for_y.shape, np.int64), np.zeros(for_y.shape, np.int64))
    for a in range(0, len(x), _ROWS):
        r = slice(a, a + _ROWS)
        for b in range(0, len(y), _COLUMNS):
            c = slice(b, b + _COLUMNS)
            scores = x[r] @ y[c].T
            for t in range(len(for_x)):
                target = for_x[t, r, None]
                rows.above[t, r] += _count_rows(scores > target)
                rows.reached[t, r] += _count_rows(scores >= target)
                columns.above[t, c] += _count_columns(scores > for_y[t, c])
                columns.reached[t, c] += _count_columns(scores >= for_y[t, c])
    return rows, columns


def _count_rows(mask: npt.NDArray[np.bool_]) -> Indices:
    count: Indices = np.bitwise_count(np.packbits(mask, axis=1)).sum(axis=1, dtype=np.int64)
    return count


def _count_columns(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    count: npt.NDArray[np.uint8] = np.add.reduce(mask.view(np.uint8), axis=0, dtype=np.uint8)
    return count


def _ranking(
    targets: list[_Targets], counts: _Counts, positives: Indices, candidates: int
) -> Ranking:
    true, control = (
        (counts.above[t], counts.reached[t] - counts.above[t], targets[t].hits) for t in (0, 1)
    )
    answered = positives > 0
    recall = {k: np.where(answered, expected_recall(*true, k), np.nan) for k in CUTOFFS}
    return Ranking(
        rank=np.where(answered, expected_rank(*true), np.nan),
        recall=recall,
        positives=positives,
        candidates=candidates,
        shuffled_rank=np.where(answered, expected_rank(*control), np.nan),
        shuffled_recall_at_1=np.where(answered, expected_recall(*control, 1), np.nan),
    )
