"""Results in the file formats of the batch scripts that Concord replaces: results/exports/.

    {model}/{mode}/{collection}_{mode}.json       statistics and a result for every clip
    {model}/{mode}/{collection}_{mode}/           embeddings, names, pairs, metrics, report: of the
                                                  modes without text, such as av_consistency
    {model}/features/{collection}/                features.npy, .pkl, .h5, .parquet, their paths
    {model}/summary.json                          every mode of the model, as the script's
    summary.json                                  the statistics of all models

A mode is a task that compares a pair. Names are those of collections, which are unique, so nothing
overwrites anything. docs/moving.md tells users of the scripts what differs.
"""

import json
import os
import shutil
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from concord.config import Config
from concord.files import write_text
from concord.models.base import Modality
from concord.remote.urls import common_folder
from concord.report import feature_exports, pairs
from concord.report.results import Results, Scored
from concord.scores.tasks import PAIRS, prompt_column
from concord.tables import REASONS

Item = dict[str, Any]


def export(config: Config) -> None:
    """Write results/exports anew from the score and embedding tables."""
    results, folder = Results(config), config.results / "exports"
    shutil.rmtree(folder, ignore_errors=True)
    models: dict[str, Item] = {model: {} for model in config.models}
    for scored in results.scored(PAIRS):
        written = _export_mode(results, scored, folder / scored.model)
        models[scored.model].setdefault(scored.task, {})[scored.collection] = written
    everything: Item = {"timestamp": _now(), "limited": config.limit is not None, "models": {}}
    for model, modes in models.items():
        for collection in config.collections:
            feature_exports.write(
                results, model, collection, folder / model / "features" / collection
            )
        summary = {mode: _summary(mode, list(done.values())) for mode, done in modes.items()}
        write_json(folder / model / "summary.json", summary)
        everything["models"][model] = {
            mode: {name: written["result"]["statistics"] for name, written in done.items()}
            for mode, done in modes.items()
        }
    write_json(folder / "summary.json", everything)


def _export_mode(results: Results, scored: Scored, folder: Path) -> Item:
    """Write one mode of one collection; returns its entry in the summary, without the items."""
    mode, collection = scored.task, scored.collection
    config, shown = results.config, _embedded(mode)
    prompts = config.prompt_set(collection)
    directories = {f"{m}_dir": _directory(results, collection, m) for m in shown}
    content: Item = {
        **directories,
        "json_file": str(config.prompts[prompts].path) if prompts else None,
    }
    path = folder / mode / f"{collection}_{mode}.json"
    if len(shown) == 2:
        for side in pairs.sides(mode):
            content[f"{side}_count"] = _count(results, scored.model, collection, side)
        content["metrics"] = pairs.write(results, scored, path.with_suffix(""))
    items = results_of(results, scored)
    content["statistics"] = statistics_of(items)
    write_json(path, {**content, "results": items})
    return {**directories, "output_file": str(path), "status": "success", "result": content}


def _embedded(mode: str) -> list[Modality]:
    """The modalities of a mode that are files."""
    return [modality for modality in PAIRS[mode] if modality != "text"]


def _directory(results: Results, collection: str, modality: Modality) -> str:
    """The folders of a modality: as configured, else where its files beside the clips lie."""
    source = results.config.collections[collection]
    if modality != "video" and (named := getattr(source, modality)):
        return str(named)
    clips = results.files(collection, "video")
    beside = {
        os.path.dirname(path)  # noqa: PTH120 (a text, as wide as a million of them)
        for clip, path in results.files(collection, modality).items()
        if path != clips.get(clip)
    }
    return common_folder(beside) if beside else ", ".join(map(str, source.path))


def _count(results: Results, model: str, collection: str, modality: Modality) -> int:
    """How many clips have a file or a stream of a modality, whether or not it could be used."""
    files = results.files(collection, modality)
    rows = results.embeddings(model, modality, collection, ["id", "reason"])
    reasons = zip(rows["id"].to_pylist(), rows["reason"].to_pylist(), strict=True)
    absent = (f"no_{modality}_stream", "still_image")
    return sum(clip in files and reason not in absent for clip, reason in reasons)


def results_of(results: Results, scored: Scored) -> list[Item]:
    """One item a score row, with all keys of its mode; order: prompt index, then path."""
    mode, collection = scored.task, scored.collection
    shown, prompt = _embedded(mode), prompt_column(mode)
    clips = {(row["clip_id"], row["item"]): row for row in results.clips(collection).to_pylist()}
    files = {m: results.files(collection, m) for m in shown}
    shape = [1, results.note(scored.model, shown[0], collection).get("dim")]
    items = []
    for row in scored.rows.to_pylist():
        success = row["status"] == "ok"
        clip = clips.get((row["clip_id"], row["item"]), {})
        item: Item = {"index": clip.get("prompt_index")}
        item |= {f"{m}_path": files[m].get(row["clip_id"]) for m in shown}
        if "text" in PAIRS[mode]:
            item[prompt] = clip.get(prompt) or (None if item["index"] is None else "")
        item |= {"success": success, "error": None if success else _error(row)}
        item["similarity"] = row["value"] if success else None
        # The two share one space, and so their shape.
        item |= {f"{m}_embedding_shape": shape if success else None for m in PAIRS[mode]}
        items.append(item)
    path = f"{shown[0]}_path"
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


def _summary(mode: str, written: list[Item]) -> Item:
    """A mode's part of a model's summary.json; whatever ends well enough to be written is done."""
    files = {entry["result"]["json_file"]: None for entry in written}
    return {
        "timestamp": _now().replace("T", " ")[:19],
        "mode": mode,
        "json_file": ", ".join(file for file in files if file) or None,
        "total_tests": len(written),
        "completed_tests": len(written),
        "failed_tests": 0,
        "results": written,
    }


def write_json(path: Path, content: Item) -> None:
    """JSON as the scripts wrote it: indented by 2, non-ASCII kept; NaN is refused."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def _error(row: Item) -> str:
    reason = row["reason"] or row["status"]
    return f"{reason}: {row['detail'] or REASONS.get(reason, 'no reason given')}"


def _now() -> str:
    return datetime.now().astimezone().isoformat(timespec="seconds")
