"""A results folder as the workflow leaves it: planned from files and scored, embeddings given."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from concord.clips.files import is_image
from concord.clips.plan import companions, plan, shards, text_shards
from concord.config import Config
from concord.layout import Layout
from concord.models.base import Modality
from concord.models.catalogue import spec
from concord.report.results import Results
from concord.scores.score import score
from concord.scores.tasks import companion_pairs
from concord.tables import EMBEDDINGS, MEDIA, PLAN, TEXTS, Table, read_table, write_table

MODEL = "network"
Row = dict[str, Any]
Vectors = Mapping[str, np.ndarray | Exception]
"""By the path of the file, or by the text; an exception where there is no embedding."""


def configure(folder: Path, entry: str = "mini", **options: Any) -> Config:
    """A configuration of one model, whose weights are never loaded."""
    weights = folder / "weights.safetensors"
    weights.parent.mkdir(parents=True, exist_ok=True)
    weights.write_bytes(b"weights")
    models = {MODEL: {"entry": entry, "checkpoint": str(weights)}}
    given = {"results": folder / "results", "models": models, "clips": {"block_size": 1}}
    return Config.model_validate(given | options)  # each shard a block of its own


def make_planned(config: Config, vectors: Vectors) -> Results:
    """Plan the files there are, write media and embeddings for them, and score every task."""
    plan(config)
    layout = Layout(config, {name: spec(config, name) for name in config.models})
    for prompts in config.prompts:
        for shard in text_shards(config, prompts):
            part = f"prompts/{prompts}/plan/{shard}.parquet"
            rows = read_table(config.results / part, TEXTS).to_pylist()
            found = {row["text_id"]: row["text"] for row in rows}
            _embed(config, "text", prompts, shard, found, vectors)
    results = Results(config)
    for collection in config.collections:
        pictures = results.files(collection, "video")
        for shard in shards(config, collection):
            part = f"clips/{collection}/plan/{shard}.parquet"
            clips = [row["clip_id"] for row in read_table(config.results / part, PLAN).to_pylist()]
            media = [_measured(clip, vectors[pictures[clip]]) for clip in clips]
            _write(config, f"media/{collection}/{shard}/media", MEDIA, media)
            for modality in ("video", "audio", *companions(config, collection)):
                files = results.files(collection, modality)
                found = {clip: files.get(clip) for clip in clips}
                _embed(config, modality, collection, shard, found, vectors)
        for task, model in layout.scored(collection):
            needed = layout.needed(task, model, collection)
            score(
                task,
                layout.score(task, model, collection),
                collection=collection,
                clips=layout.clips(collection),
                media=layout.media(collection),
                embeddings={modality: files for modality, files in needed.items() if files},
                audio=config.audio.model_dump(),
                seed=0,
                pairs=companion_pairs(config.tasks),
            )
    return results


def _measured(clip: str, vector: np.ndarray | Exception) -> Row:
    bad = isinstance(vector, Exception)
    row: Row = {"clip_id": clip, "key": clip, "audio_status": "ok", "mean_volume_db": -20.0}
    row |= {"status": "ok", "video_status": "failed" if bad else "ok"}
    return row | ({"video_reason": "unreadable", "detail": str(vector)} if bad else {})


def _embed(
    config: Config,
    modality: Modality,
    owner: str,
    shard: str,
    found: Mapping[str, str | None],
    vectors: Vectors,
) -> None:
    rows, dim = [], 0
    for name, source in found.items():
        vector, row = source and vectors[source], {"id": name, "key": name, "views": 1}
        if modality != "image" and source and is_image(source):
            reason = "still_image" if modality == "video" else "no_audio_stream"
            row |= {"status": "skipped", "reason": reason}
        elif vector is None:
            row |= {"status": "skipped", "reason": "missing"}
        elif isinstance(vector, Exception):
            row |= {"status": "failed", "reason": "unreadable", "detail": str(vector)}
        else:
            row |= {"status": "ok", "embedding": vector}
            dim = len(vector)
        rows.append(row)
    note = {"dim": dim, "protocol_id": f"p-{modality}", "model": MODEL}
    _write(config, f"embeddings/{MODEL}/{modality}/{owner}/{shard}", EMBEDDINGS, rows, **note)


def _write(config: Config, name: str, table: Table, rows: list[Row], **note: Any) -> None:
    write_table(config.results / f"{name}.parquet", table, rows, **note)
