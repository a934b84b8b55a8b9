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


class Results:
    """The results folder of one configuration, as the tables that were written there.

    Raises UserError for a model whose weights are gone, and for tables missing or damaged.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self.layout = Layout(config, {name: spec(config, name) for name in config.models})

    def clips(self, collection: str) -> pa.Table:
        """Rows of CLIPS: every file found and every prompt without a clip."""
        return read_table(self.layout.clips(collection), CLIPS)

    def paths(self, collection: str) -> dict[str, tuple[str, str]]:
        """Absolute paths of picture and sound of every processed clip, by clip_id.

        They are one file unless the sound lies apart.
        """
        folder = self.config.results / "clips" / collection / "plan"
        found = {}
        for shard in shards(self.config, collection):
            rows = read_table(folder / f"{shard}.parquet", PLAN, ["clip_id", "path", "audio_path"])
            for row in rows.to_pylist():
                found[row["clip_id"]] = (row["path"], row["audio_path"] or row["path"])
        return found

    def media(self, collection: str) -> pa.Table:
        """Rows of MEDIA of all shards, with the column `shard` in front."""
        parts = [pa.schema([("shard", pa.string()), *MEDIA.schema]).empty_table()]
        for path in self.layout.media(collection):
            rows = read_table(path, MEDIA).replace_schema_metadata(None)
            shard = pa.array([path.parent.name] * len(rows), pa.string())
            parts.append(rows.add_column(0, "shard", shard))
        return pa.concat_tables(parts)

    def media_tools(self) -> dict[str, list[str]]:
        """Versions of the tools that made the rows of MEDIA, as their files say."""
        found: dict[str, set[str]] = {}
        for collection in self.config.collections:
            for path in self.layout.media(collection):
                computed = read_metadata(path).get("computed") or []
                for note in [computed] if isinstance(computed, dict) else computed:
                    for tool, version in note.items():
                        found.setdefault(tool, set()).add(str(version))
        return {tool: sorted(versions) for tool, versions in sorted(found.items())}

    def embedded(self, collection: str) -> list[tuple[str, Modality]]:
        """(model, modality) of all embeddings of a collection's clips that a task reads."""
        models = self.config.models
        found = {
            (model, modality)
            for task, model in self.layout.scored(collection)
            if model in models
            for modality, files in self.layout.needed(task, model, collection).items()
            if files
        }
        return [(m, kind) for m in models for kind in CLIP_MODALITIES if (m, kind) in found]

    def embeddings(
        self, model: str, modality: Modality, collection: str, columns: list[str]
    ) -> pa.Table:
        """The columns of EMBEDDINGS, all shards."""
        files = self.layout.embeddings(model, modality, collection)
        parts = [read_table(p, EMBEDDINGS, columns).replace_schema_metadata(None) for p in files]
        return pa.concat_tables([EMBEDDINGS.schema.empty_table().select(columns), *parts])

    def vectors(self, model: str, modality: Modality, collection: str) -> dict[str, np.ndarray]:
        """The embeddings there are, float32 [D], by clip_id."""
        rows = self.embeddings(model, modality, collection, ["id", "embedding"])
        pairs = zip(rows["id"].to_pylist(), rows["embedding"], strict=True)
        return {name: vector.values.to_numpy() for name, vector in pairs if vector.is_valid}

    def shapes(self, model: str, modality: Modality, collection: str) -> dict[str, list[int]]:
        """The shape, [D], of every embedding there is, by clip_id."""
        found = {}
        for path in self.layout.embeddings(model, modality, collection):
            shape = [read_metadata(path)["dim"]]
            rows = read_table(path, EMBEDDINGS, ["id", "status"]).to_pylist()
            found.update({row["id"]: shape for row in rows if row["status"] == "ok"})
        return found

    def scored(self) -> list[Scored]:
        """Every score table that the configuration asks for: by task, model, collection."""
        models = (SIGNAL, *self.config.models)
        wanted = [
            (task, model, collection)
            for collection in self.config.collections
            for task, model in self.layout.scored(collection)
        ]
        tasks = list(map(str, self.config.tasks))
        wanted.sort(key=lambda found: (tasks.index(found[0]), models.index(found[1])))
        return [self.score(*found) for found in wanted]

    def score(self, task: str, model: str, collection: str) -> Scored:
        """One score table. Raises UserError if it is missing or names no protocol."""
        path = self.layout.score(task, model, collection)
        rows = read_table(path, RETRIEVAL if task == "retrieval" else SCORES)
        note = read_metadata(path)
        if not note.get("protocol_id"):
            raise UserError(f"{path}: names no protocol; delete the file and run again")
        protocol = note.get("protocol") or {}
        return Scored(task, model, collection, note["protocol_id"], protocol, rows)
