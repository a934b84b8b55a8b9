"""Tables of a collection with given features and labels, for the tests of checks and probes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from concord.scores.sources import Source
from concord.tables import CLIPS, EMBEDDINGS, LABELS, MEDIA, write_table

Row = dict[str, Any]


def embedding(name: str, vector: Sequence[float] | np.ndarray | None, **row: Any) -> Row:
    """A row of EMBEDDINGS; without a vector it is one that failed in the model."""
    if vector is None:
        row = {"status": "failed", "reason": "model_error", **row}
    given = None if vector is None else np.asarray(vector, np.float32)
    return {"id": name, "key": name, "status": "ok", "views": 1, "embedding": given, **row}


def write_embeddings(folder: Path, rows: list[Row], shards: int = 1, **note: Any) -> list[Path]:
    """EMBEDDINGS tables, the rows dealt out to the shards in turn."""
    paths = [folder / f"{shard:04}.parquet" for shard in range(shards)]
    for shard, path in enumerate(paths):
        metadata = {"protocol_id": "p", "model": "m", **note}
        write_table(path, EMBEDDINGS, rows[shard::shards], **metadata)
    return paths


def write_media(folder: Path, rows: list[Row]) -> Path:
    """A MEDIA table; every clip is usable unless its row says otherwise."""
    usable = {"status": "ok", "video_status": "ok", "audio_status": "ok", "mean_volume_db": -20.0}
    path = folder / "media.parquet"
    write_table(path, MEDIA, [usable | {"key": row["clip_id"]} | row for row in rows])
    return path


def write_source(
    folder: Path,
    features: np.ndarray,
    labels: Sequence[str | None],
    groups: Sequence[str | None] | None = None,
    *,
    name: str = "c",
    label: str | None = None,
    **note: Any,
) -> Source:
    """A collection of clips 000, 001, ... with these features [N, dim], labels and groups [N]."""
    ids = [f"{i:03}" for i in range(len(features))]
    groups = groups or [None] * len(ids)
    clips = [
        {"clip_id": i, "kind": "video", "shard": "0000", "item": i, "status": "ok"} for i in ids
    ]
    known = [
        {"clip_id": i, "label": given, "group": group}
        for i, given, group in zip(ids, labels, groups, strict=True)
    ]
    folder = folder / name
    write_table(folder / "clips.parquet", CLIPS, clips)
    write_table(folder / "labels.parquet", LABELS, known)
    media = write_media(folder, [{"clip_id": i} for i in ids])
    rows = [embedding(i, vector) for i, vector in zip(ids, features, strict=True)]
    paths = write_embeddings(folder / "embeddings", rows, shards=2, **note)
    tables = (folder / "clips.parquet", folder / "labels.parquet", [media], paths)
    return Source(name, *tables, label)


def blobs(n: int, labels: int, distance: float, dim: int = 8, seed: int = 0) -> tuple[Any, Any]:
    """Normal features [n, dim] and labels [n]; means of two labels lie `distance` apart."""
    rng = np.random.default_rng(seed)
    label = np.arange(n) % labels
    features = rng.normal(size=(n, dim))
    features[np.arange(n), label] += distance / np.sqrt(2)
    return features.astype(np.float32), [f"label {i}" for i in label]
