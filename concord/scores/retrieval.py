"""Retrieval: does a clip find its prompt, or its sound, among all others, and back?"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from concord.models.base import Modality
from concord.protocol import digest
from concord.scores.gather import Embeddings, Indices, Outcome, apply_embeddings
from concord.scores.ranking import CUTOFFS, Ranking, rank_both_ways
from concord.scores.similarity import Pairs, pair
from concord.scores.tasks import PAIRS
from concord.tables import RETRIEVAL


@dataclass(frozen=True)
class _Queries:
    """Expected queries of one direction: ids, outcomes, and rows of the ranking, -1 if not ok."""

    ids: pa.Array
    outcome: Outcome
    row: Indices


def retrieval_table(
    collection: str,
    tasks: Iterable[str],
    clips: pa.Table,
    media: Sequence[Path],
    embeddings: Mapping[Modality, Embeddings],
    audio: Mapping[str, Any] | None,
    seed: int,
) -> pa.Table:
    """RETRIEVAL: one row for each query of both directions of every pair task of `tasks`."""
    parts = []
    for task in tasks:
        first, second = PAIRS[task]
        pairs = pair(task, clips, media, embeddings, audio)
        rank = _rank_texts if second == "text" else _rank_clips
        for direction, queries, ranking in rank(pairs, embeddings[first], embeddings[second], seed):
            parts.append(_table(collection, direction, queries, ranking))
    return pa.concat_tables(parts) if parts else RETRIEVAL.schema.empty_table()


_Ranked = list[tuple[str, _Queries, Ranking]]


def _rank_clips(pairs: Pairs, left: Embeddings, right: Embeddings, seed: int) -> _Ranked:
    """Both directions between two modalities of clips: each has the other of its own clip."""
    ok = np.flatnonzero(pairs.outcome.ok)
    own = np.arange(len(ok))
    there, back = rank_both_ways(
        left.vectors[pairs.left[ok]], right.vectors[pairs.right[ok]], own, own, seed=seed
    )
    queries = _clip_queries(pairs)
    return [
        (f"{left.modality}_to_{right.modality}", queries, there),
        (f"{right.modality}_to_{left.modality}", queries, back),
    ]


def _rank_texts(pairs: Pairs, left: Embeddings, right: Embeddings, seed: int) -> _Ranked:
    """Both directions between clips and the unique texts of the collection's prompts.

    Candidates are the scored clips, and every text with an embedding, also of missing clips.
    """
    assert pairs.texts is not None
    coded = pairs.texts.dictionary_encode()
    code = coded.indices.fill_null(-1).to_numpy().astype(np.int64)
    texts = coded.dictionary
    embedded = Outcome(len(texts))
    text_row = apply_embeddings(embedded, texts, right)
    place = np.cumsum(embedded.ok) - 1
    ok = np.flatnonzero(pairs.outcome.ok)
    there, back = rank_both_ways(
        left.vectors[pairs.left[ok]],
        right.vectors[text_row[embedded.ok]],
        np.arange(len(ok)),
        place[code[ok]],
        seed=seed,
    )
    return [
        (f"{left.modality}_to_text", _clip_queries(pairs), there),
        (f"text_to_{left.modality}", _text_queries(pairs, texts, code, place), back),
    ]


def _clip_queries(pairs: Pairs) -> _Queries:
    ok = pairs.outcome.ok
    row = np.where(ok, np.cumsum(ok) - 1, -1)
    return _Queries(pairs.clips["clip_id"].combine_chunks(), pairs.outcome, row)


def _text_queries(pairs: Pairs, texts: pa.Array, code: Indices, place: Indices) -> _Queries:
    """Unique texts, and the empty one if a prompt is empty.

    A text is ranked if any of its clips is scored; else it has the outcome of its first row.
    """
    empty = (code < 0) & (pairs.outcome.reason == "empty_prompt")
    ids = pa.concat_arrays([texts, pa.array([digest("")] * bool(empty.any()), pa.string())])
    code = np.where(empty, len(texts), code)
    scored_first = np.argsort(~pairs.outcome.ok, kind="stable")
    scored_first = scored_first[code[scored_first] >= 0]
    _, first = np.unique(code[scored_first], return_index=True)
    outcome = pairs.outcome.take(scored_first[first])
    row = np.full(len(ids), -1)
    row[outcome.ok] = place[np.flatnonzero(outcome.ok)]
    return _Queries(ids, outcome, row)


def _table(collection: str, direction: str, queries: _Queries, ranking: Ranking) -> pa.Table:
    ok = queries.outcome.ok
    n = len(ok)

    def spread(values: np.ndarray, kind: pa.DataType) -> pa.Array:
        column = np.zeros(n, dtype=values.dtype)
        column[ok] = values[queries.row[ok]]
        return pa.array(column, kind, mask=~ok)

    numbers = {
        "rank": ranking.rank,
        **{f"recall_at_{k}": ranking.recall[k] for k in CUTOFFS},
        "shuffled_rank": ranking.shuffled_rank,
        "shuffled_recall_at_1": ranking.shuffled_recall_at_1,
    }
    columns = {
        "collection": pa.array([collection] * n, pa.string()),
        "direction": pa.array([direction] * n, pa.string()),
        "query": queries.ids,
        **{name: spread(values, pa.float64()) for name, values in numbers.items()},
        "candidates": pa.array(np.full(n, ranking.candidates), pa.int64(), mask=~ok),
        "positives": spread(ranking.positives, pa.int64()),
        **queries.outcome.columns(),
    }
    return pa.table(columns, schema=RETRIEVAL.schema)
