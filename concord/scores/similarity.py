"""Pairs of one clip's modalities, and their cosine similarity."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from concord.models.base import Modality
from concord.scores.gather import (
    Embeddings,
    Floats,
    Indices,
    Outcome,
    apply_embeddings,
    apply_media,
    clip_outcome,
    text_ids,
)
from concord.scores.tasks import PAIRS, prompt_column
from concord.tables import SCORES

_BLOCK = 4096


@dataclass(frozen=True)
class Pairs:
    """N rows of a collection with what is known of two of their modalities.

    `left` and `right` are rows of the two modalities' vectors [N], -1 where the outcome is not ok.
    `texts` are text ids [N], null without a text, for pairs with a text.
    """

    clips: pa.Table
    outcome: Outcome
    left: Indices
    right: Indices
    texts: pa.Array | None


def pair(
    task: str,
    clips: pa.Table,
    media: Sequence[Path],
    embeddings: Mapping[Modality, Embeddings],
    audio: Mapping[str, Any] | None,
) -> Pairs:
    """Find both modalities of every row; the outcome names the first stage that failed.

    The stages: the clip, its prompt, its media, the audio gate, the embeddings.
    """
    first, second = PAIRS[task]
    outcome = clip_outcome(clips)
    texts = text_ids(clips, outcome, prompt_column(task)) if second == "text" else None
    for modality in (first, second):
        if modality in ("video", "audio"):
            apply_media(outcome, clips, media, modality, audio)
    left = apply_embeddings(outcome, clips["clip_id"], embeddings[first])
    ids = clips["clip_id"] if texts is None else texts
    right = apply_embeddings(outcome, ids, embeddings[second])
    return Pairs(clips, outcome, np.where(outcome.ok, left, -1), right, texts)


def cosine(
    a: npt.NDArray[np.float32], b: npt.NDArray[np.float32], rows_a: Indices, rows_b: Indices
) -> Floats:
    """Cosine similarity [N] of a[rows_a] and b[rows_b], -1 to 1, computed in double precision.

    The vectors must be finite and not zero.
    """
    result = np.empty(len(rows_a))
    for start in range(0, len(rows_a), _BLOCK):
        block = slice(start, start + _BLOCK)
        x, y = a[rows_a[block]].astype(np.float64), b[rows_b[block]].astype(np.float64)
        x /= np.linalg.norm(x, axis=1, keepdims=True)
        y /= np.linalg.norm(y, axis=1, keepdims=True)
        result[block] = np.einsum("nd,nd->n", x, y)
    return np.clip(result, -1, 1)


def similarity_table(
    collection: str, pairs: Pairs, left: Embeddings, right: Embeddings
) -> pa.Table:
    """SCORES: one row of metric `cosine` for each row of the pairs."""
    ok = pairs.outcome.ok
    values = np.zeros(len(ok))
    values[ok] = cosine(left.vectors, right.vectors, pairs.left[ok], pairs.right[ok])
    n = len(ok)
    columns = {
        "collection": pa.array([collection] * n, pa.string()),
        "clip_id": pairs.clips["clip_id"],
        "item": pairs.clips["item"],
        "metric": pa.array(["cosine"] * n, pa.string()),
        "value": pa.array(values, pa.float64(), mask=~ok),
        **pairs.outcome.columns(),
    }
    return pa.table(columns, schema=SCORES.schema)
