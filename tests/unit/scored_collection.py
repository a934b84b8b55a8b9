"""A small collection on disk for the tests of scores."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from concord.models.base import MODALITIES
from concord.protocol import digest
from concord.scores.score import score
from concord.scores.tasks import needs
from concord.tables import (
    CLIPS,
    EMBEDDINGS,
    MEDIA,
    RETRIEVAL,
    SCORES,
    Table,
    read_table,
    write_table,
)

AUDIO = {"require": "audible", "silence_db": -60.0}
DIM = 6
Row = dict[str, Any]


def vector(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=DIM).astype(np.float32)


class Collection:
    """A small collection on disk: clips with prompts, media and embeddings in two shards."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clips: list[Row] = []
        self.media: list[Row] = []
        self.vectors: dict[str, list[Row]] = {modality: [] for modality in MODALITIES}
        self.note: dict[tuple[str, int], Row] = {}

    def clip(self, name: str, prompt: str | None = "a cat", **clip: Any) -> None:
        """A processed clip with all its embeddings; `prompt` is of the picture and the sound."""
        self.clips.append(
            {
                "clip_id": name,
                "kind": "video",
                "shard": "0000",
                "item": name,
                "video_prompt": prompt,
                "audio_prompt": f"{prompt} sounds" if (prompt or "").strip() else prompt,
                "status": "ok",
                "prompt_status": "ok",
                **clip,
            }
        )
        self.media.append(
            {
                "clip_id": name,
                "key": name,
                "status": "ok",
                "video_status": "ok",
                "audio_status": "ok",
                "mean_volume_db": -20.0,
            }
        )
        for offset, modality in enumerate(m for m in MODALITIES if m != "text"):
            self.embed(modality, name, vector(10 * len(self.clips) + offset))
        for text in (prompt, f"{prompt} sounds"):
            if prompt and digest(text) not in [row["id"] for row in self.vectors["text"]]:
                self.embed("text", digest(text), vector(sum(text.encode())))

    def embed(self, modality: str, name: str, value: np.ndarray) -> None:
        row = {"id": name, "key": name, "status": "ok", "views": 1, "embedding": value}
        self.vectors[modality].append(row)

    def fail(self, modality: str, name: str, status: str, reason: str) -> None:
        for row in self.vectors[modality]:
            if row["id"] == name:
                row.update(status=status, reason=reason, detail="why", embedding=None)

    def write(self, task: str, output: Path | None = None, pairs: Sequence[str] = ()) -> Path:
        output = output or self.folder / f"{task}.parquet"
        write_table(self.folder / "clips.parquet", CLIPS, self.clips)
        modalities = needs(task, MODALITIES, pairs)
        score(
            task,
            output,
            collection="c",
            clips=self.folder / "clips.parquet",
            media=self._shards("media", MEDIA, self.media),
            embeddings={m: self._shards(m, EMBEDDINGS, self.vectors[m]) for m in modalities},
            audio=AUDIO,
            seed=0,
            pairs=pairs,
        )
        return output

    def scored(self, task: str) -> dict[str | None, Row]:
        rows = read_table(self.write(task), SCORES).to_pylist()
        return {row["clip_id"]: row for row in rows}

    def ranked(self, pairs: Sequence[str] = ()) -> dict[tuple[str, str | None], Row]:
        rows = read_table(self.write("retrieval", pairs=pairs), RETRIEVAL).to_pylist()
        return {(row["direction"], row["query"]): row for row in rows}

    def _shards(self, name: str, table: Table, rows: list[Row]) -> list[Path]:
        paths = []
        for shard in (0, 1):
            note = {"protocol_id": f"p-{name}", "model": "m", **self.note.get((name, shard), {})}
            paths.append(self.folder / name / f"{shard:04}.parquet")
            write_table(paths[-1], table, rows[shard::2], **note)
        return paths


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a.astype(float), b.astype(float)
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def outcome(row: Row) -> tuple[str, str | None]:
    return row["status"], row["reason"]
