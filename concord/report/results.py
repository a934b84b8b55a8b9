"""Reads what the other rooms left in the results folder, for tables, exports and the page."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from concord.clips import shards
from concord.config import Config
from concord.errors import UserError
from concord.layout import SIGNAL, Layout
from concord.models.base import Modality
from concord.models.catalogue import spec
from concord.tables import (
    CLIPS,
    EMBEDDINGS,
    MEDIA,
    PLAN,
    RETRIEVAL,
    SCORES,
    read_metadata,
    read_table,
)

CLIP_MODALITIES: tuple[Modality, ...] = ("video", "audio")


@dataclass(frozen=True)
class Scored:
    """One score file: what it measured, under which protocol, and its rows."""

    task: str
    model: str
    collection: str
    protocol_id: str
    protocol: dict[str, Any]
    rows: pa.Table


def layout(config: Config) -> Layout:
    """Where everything lies; raises UserError for a model whose weights are gone."""
    return Layout(config, {name: spec(config, name) for name in config.models})


def clips(config: Config, collection: str) -> pa.Table:
    """Rows of CLIPS: every file found and every prompt without a clip."""
    return read_table(layout(config).clips(collection), CLIPS)


def paths(config: Config, collection: str) -> dict[str, tuple[str, str]]:
    """Absolute paths of picture and sound of every processed clip, by clip_id.

    They are one file unless the sound lies apart.
    """
    folder = config.results / "clips" / collection / "plan"
    found = {}
    for shard in shards(config, collection):
        rows = read_table(folder / f"{shard}.parquet", PLAN, ["clip_id", "path", "audio_path"])
        for row in rows.to_pylist():
            found[row["clip_id"]] = (row["path"], row["audio_path"] or row["path"])
    return found


def media(config: Config, collection: str) -> pa.Table:
    """Rows of MEDIA of all shards, with the column `shard` in front."""
    parts = [pa.schema([("shard", pa.string()), *MEDIA.schema]).empty_table()]
    for path in layout(config).media(collection):
        rows = read_table(path, MEDIA).replace_schema_metadata(None)
        shard = pa.array([path.parent.name] * len(rows), pa.string())
        parts.append(rows.add_column(0, "shard", shard))
    return pa.concat_tables(parts)


def embedded(config: Config, collection: str) -> list[tuple[str, Modality]]:
    """(model, modality) of all embeddings of a collection's clips that a task reads."""
    places = layout(config)
    found = {
        (model, modality)
        for task, model in places.scored(collection)
        if model in config.models
        for modality, files in places.needed(task, model, collection).items()
        if files
    }
    return [(m, kind) for m in config.models for kind in CLIP_MODALITIES if (m, kind) in found]


def embeddings(
    config: Config, model: str, modality: Modality, collection: str, columns: list[str]
) -> pa.Table:
    """The columns of EMBEDDINGS, all shards."""
    files = layout(config).embeddings(model, modality, collection)
    parts = [read_table(path, EMBEDDINGS, columns).replace_schema_metadata(None) for path in files]
    return pa.concat_tables([EMBEDDINGS.schema.empty_table().select(columns), *parts])


def vectors(
    config: Config, model: str, modality: Modality, collection: str
) -> dict[str, np.ndarray]:
    """The embeddings there are, float32 [D], by clip_id."""
    rows = embeddings(config, model, modality, collection, ["id", "embedding"])
    pairs = zip(rows["id"].to_pylist(), rows["embedding"], strict=True)
    return {name: vector.values.to_numpy() for name, vector in pairs if vector.is_valid}


def dimensions(
    config: Config, model: str, modality: Modality, collection: str
) -> dict[str, list[int]]:
    """The shape, [D], of every embedding there is, by clip_id."""
    found = vectors(config, model, modality, collection)
    return {name: list(vector.shape) for name, vector in found.items()}


def scored(config: Config) -> list[Scored]:
    """Every score table that the configuration asks for: by task, model, collection."""
    places = layout(config)
    models = (SIGNAL, *config.models)
    wanted = [
        (task, model, collection)
        for collection in config.collections
        for task, model in places.scored(collection)
    ]
    tasks = list(map(str, config.tasks))
    wanted.sort(key=lambda found: (tasks.index(found[0]), models.index(found[1])))
    return [_read(places, *found) for found in wanted]


def _read(places: Layout, task: str, model: str, collection: str) -> Scored:
    path = places.score(task, model, collection)
    rows = read_table(path, RETRIEVAL if task == "retrieval" else SCORES)
    note = read_metadata(path)
    if not note.get("protocol_id"):
        raise UserError(f"{path}: names no protocol; delete the file and run again")
    return Scored(task, model, collection, note["protocol_id"], note.get("protocol") or {}, rows)
