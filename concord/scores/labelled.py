"""Features with their labels, of one collection or of several together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from concord.errors import UserError
from concord.models.base import COMPANIONS, Modality
from concord.scores.gather import (
    Embeddings,
    Indices,
    Objects,
    Outcome,
    apply_embeddings,
    apply_media,
    check_same_model,
    clip_outcome,
    read_clips,
    read_embeddings,
    undeclared,
)
from concord.scores.sources import Source
from concord.tables import LABELS, read_table


@dataclass(frozen=True)
class Labelled:
    """N clips, by collection and clip_id, of which those with an ok outcome have a vector.

    `label` and `group` are None without one; `item` pairs clips across collections. `row` are rows
    of `vectors` [M, dim], -1 where not ok.
    """

    collection: Objects
    clip_id: Objects
    label: Objects
    group: Objects
    item: Objects
    outcome: Outcome
    row: Indices
    vectors: npt.NDArray[np.float32]
    protocol: dict[str, Any]

    def __len__(self) -> int:
        return len(self.clip_id)


def read_labelled(
    sources: Sequence[Source], modality: Modality, audio: Mapping[str, Any]
) -> Labelled:
    """Read the features of all sources; `audio` (keys require and silence_db) is the gate.

    Raises UserError when tables disagree in protocol, model or dimension.
    """
    read = [read_embeddings(source.embeddings, modality) for source in sources]
    protocol = _protocol(read, modality, audio)
    parts = [_part(*pair, modality, audio) for pair in zip(sources, read, strict=True)]
    table = pa.concat_tables([part[0] for part in parts])
    starts = np.cumsum([0, *(len(e.vectors) for e in read)])
    rows = np.concatenate(
        [np.where(part[2] >= 0, part[2] + at, -1) for part, at in zip(parts, starts, strict=False)]
    )
    outcome = Outcome(len(table))
    outcome.then(
        *(
            np.concatenate([getattr(part[1], name) for part in parts])
            for name in ("status", "reason", "detail")
        )
    )
    columns = {name: _objects(table[name]) for name in table.column_names}
    order = np.lexsort((columns["clip_id"].astype(str), columns["collection"].astype(str)))
    filled = [e.vectors for e in read if len(e.vectors)]
    return Labelled(
        **{name: values[order] for name, values in columns.items()},
        outcome=outcome.take(order),
        row=rows[order],
        vectors=filled[0] if len(filled) == 1 else np.concatenate(filled or [_NOTHING]),
        protocol=protocol,
    )


def read_labels(path: Path, clip_ids: pa.ChunkedArray) -> pa.Table:
    """The columns `label` and `group` [N] of clips, null where unknown."""
    known = read_table(path, LABELS)
    return known.select(["label", "group"]).take(
        pc.index_in(clip_ids, value_set=known["clip_id"].combine_chunks())
    )


_NOTHING = np.zeros((0, 0), np.float32)


def _part(
    source: Source, embeddings: Embeddings, modality: Modality, audio: Mapping[str, Any]
) -> tuple[pa.Table, Outcome, Indices]:
    clips = read_clips(source.clips)
    clips = clips.filter(clips["clip_id"].is_valid()).combine_chunks()
    n = len(clips)
    outcome = clip_outcome(clips)
    if modality not in COMPANIONS:
        apply_media(outcome, clips, source.media, modality, audio)
    elif not source.embeddings:
        outcome.skip(outcome.ok, "no_image" if modality == "image" else f"no_{modality}_file")
    rows = apply_embeddings(outcome, clips["clip_id"], embeddings)
    known = read_labels(source.labels, clips["clip_id"])
    label = known["label"] if source.label is None else pa.repeat(source.label, n)
    outcome.skip(np.array(label.is_null(), dtype=bool), "no_label")
    table = pa.table(
        {
            "collection": pa.array([source.collection] * n, pa.string()),
            "clip_id": clips["clip_id"],
            "label": label,
            "group": known["group"],
            "item": clips["item"],
        }
    )
    return table, outcome, np.where(outcome.ok, rows, -1)


def _protocol(
    read: Sequence[Embeddings], modality: Modality, audio: Mapping[str, Any]
) -> dict[str, Any]:
    """What made the features. Raises UserError where the sources disagree."""
    check_same_model(read)
    found = {e.protocol_id: e.paths[0].parent for e in read if e.paths}
    if len(found) > 1:
        examples = ", ".join(f"{name} in {folder}" for name, folder in found.items())
        raise UserError(
            f"features of one protocol expected, several found: {examples}; give these collections "
            "the same media settings, or probe each by itself with probes.labels: label"
        )
    return {
        "embeddings": next(iter(found), None),
        **undeclared(read),
        "audio": dict(audio) if modality == "audio" else None,
    }


def _objects(column: pa.ChunkedArray) -> Objects:
    values: Objects = np.array(column.to_pylist(), dtype=object)
    return values
