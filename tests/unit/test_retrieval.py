"""Ranking against a brute-force oracle, with ties, blocks and several positives."""

import itertools
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import hypergeom
from scored_collection import AUDIO, DIM, Collection, Row, cosine, outcome, vector

from concord.protocol import digest
from concord.scores import ranking
from concord.scores.ranking import expected_rank, expected_recall, rank_both_ways
from concord.scores.score import score
from concord.tables import RETRIEVAL, read_metadata, read_table

SIGNS = list(itertools.product((-1, 1), repeat=4))


def oracle(scores: list[int], positives: set[int]) -> tuple[Fraction, dict[int, Fraction]]:
    """Mean place of the first positive, and chance of it in the first k, over all tie orders."""
    places = []
    for order in itertools.permutations(range(len(scores))):
        ranked = sorted(order, key=lambda c: -scores[c])
        places.append(1 + next(p for p, c in enumerate(ranked) if c in positives))
    n = len(places)
    return Fraction(sum(places), n), {k: Fraction(sum(p <= k for p in places), n) for k in (1, 5)}


@st.composite
def galleries(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, list[tuple[int, int]]]:
    """Vectors with four signs each, so that scores take five values, and right pairs."""
    n, m = draw(st.integers(1, 4)), draw(st.integers(1, 6))
    left = np.array([draw(st.sampled_from(SIGNS)) for _ in range(n)], np.float32)
    right = np.array([draw(st.sampled_from(SIGNS)) for _ in range(m)], np.float32)
    pairs = draw(st.sets(st.tuples(st.integers(0, n - 1), st.integers(0, m - 1)), min_size=1))
    return left, right, sorted(pairs)


@settings(max_examples=60, deadline=None)
@given(galleries(), st.integers(0, 10))
def test_ranks_equal_the_mean_over_all_orders_of_ties(
    gallery: tuple[np.ndarray, np.ndarray, list[tuple[int, int]]], seed: int
) -> None:
    left, right, pairs = gallery
    i, j = np.array(pairs).T
    there, back = rank_both_ways(left, right, i, j, seed=seed)
    for found, queries, candidates, of, to in (
        (there, left, right, i, j),
        (back, right, left, j, i),
    ):
        for q, query in enumerate(queries):
            positives = {int(c) for c in to[of == q]}
            assert found.positives[q] == len(positives)
            if not positives:
                assert np.isnan(found.rank[q])
                assert np.isnan(found.recall[1][q])
                continue
            scores = [int(query @ c) for c in candidates]
            rank, recall = oracle(scores, positives)
            assert found.rank[q] == pytest.approx(float(rank))
            for k, value in recall.items():
                assert found.recall[k][q] == pytest.approx(float(value))


@settings(deadline=None)
@given(st.integers(0, 12), st.integers(1, 12), st.data(), st.integers(1, 10))
def test_recall_is_the_hypergeometric_chance(
    above: int, tied: int, data: st.DataObject, k: int
) -> None:
    hits = data.draw(st.integers(1, tied))
    draws = min(max(k - above, 0), tied)
    expected = 1 - hypergeom.pmf(0, tied, hits, draws)
    arrays = (np.array([above]), np.array([tied]), np.array([hits]))
    assert expected_recall(*arrays, k)[0] == pytest.approx(expected, abs=1e-12)


def test_a_single_tie_counts_half() -> None:
    assert expected_rank(np.array([2]), np.array([3]), np.array([1]))[0] == 4.0


def test_ranks_equal_the_plain_computation_on_ordinary_vectors() -> None:
    rng = np.random.default_rng(0)
    left = rng.normal(size=(300, 40)).astype(np.float32)
    right = (left + 2 * rng.normal(size=left.shape)).astype(np.float32)
    own = np.arange(300)
    there, back = rank_both_ways(left, right, own, own, seed=0)
    unit = [v / np.linalg.norm(v, axis=1, keepdims=True) for v in (left.astype(float), right)]
    scores = unit[0] @ unit[1].T
    np.testing.assert_array_equal(there.rank, 1 + (scores > np.diag(scores)[:, None]).sum(1))
    np.testing.assert_array_equal(back.rank, 1 + (scores > np.diag(scores)[None]).sum(0))
    np.testing.assert_array_equal(there.recall[5], there.rank <= 5)
    assert there.candidates == back.candidates == 300


def test_blocks_do_not_change_a_single_number(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    left = rng.normal(size=(90, 33)).astype(np.float32)
    right = np.repeat(rng.normal(size=(35, 33)), 2, axis=0).astype(np.float32)
    i, j = rng.integers(0, 90, 60), rng.integers(0, 70, 60)
    i, j = np.unique(np.stack([i, j]), axis=1)
    whole = rank_both_ways(left, right, i, j, seed=0)
    for rows, columns in ((1, 1), (7, 13), (255, 64)):
        monkeypatch.setattr(ranking, "_ROWS", rows)
        monkeypatch.setattr(ranking, "_COLUMNS", columns)
        for a, b in zip(whole, rank_both_ways(left, right, i, j, seed=0), strict=True):
            np.testing.assert_array_equal(a.rank, b.rank)
            np.testing.assert_array_equal(a.recall[10], b.recall[10])
            np.testing.assert_array_equal(a.shuffled_rank, b.shuffled_rank)


def test_equal_candidates_tie_wherever_they_stand() -> None:
    rng = np.random.default_rng(2)
    one = rng.normal(size=(1, 129)).astype(np.float32)
    right = np.concatenate([one] * 9001)
    left = rng.normal(size=(300, 129)).astype(np.float32)
    own = np.arange(300)
    there, _ = rank_both_ways(left, right, own, own * 30, seed=0)
    np.testing.assert_array_equal(there.rank, 4501.0)
    np.testing.assert_allclose(there.recall[10], 10 / 9001)


def test_vectors_that_differ_in_length_alone_tie() -> None:
    left = np.array([[3, 4]], np.float32)
    right = np.array([[1, 0], [8, 0], [0.25, 0]], np.float32)
    there, _ = rank_both_ways(left, right, np.array([0]), np.array([1]), seed=0)
    assert there.rank[0] == 2.0


def test_the_control_is_at_chance_while_the_pairs_are_found() -> None:
    rng = np.random.default_rng(3)
    vectors = rng.normal(size=(2000, 32)).astype(np.float32)
    own = np.arange(2000)
    for found in rank_both_ways(vectors, vectors, own, own, seed=7):
        assert found.recall[1].mean() == 1.0
        assert found.shuffled_recall_at_1.mean() < 0.005
        assert found.shuffled_rank.mean() == pytest.approx(1000.5, rel=0.05)
    again = rank_both_ways(vectors, vectors, own, own, seed=7)[0]
    other = rank_both_ways(vectors, vectors, own, own, seed=8)[0]
    first = rank_both_ways(vectors, vectors, own, own, seed=7)[0]
    np.testing.assert_array_equal(first.shuffled_rank, again.shuffled_rank)
    assert (first.shuffled_rank != other.shuffled_rank).any()


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 40), st.integers(2, 40), st.integers(0, 1000))
def test_recall_grows_with_k_and_ranks_stay_in_range(n: int, m: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    left = rng.integers(-1, 2, (n, 3)).astype(np.float32) + 0.5
    right = rng.integers(-1, 2, (m, 3)).astype(np.float32) + 0.5
    there, _ = rank_both_ways(left, right, np.arange(n), rng.integers(0, m, n), seed=seed)
    assert ((there.rank >= 1) & (there.rank <= m)).all()
    assert (there.recall[1] <= there.recall[5]).all()
    assert (there.recall[5] <= there.recall[10]).all()
    assert (there.recall[10][there.rank <= 1] == 1).all()
    if m <= 10:
        assert (there.recall[10] == 1).all()


def test_nothing_to_rank_is_no_error() -> None:
    none = np.zeros((0, 8), np.float32)
    no_index = np.zeros(0, np.int64)
    there, back = rank_both_ways(none, np.ones((3, 8), np.float32), no_index, no_index, seed=0)
    assert len(there.rank) == 0
    assert np.isnan(back.rank).all()
    for found in rank_both_ways(none[:, :0], none[:, :0], no_index, no_index, seed=0):
        assert len(found.rank) == 0


@pytest.fixture
def collection(tmp_path: Path) -> Collection:
    return Collection(tmp_path)


def test_retrieval_finds_planted_pairs_in_every_direction(collection: Collection) -> None:
    for i in range(8):
        collection.clip(f"{i}.mp4", f"prompt {i}")
    by_id = {row["id"]: row for row in collection.vectors["text"]}
    for i in range(8):
        near = np.eye(8, DIM + 2)[i].astype(np.float32) + 0.01
        for modality in ("video", "audio"):
            collection.vectors[modality][i]["embedding"] = near
        by_id[digest(f"prompt {i}")]["embedding"] = near
        by_id[digest(f"prompt {i} sounds")]["embedding"] = near
    found = collection.ranked()
    directions = {direction for direction, _ in found}
    assert directions == {
        *("video_to_text", "text_to_video", "audio_to_text", "text_to_audio"),
        *("video_to_audio", "audio_to_video"),
    }
    assert len(found) == 6 * 8
    assert {row["rank"] for row in found.values()} == {1.0}
    assert {row["candidates"] for row in found.values()} == {8}
    assert np.mean([row["shuffled_rank"] for row in found.values()]) > 2
    assert ("text_to_audio", digest("prompt 3 sounds")) in found


def test_clips_of_equal_prompts_are_all_right_and_share_one_text(collection: Collection) -> None:
    for i, prompt in enumerate(["x", "x", "y", "x"]):
        collection.clip(f"{i}.mp4", prompt)
    found = collection.ranked()
    row = found["text_to_video", digest("x")]
    assert (row["positives"], row["candidates"]) == (3, 4)
    assert found["video_to_text", "1.mp4"]["candidates"] == 2
    text = vector(sum(b"x"))
    scores = {i: cosine(vector(10 * (i + 1)), text) for i in range(4)}
    assert row["rank"] == 1 + (scores[2] > max(scores[i] for i in (0, 1, 3)))


def test_queries_that_cannot_be_ranked_have_a_reason(collection: Collection) -> None:
    collection.clip("a.mp4", "one")
    collection.clip("b.mp4", "two")
    collection.clip("c.mp4", "")
    collection.clip("d.mp4", None, prompt_status="skipped", prompt_reason="no_prompt")
    no_clip = {"status": "skipped", "reason": "no_clip"}
    collection.clips.append({"item": "5", "video_prompt": "gone", "audio_prompt": "", **no_clip})
    collection.embed("text", digest("gone"), vector(99))
    collection.media[1]["mean_volume_db"] = -90.0
    found = collection.ranked()
    expected = {
        ("video_to_text", "a.mp4"): ("ok", None),
        ("video_to_text", "c.mp4"): ("skipped", "empty_prompt"),
        ("video_to_text", "d.mp4"): ("skipped", "no_prompt"),
        ("video_to_text", None): ("skipped", "no_clip"),
        ("text_to_video", digest("two")): ("ok", None),
        ("text_to_video", digest("gone")): ("skipped", "no_clip"),
        ("text_to_video", digest("")): ("skipped", "empty_prompt"),
        ("text_to_audio", digest("two sounds")): ("skipped", "silent"),
        ("audio_to_video", "b.mp4"): ("skipped", "silent"),
        ("audio_to_video", "d.mp4"): ("ok", None),
    }
    assert {key: outcome(found[key]) for key in expected} == expected
    assert found["text_to_audio", digest("two sounds")]["rank"] is None
    assert found["video_to_text", "a.mp4"]["candidates"] == 3
    assert found["text_to_video", digest("one")]["candidates"] == 2


def test_a_text_with_one_scored_clip_is_ranked_whatever_its_first_clip(
    collection: Collection,
) -> None:
    collection.clip("a.mp4", "one")
    collection.clip("b.mp4", "one")
    collection.media[0].update(video_status="failed", video_reason="unreadable")
    row = collection.ranked()["text_to_video", digest("one")]
    assert (row["status"], row["positives"], row["rank"]) == ("ok", 1, 1.0)


def test_retrieval_without_text_or_sound_keeps_to_what_there_is(
    collection: Collection, tmp_path: Path
) -> None:
    collection.clip("a.mp4")
    collection.write("retrieval")
    arguments: Row = {
        "collection": "c",
        "clips": tmp_path / "clips.parquet",
        "media": sorted((tmp_path / "media").iterdir()),
        "audio": AUDIO,
        "seed": 0,
    }
    files = {m: sorted((tmp_path / m).iterdir()) for m in ("video", "audio", "text")}
    for used, directions in (
        (("video", "text"), {"video_to_text", "text_to_video"}),
        (("video", "audio"), {"video_to_audio", "audio_to_video"}),
    ):
        output = tmp_path / "out.parquet"
        score("retrieval", output, embeddings={m: files[m] for m in used}, **arguments)
        found = set(read_table(output, RETRIEVAL)["direction"].to_pylist())
        assert found == directions
        gate = read_metadata(output)["protocol"]["audio"]
        assert gate == (AUDIO if "audio" in used else None)
