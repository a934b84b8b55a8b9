"""The writers of the batch scripts that Concord replaces, as their users know them.

Written for the tests from the description of the formats, with the faults they are known for.
Embeddings are given: a vector, or the exception that embedding the file would raise.
"""

import json
import pickle
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

VIDEO = (".mp4", ".avi", ".mov", ".mkv", ".webm")
AUDIO = (".wav", ".mp3", ".flac", ".m4a", ".ogg")
FEATURE_VIDEO = (".mp4", ".avi", ".mov", ".mkv", ".flv", ".wmv", ".webm")
Vectors = Mapping[str, np.ndarray | Exception]
Json = dict[str, Any]


def find(folder: Path, index: int, kind: str) -> Path | None:
    """The first file that exists: names in their order, in each name extensions in theirs."""
    names = [f"sample_{index:04d}", f"sample_{index}", f"{index:04d}", f"{index}"]
    names += [f"{kind}_{index:04d}", f"{kind}_{index}"]
    tried = (folder / f"{n}{e}" for n in names for e in (VIDEO if kind == "video" else AUDIO))
    return next((path for path in tried if path.exists()), None)


def text_mode(
    kind: str, folder: Path, prompts: Path, vectors: Vectors, texts: Vectors, out: Path
) -> Json:
    """The modes video_text and audio_text; returns the entry of summary.json."""
    items = []
    for prompt in json.loads(prompts.read_text(encoding="utf-8")):
        path = find(folder, prompt["index"], kind)
        text = prompt.get(f"{kind}_prompt", "")
        item: Json = {"index": prompt["index"], f"{kind}_path": None, f"{kind}_prompt": text}
        item |= {"success": False, "error": None, "similarity": None}
        if path is None:
            item["error"] = f"no file of index {prompt['index']}"
            items.append(item)
            continue
        item |= {f"{kind}_path": str(path), f"{kind}_embedding_shape": None}
        item |= {"text_embedding_shape": None}
        try:
            vector = _embedded(vectors, str(path))[None]
            if not text:
                raise ValueError(f"{kind}_prompt is empty")
            other = _embedded(texts, text)[None]
            item["similarity"] = float((_unit(vector)[0] * _unit(other)[0]).sum())
            item[f"{kind}_embedding_shape"] = list(vector.shape)
            item["text_embedding_shape"] = list(other.shape)
            item["success"] = True
        except ValueError as error:
            item["error"] = str(error)
        items.append(item)
    content = {f"{kind}_dir": str(folder), "json_file": str(prompts)}
    content |= {"statistics": _statistics(items), "results": items}
    path = out / f"{kind}_text" / f"{folder.name}_{kind}_text.json"
    _dump(path, content)
    where = {f"{kind}_dir": str(folder), "output_file": str(path)}
    return {**where, "status": "success", "result": content}


def av_consistency(
    folder: Path, sounds: Path, vectors: Vectors, out: Path, *, retrieval: bool, batch: int = 4
) -> Json:
    """The mode av_consistency: pairs of equal stem; returns the entry of summary.json."""
    video, audio = _files(folder, VIDEO), _files(sounds, AUDIO)
    stems = sorted({p.stem for p in video} & {p.stem for p in audio})
    pairs = [
        (next(p for p in audio if p.stem == stem), next(p for p in video if p.stem == stem))
        for stem in stems
    ]
    heard, audio_names = _in_batches([a for a, _ in pairs], vectors, batch)
    seen, video_names = _in_batches([v for _, v in pairs], vectors, batch)
    matrix: Any = _unit(heard) @ _unit(seen).T
    paired = [float(value) for value in np.diag(matrix)]  # row i is taken for pair i
    metrics: Json = {
        f"paired_similarity_{name}": float(getattr(np, name)(paired))
        for name in ("mean", "std", "min", "max")
    }
    metrics["paired_similarities"] = paired
    if retrieval:
        ranks = [_rank(row, i if i < len(row) else 0) for i, row in enumerate(matrix)]
        metrics["mean_rank"] = float(np.mean(ranks))
        metrics["median_rank"] = float(np.median(ranks))
        metrics |= {f"recall_at_{k}": float(np.mean(np.array(ranks) <= k)) for k in (1, 5, 10)}
        metrics["similarity_matrix_mean"] = float(matrix.mean())
        with np.errstate(all="ignore"):
            metrics["similarity_matrix_std"] = float(matrix.std(ddof=1))
    else:
        matrix = np.array(paired)
        metrics["similarity_matrix_mean"] = metrics["paired_similarity_mean"]
        metrics["similarity_matrix_std"] = metrics["paired_similarity_std"]
    beside = out / "av_consistency" / f"{folder.name}_av_consistency"
    beside.mkdir(parents=True)
    np.save(beside / "audio_embeddings.npy", heard)
    np.save(beside / "video_embeddings.npy", seen)
    np.save(beside / "similarity_matrix.npy", matrix)
    _lines(beside / "audio_names.txt", audio_names)
    _lines(beside / "video_names.txt", video_names)
    _lines(beside / "pairs.txt", (f"{a}\t{v}" for a, v in pairs))
    _dump(beside / "metrics.json", metrics)
    where = {"video_dir": str(folder), "audio_dir": str(sounds)}
    counts = {"audio_count": len(audio), "video_count": len(video)}
    content = {**where, **counts, "metrics": metrics}
    path = beside.with_suffix(".json")
    _dump(path, content)
    return {**where, "output_file": str(path), "status": "success", "result": content}


def summary(out: Path, modes: Mapping[str, list[Json]], prompts: Path) -> None:
    """The file summary.json of all modes."""
    content = {}
    for mode, entries in modes.items():
        content[mode] = {"timestamp": datetime.now().strftime("%Y-%m-%d %H:%M:%S"), "mode": mode}
        content[mode] |= {"json_file": str(prompts)} if mode != "av_consistency" else {}
        content[mode] |= {"total_tests": len(entries), "completed_tests": len(entries)}
        content[mode] |= {"failed_tests": 0, "results": entries}
    _dump(out / "summary.json", content)


def features(folder: Path, vectors: Vectors, out: Path) -> None:
    """The CLIP script's two formats; one file that fails ends it."""
    paths = sorted(map(str, _files(folder, FEATURE_VIDEO)))
    matrix = np.vstack([_embedded(vectors, path) for path in paths])
    out.mkdir(parents=True)
    np.save(out / "features.npy", matrix)
    _lines(out / "video_paths.txt", paths)
    (out / "features.pkl").write_bytes(pickle.dumps({"features": matrix, "video_paths": paths}))


def _statistics(items: list[Json]) -> Json:
    values = [item["similarity"] for item in items if item["success"]]
    found: Json = {"timestamp": datetime.now().isoformat(), "total_count": len(items)}
    found |= {"successful_count": len(values), "failed_count": len(items) - len(values)}
    if values:
        names = ("mean", "std", "min", "max", "median")
        found["similarity"] = {name: float(getattr(np, name)(values)) for name in names}
    return found


def _rank(similarities: np.ndarray, right: int) -> int:
    return int(np.where(np.argsort(similarities)[::-1] == right)[0][0]) + 1


def _in_batches(paths: list[Path], vectors: Vectors, size: int) -> tuple[np.ndarray, list[str]]:
    """Embeddings and names; one exception drops its whole batch."""
    rows, names = [], []
    for start in range(0, len(paths), size):
        batch = paths[start : start + size]
        try:
            rows += [_embedded(vectors, str(path)) for path in batch]
        except ValueError:
            continue
        names += [path.stem for path in batch]
    return np.stack(rows), names


def _embedded(vectors: Vectors, name: str) -> np.ndarray:
    found = vectors[name]
    if isinstance(found, Exception):
        raise found
    return found


def _files(folder: Path, extensions: Iterable[str]) -> list[Path]:
    wanted = {*extensions, *map(str.upper, extensions)}
    return sorted(path for path in folder.rglob("*") if path.suffix in wanted)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _dump(path: Path, content: Json) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False), encoding="utf-8")


def _lines(path: Path, lines: Iterable[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
