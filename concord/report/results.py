"""Reads what the other rooms left in the results folder, for tables, exports and the page."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from concord.config import Config
from concord.errors import UserError
from concord.layout import SIGNAL, Layout
from concord.models.base import COMPANIONS, MODALITIES, Modality
from concord.models.catalogue import spec
from concord.scores.gather import read_vectors
from concord.scores.tasks import TASK_NAMES
from concord.tables import (
    CLIPS,
    COMPANION_FILES,
    EMBEDDINGS,
    LABELS,
    MEDIA,
    PLAN,
    RETRIEVAL,
    SCORES,
    read_metadata,
    read_table,
)

CLIP_MODALITIES = tuple(modality for modality in MODALITIES if modality != "text")


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

    def labels(self, collection: str) -> dict[str, dict[str, str | None]]:
        """Label and group by clip_id, of the clips that have any."""
        rows = read_table(self.layout.labels(collection), LABELS).to_pylist()
        return {row.pop("clip_id"): row for row in rows}

    def files(self, collection: str, modality: Modality) -> dict[str, str]:
        """Absolute path of the file that a modality of each processed clip is read from.

        By clip_id. It is the clip's own file, or the sound, image, depth map, ... beside it; clips
        without an image, depth map, ... are not there.
        """
        if modality in COMPANIONS:
            beside = self.layout.companions(collection, modality)
            rows = [row for path in beside for row in read_table(path, COMPANION_FILES).to_pylist()]
            return {row["clip_id"]: row["path"] for row in rows if row["path"]}
        found: dict[str, str] = {}
        for path in self.layout.plans(collection):
            for row in read_table(path, PLAN).to_pylist():
                sound = row["audio_path"] if modality == "audio" else None
                found[row["clip_id"]] = sound or row["path"]
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
        models, found = self.config.models, set(self.layout.embedded(collection))
        return [(m, kind) for m in models for kind in CLIP_MODALITIES if (m, kind) in found]

    def embeddings(
        self, model: str, modality: Modality, collection: str, columns: list[str]
    ) -> pa.Table:
        """The columns of EMBEDDINGS, all shards."""
        files = self.layout.embeddings(model, modality, collection)
        parts = [read_table(p, EMBEDDINGS, columns).replace_schema_metadata(None) for p in files]
        return pa.concat_tables([EMBEDDINGS.schema.empty_table().select(columns), *parts])

    def vectors(
        self, model: str, modality: Modality, collection: str
    ) -> tuple[list[str], npt.NDArray[np.float32]]:
        """The embeddings there are, as they are stored: their clip_ids, and a matrix [N, D]."""
        rows = self.embeddings(model, modality, collection, ["id", "status"])
        ids = rows["id"].filter(pc.equal(rows["status"], "ok")).to_pylist()
        files = self.layout.embeddings(model, modality, collection)
        return ids, read_vectors(files, len(ids))

    def note(self, model: str, modality: Modality, collection: str) -> dict[str, Any]:
        """What stands beside the embeddings of a collection: dim, protocol_id, ...; {} if none."""
        files = self.layout.embeddings(model, modality, collection)
        return read_metadata(files[0]) if files else {}

    def scored(self, tasks: Collection[str] = TASK_NAMES) -> list[Scored]:
        """Every score table of these tasks that was asked for: by task, model, collection."""
        models = (SIGNAL, *self.config.models)
        wanted = [
            (task, model, collection)
            for collection in self.config.collections
            for task, model in self.layout.scored(collection)
            if task in tasks
        ]
        order = list(map(str, self.config.tasks))
        wanted.sort(key=lambda found: (order.index(found[0]), models.index(found[1])))
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
