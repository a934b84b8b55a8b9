"""Reads one collection's tables into aligned arrays, and says what is missing and why.

Ids are looked up by Arrow and vectors stay in one float32 matrix, so that a million clips need no
Python object each.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from concord.errors import UserError
from concord.media.gate import gate
from concord.models.base import Modality
from concord.protocol import digest, protocol_id
from concord.tables import CLIPS, EMBEDDINGS, MEDIA, SYNCHRONY, Table, read_metadata, read_table

Objects = npt.NDArray[np.object_]
Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

_BATCH = 10_000
_UNDECLARED = {
    "weights_sha256": ("weights", "set models.{}.sha256 to the one you want and run again"),
    "config_sha256": (
        "configuration",
        "set models.{0}.checkpoint to a copy of the one you want, or name its revision in "
        "models.{0}.pretrained (organisation/name@revision), and run again",
    ),
    "precision": (
        "precision",
        "set models.{}.precision to the one you want and run again, or delete the folders of the "
        "outdated files and run again where the others were computed",
    ),
}
"""What a hub or a device may decide, by its key in a file's note, with advice where it differs."""
_SOUND = ["audio_status", "audio_reason", "mean_volume_db", "max_volume_db", "silent_fraction"]


class Outcome:
    """Status, reason and detail of N rows: those of the first stage that was not ok."""

    def __init__(self, n: int) -> None:
        self.status: Objects = np.full(n, "ok", dtype=object)
        self.reason: Objects = np.full(n, None, dtype=object)
        self.detail: Objects = np.full(n, None, dtype=object)

    @property
    def ok(self) -> npt.NDArray[np.bool_]:
        """Rows [N] that no stage has stopped."""
        ok: npt.NDArray[np.bool_] = self.status == "ok"
        return ok

    def then(self, status: Objects, reason: Objects, detail: Objects | None = None) -> None:
        """Apply the next stage's outcome [N] to the rows that are still ok."""
        stopped = self.ok & (status != "ok")
        self.status[stopped] = status[stopped]
        self.reason[stopped] = reason[stopped]
        if detail is not None:
            self.detail[stopped] = detail[stopped]

    def skip(self, where: npt.NDArray[np.bool_], reason: str) -> None:
        """Skip the rows of the mask [N] that are still ok."""
        stopped = self.ok & where
        self.status[stopped] = "skipped"
        self.reason[stopped] = reason

    def take(self, rows: Indices) -> "Outcome":
        """The outcomes of some rows, as a new object."""
        taken = Outcome(0)
        taken.status, taken.reason = self.status[rows], self.reason[rows]
        taken.detail = self.detail[rows]
        return taken

    def columns(self) -> dict[str, pa.Array]:
        """The columns status, reason and detail."""
        names = ("status", "reason", "detail")
        return {name: pa.array(getattr(self, name), pa.string()) for name in names}


@dataclass(frozen=True)
class Embeddings:
    """All embeddings of one modality: M ids, of which those with row >= 0 have a vector."""

    modality: Modality
    notes: Mapping[Path, Mapping[str, Any]]
    ids: pa.Array
    outcome: Outcome
    row: Indices
    vectors: npt.NDArray[np.float32]
    protocol_id: str | None
    model: str | None

    @property
    def paths(self) -> list[Path]:
        return list(self.notes)

    def find(self, ids: pa.Array, wanted: npt.NDArray[np.bool_]) -> Indices:
        """Positions [N] of ids in this object, -1 where not wanted.

        Raises UserError when a wanted id is absent.
        """
        return _find(ids, self.ids, wanted, f"{self.modality} embeddings", self.paths)


def read_clips(path: Path) -> pa.Table:
    """The rows that a task answers for: all clips that are media, and prompts without a clip."""
    table = read_table(path, CLIPS).combine_chunks()
    return table.filter(pc.fill_null(pc.not_equal(table["kind"], "other"), True)).combine_chunks()


def clip_outcome(clips: pa.Table) -> Outcome:
    """Whether each row [N] is a clip that is processed."""
    outcome = Outcome(len(clips))
    outcome.then(*(_objects(clips[name]) for name in ("status", "reason", "detail")))
    return outcome


def text_ids(clips: pa.Table, outcome: Outcome, column: str) -> pa.Array:
    """Text ids [N] of a prompt column, null where there is no text; the outcome learns why.

    A prompt that does not belong to its row for certain (prompt_status) has no text either.
    """
    status = pc.fill_null(clips["prompt_status"], "ok")
    outcome.then(_objects(status), _objects(clips["prompt_reason"]))
    filled = pc.greater(pc.utf8_length(pc.utf8_trim_whitespace(clips[column])), 0)
    has_text = pc.and_(pc.equal(status, "ok"), pc.fill_null(filled, False))
    outcome.skip(~_mask(has_text), "empty_prompt")
    coded = pc.if_else(has_text, clips[column], None).combine_chunks().dictionary_encode()
    unique = pa.array([digest(text) for text in coded.dictionary.to_pylist()], pa.string())
    return unique.take(coded.indices)


def apply_media(
    outcome: Outcome,
    clips: pa.Table,
    media: Sequence[Path],
    modality: Modality,
    audio: Mapping[str, Any] | None,
) -> None:
    """Let the outcome [N] learn which clips have no usable picture or sound.

    For sound, `audio` (keys require and silence_db) is the gate. Raises UserError when a
    processed clip has no row in the media tables.
    """
    table = _concatenate(media, MEDIA)
    position = _find(clips["clip_id"], table["clip_id"], outcome.ok, "media", media)
    _apply(
        outcome,
        position,
        _objects(table[f"{modality}_status"]),
        _objects(table[f"{modality}_reason"]),
        _objects(table["detail"]),
    )
    if modality == "audio" and audio is not None:
        _apply(outcome, position, *_gate(table, audio))


def apply_synchrony(outcome: Outcome, clips: pa.Table, synchrony: Sequence[Path]) -> pa.Table:
    """Let the outcome [N] learn which clips could not be measured.

    Returns their SYNCHRONY rows [N], null where the outcome was not ok before. Raises UserError
    when a usable clip has no row in the synchrony tables.
    """
    table = _concatenate(synchrony, SYNCHRONY)
    position = _find(clips["clip_id"], table["clip_id"], outcome.ok, "synchrony", synchrony)
    _apply(outcome, position, *(_objects(table[name]) for name in ("status", "reason", "detail")))
    return table.take(pa.array(position, mask=position < 0))


def apply_embeddings(outcome: Outcome, ids: pa.Array, embeddings: Embeddings) -> Indices:
    """Let the outcome [N] learn which ids have no embedding.

    Returns rows of `embeddings.vectors` [N], -1 where the outcome is not ok.
    """
    position = embeddings.find(ids, outcome.ok)
    found = embeddings.outcome
    _apply(outcome, position, found.status, found.reason, found.detail)
    rows = np.full(len(ids), -1, dtype=np.int64)
    rows[outcome.ok] = embeddings.row[position[outcome.ok]]
    return rows


def read_embeddings(paths: Sequence[Path], modality: Modality) -> Embeddings:
    """Read all shards of one modality.

    Raises UserError when shards disagree in protocol, model or dimension.
    """
    notes = {path: read_metadata(path) for path in paths}
    protocol = _agree([(path, note.get("protocol_id")) for path, note in notes.items()], "protocol")
    model = _agree([(path, note.get("model")) for path, note in notes.items()], "model")
    columns = ["id", "status", "reason", "detail"]
    table = _concatenate(paths, EMBEDDINGS, columns)
    outcome = Outcome(len(table))
    outcome.then(*(_objects(table[name]) for name in columns[1:]))
    vectors = read_vectors(paths, int(outcome.ok.sum()))
    row = np.full(len(table), -1, dtype=np.int64)
    row[outcome.ok] = np.arange(len(vectors))
    _refuse_directionless(outcome, row, vectors)
    return Embeddings(
        modality, notes, table["id"].combine_chunks(), outcome, row, vectors, protocol, model
    )


def check_same_model(embeddings: Sequence[Embeddings]) -> str | None:
    """The model behind embeddings of several modalities; None if there are none.

    Raises UserError when models or dimensions differ.
    """
    filled = [e for e in embeddings if e.paths]
    model = _agree([(e.paths[0], e.model) for e in filled], "model")
    _agree([(e.paths[0], str(e.vectors.shape[1])) for e in filled if len(e.vectors)], "dimension")
    return model


def what_computed(embeddings: Sequence[Embeddings]) -> list[Mapping[str, Any]]:
    """What computed all embeddings: devices, precisions, weights and packages, each set once."""
    notes = (note for e in embeddings for note in e.notes.values())
    found = (entry for note in notes for entry in note.get("computed", ()))
    return list({protocol_id(entry): entry for entry in found}.values())


def undeclared(embeddings: Sequence[Embeddings]) -> dict[str, str]:
    """What decided all embeddings beside their protocol: keys of _UNDECLARED that it leaves open.

    Raises UserError when shards or modalities differ in one, declared or not.
    """
    notes = [(path, note) for e in embeddings for path, note in e.notes.items()]
    models = "/".join(sorted({str(note.get("model")) for _, note in notes}))
    found: dict[str, str] = {}
    for key, (what, advice) in _UNDECLARED.items():
        entries = [(path, entry) for path, note in notes for entry in note.get("computed", ())]
        used = [(path, entry[key]) for path, entry in entries if entry.get(key)]
        value = _agree(used, what, advice.format(models))
        declared = {note.get("protocol", {}).get(key) for _, note in notes} - {None, "auto"}
        if value and not declared:
            found[key] = value
    return found


def read_vectors(paths: Sequence[Path], n: int) -> npt.NDArray[np.float32]:
    """The vectors [n, dim] of the ok rows of all shards, in order; one shard is read at a time.

    Raises UserError where the dimension differs.
    """
    vectors = np.zeros((n, 0), dtype=np.float32)
    start = 0
    for path in paths:
        table = read_table(path, EMBEDDINGS, ["status", "embedding"])
        column = table["embedding"].filter(pc.equal(table["status"], "ok"))
        if not len(column):
            continue
        dims = set(pc.list_value_length(column).unique().to_pylist())
        dim = vectors.shape[1] or dims.copy().pop()
        if dims != {dim}:
            raise UserError(
                f"{path}: embeddings of {sorted(map(str, dims))} values found, {dim} expected; "
                "delete the file and run again"
            )
        if not vectors.shape[1]:
            vectors = np.empty((n, dim), dtype=np.float32)
        vectors[start : start + len(column)] = _dense(column, dim)
        start += len(column)
    return vectors


def lengths(vectors: npt.NDArray[np.float32]) -> Floats:
    """Euclidean norms [N] of vectors [N, dim], in float64."""
    norms = np.empty(len(vectors))
    for start in range(0, len(vectors), _BATCH):
        part = vectors[start : start + _BATCH].astype(np.float64)
        norms[start : start + _BATCH] = np.sqrt(np.einsum("nd,nd->n", part, part))
    return norms


def _dense(column: pa.ChunkedArray, dim: int) -> npt.NDArray[np.float32]:
    flat: npt.NDArray[np.float32] = pc.list_flatten(column).to_numpy()
    return flat.reshape(-1, dim)


def _refuse_directionless(outcome: Outcome, row: Indices, vectors: npt.NDArray[np.float32]) -> None:
    """Fail ids whose vector has no direction: NaN, infinite or zero."""
    norms = lengths(vectors)
    bad = np.flatnonzero(outcome.ok)[~(np.isfinite(norms) & (norms > 0))]
    outcome.status[bad], outcome.reason[bad] = "failed", "not_finite"
    outcome.detail[bad] = [f"the embedding has norm {norms[row[i]]}" for i in bad]
    row[bad] = -1


def _gate(media: pa.Table, audio: Mapping[str, Any]) -> tuple[Objects, Objects]:
    """Status and reason of every media row's sound under the gate."""
    status: list[str] = []
    reason: list[str | None] = []
    for batch in media.select(_SOUND).to_batches(max_chunksize=_BATCH):
        for row in batch.to_pylist():
            outcome = gate(row, audio["require"], audio["silence_db"])
            status.append(outcome[0])
            reason.append(outcome[1])
    return np.array(status, dtype=object), np.array(reason, dtype=object)


def _apply(outcome: Outcome, position: Indices, *stage: Objects) -> None:
    """Apply a stage known by position in another table to the rows that are still ok."""
    rows = np.flatnonzero(outcome.ok)
    spread = [np.full(len(position), fill, dtype=object) for fill in ("ok", None, None)]
    for target, values in zip(spread, stage, strict=False):
        target[rows] = values[position[rows]]
    outcome.then(*spread)


def _find(
    ids: pa.Array, among: pa.Array, wanted: npt.NDArray[np.bool_], what: str, paths: Sequence[Path]
) -> Indices:
    position = pc.fill_null(pc.index_in(ids, value_set=among), -1).to_numpy().astype(np.int64)
    absent = np.flatnonzero(wanted & (position < 0))
    if len(absent):
        folder = paths[0].parent if paths else "no file"
        raise UserError(
            f"{folder}: {len(absent)} ids have no row in the {what}, such as "
            f"{ids[int(absent[0])].as_py()!r}; delete these tables and run again"
        )
    return np.where(wanted, position, -1)


def _agree(
    found: Sequence[tuple[Path, str | None]],
    what: str,
    advice: str = "delete the outdated files and run again",
) -> str | None:
    """The one value of all files. Raises UserError when there are several."""
    values = {value: path for path, value in found}
    if len(values) > 1:
        examples = ", ".join(f"{value} in {path}" for value, path in values.items())
        raise UserError(f"embeddings of one {what} expected, several found: {examples}; {advice}")
    return next(iter(values), None)


def _concatenate(paths: Sequence[Path], table: Table, columns: list[str] | None = None) -> pa.Table:
    empty = table.schema.empty_table()
    tables = [read_table(path, table, columns).replace_schema_metadata() for path in paths]
    return pa.concat_tables([*tables] or [empty.select(columns or table.names)]).combine_chunks()


def _objects(column: pa.ChunkedArray) -> Objects:
    values: Objects = column.to_numpy(zero_copy_only=False) if len(column) else np.array([], object)
    return values.astype(object)


def _mask(column: pa.ChunkedArray) -> npt.NDArray[np.bool_]:
    values: npt.NDArray[np.bool_] = np.asarray(column, dtype=bool)
    return values
