"""Scores one collection by one model and one task: tables in, one table out."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from concord.models.base import MODALITIES, Modality
from concord.protocol import protocol_id
from concord.scores.gather import (
    Embeddings,
    check_same_model,
    read_clips,
    read_embeddings,
    undeclared,
    what_computed,
)
from concord.scores.retrieval import retrieval_table
from concord.scores.similarity import pair, similarity_table
from concord.scores.tasks import PAIRS, needs, retrieval_pairs, task_info
from concord.tables import RETRIEVAL, SCORES, write_table


def score(
    task: str,
    output: Path,
    *,
    collection: str,
    clips: Path,
    media: Sequence[Path],
    embeddings: Mapping[Modality, Sequence[Path]],
    audio: Mapping[str, Any] | None,
    seed: int,
    pairs: Sequence[str] = (),
) -> None:
    """Write SCORES, or RETRIEVAL for the task retrieval, with its protocol in the metadata.

    `embeddings` are the tables of one model by modality, `audio` the gate's keys require and
    silence_db, `seed` that of retrieval's control, `pairs` the tasks that retrieval ranks beside
    those of picture, sound and prompt. Raises UserError when tables disagree.
    """
    given = [m for m in MODALITIES if m in embeddings]
    used = needs(task, given, pairs) if task == "retrieval" else PAIRS[task]
    data = {m: read_embeddings(embeddings.get(m, ()), m) for m in used}
    model = check_same_model(list(data.values()))
    gate = dict(audio) if audio and "audio" in used else None
    protocol = score_protocol(task, data, gate)
    rows = read_clips(clips)
    if task == "retrieval":
        protocol["seed"] = seed
        ranked = retrieval_pairs(given, pairs)
        table = retrieval_table(collection, ranked, rows, media, data, gate, seed)
        declared = RETRIEVAL
    else:
        first, second = PAIRS[task]
        paired = pair(task, rows, media, data, gate)
        table = similarity_table(collection, paired, data[first], data[second])
        declared = SCORES
    write_table(
        output,
        declared,
        table,
        protocol=protocol,
        protocol_id=protocol_id(protocol),
        task=task,
        collection=collection,
        model=model,
        computed=what_computed(list(data.values())),
    )


def score_protocol(
    task: str, data: Mapping[Modality, Embeddings], gate: Mapping[str, Any] | None
) -> dict[str, Any]:
    """What decides a task's scores: embeddings by modality, and the gate where there is sound.

    Raises UserError when the embeddings come from different weights, settings or precisions.
    """
    return {
        "task": task,
        "version": task_info(task).version,
        "embeddings": {modality: found.protocol_id for modality, found in data.items()},
        **undeclared(list(data.values())),
        "audio": gate,
    }
