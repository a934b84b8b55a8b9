"""Results in the file formats of the batch scripts that Concord replaces: results/exports/.

    {model}/{mode}/{collection}_{mode}.json       statistics and a result for every clip
    {model}/av_consistency/{collection}/          embeddings, names, matrix, metrics, report
    {model}/features/{collection}/                features.npy, .pkl, .h5 and video_paths.txt
    {model}/summary.json, summary.json            the statistics of all of them

Names are those of collections, which are unique, so nothing overwrites anything.
"""

import json
import shutil
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from concord.config import Config
from concord.files import write_text
from concord.models.base import Modality
from concord.report import features, pairs
from concord.report.results import Results, Scored
from concord.tables import REASONS

Item = dict[str, Any]
MODES: dict[str, tuple[Modality, ...]] = {
    "video_text": ("video",),
    "audio_text": ("audio",),
    "av_consistency": ("video", "audio"),
}


def export(config: Config) -> None:
    """Write results/exports anew from the score and embedding tables."""
    results, folder = Results(config), config.results / "exports"
    shutil.rmtree(folder, ignore_errors=True)
    everything: dict[str, Any] = {model: {} for model in config.models}
    for scored in results.scored():
        if scored.task in MODES:
            statistics = _export_mode(results, scored, folder / scored.model)
            modes = everything[scored.model]
            modes.setdefault(scored.task, {})[scored.collection] = statistics
    for model in config.models:
        for collection in config.collections:
            features.write(results, model, collection, folder / model / "features" / collection)
    now = _now()
    for model, modes in everything.items():
        write_json(folder / model / "summary.json", {"timestamp": now, "modes": modes})
    write_json(
        folder / "summary.json",
        {"timestamp": now, "limited": config.limit is not None, "models": everything},
    )


def _export_mode(results: Results, scored: Scored, folder: Path) -> Item:
    config, mode, collection = results.config, scored.task, scored.collection
    items = results_of(results, scored)
    statistics = statistics_of(items)
    source = config.collections[collection]
    prompts = config.prompt_set(collection)
    head: Item = {}
    if "video" in MODES[mode]:
        head["video_dir"] = ", ".join(map(str, source.path))
    if "audio" in MODES[mode]:
        head["audio_dir"] = str(source.audio) if source.audio else ", ".join(map(str, source.path))
    head["json_file"] = str(config.prompts[prompts].path) if prompts else None
    write_json(
        folder / mode / f"{collection}_{mode}.json",
        {**head, "statistics": statistics, "results": items},
    )
    if mode == "av_consistency":
        pairs.write(results, scored, folder / mode / collection)
    return statistics


def results_of(results: Results, scored: Scored) -> list[Item]:
    """One item a score row, with all keys of its mode; order: prompt index, then path."""
    modalities = MODES[scored.task]
    clips = {
        (row["clip_id"], row["item"]): row for row in results.clips(scored.collection).to_pylist()
    }
    files = results.paths(scored.collection)
    sizes = {m: results.shapes(scored.model, m, scored.collection) for m in modalities}
    items = []
    for row in scored.rows.to_pylist():
        clip_id, success = row["clip_id"], row["status"] == "ok"
        clip = clips.get((clip_id, row["item"]), {})
        found = dict(zip(("video", "audio"), files.get(clip_id, (None, None)), strict=True))
        item: Item = {"index": clip.get("prompt_index")}
        item |= {f"{m}_path": found[m] for m in modalities}
        if len(modalities) == 1:
            item[f"{modalities[0]}_prompt"] = clip.get(f"{modalities[0]}_prompt")
        item |= {"success": success, "error": None if success else _error(row)}
        item["similarity"] = row["value"] if success else None
        item |= {f"{m}_embedding_shape": sizes[m].get(clip_id) for m in modalities}
        if len(modalities) == 1:
            # Texts and clips share one space, so a scored prompt has the clip's shape.
            item["text_embedding_shape"] = sizes[modalities[0]].get(clip_id) if success else None
        items.append(item)
    path = f"{modalities[0]}_path"
    return sorted(items, key=lambda i: (i["index"] is None, i["index"] or 0, i[path] or ""))


def statistics_of(items: list[Item]) -> Item:
    """Counts and, when at least one item succeeded, its similarity; std has ddof 0."""
    values = np.array([item["similarity"] for item in items if item["success"]], dtype=float)
    statistics: Item = {
        "timestamp": _now(),
        "total_count": len(items),
        "successful_count": len(values),
        "failed_count": len(items) - len(values),
    }
    if len(values):
        statistics["similarity"] = {
            name: float(getattr(np, name)(values))
            for name in ("mean", "std", "min", "max", "median")
        }
    return statistics


def write_json(path: Path, content: Item) -> None:
    """JSON as the scripts wrote it: indented by 2, non-ASCII kept; NaN is refused."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def _error(row: Item) -> str:
    reason = row["reason"] or row["status"]
    return f"{reason}: {row['detail'] or REASONS.get(reason, 'no reason given')}"


def _now() -> str:
    return datetime.now().astimezone().isoformat(timespec="seconds")
