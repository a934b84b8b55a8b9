"""The av_consistency folder of the ImageBind batch script."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from concord.config import Config
from concord.files import atomic_path, write_text
from concord.report import results
from concord.report.features import one_line
from concord.report.results import Scored

MATRIX_LIMIT = 10_000  # pairs; the matrix of more would take over 400 MB
BLOCK = 1024


def write(config: Config, scored: Scored, folder: Path) -> None:
    """Write embeddings, names, pairs, similarity matrix, metrics and report of a collection.

    Row i of all of them is the i-th pair: the clips with a score, sorted by path.
    """
    files = results.paths(config, scored.collection)
    values = {
        row["clip_id"]: row["value"] for row in scored.rows.to_pylist() if row["status"] == "ok"
    }
    names = sorted(values, key=lambda name: files[name])
    audio, video = (
        _stack(results.vectors(config, scored.model, modality, scored.collection), names)
        for modality in ("audio", "video")
    )
    folder.mkdir(parents=True, exist_ok=True)
    _save(folder / "audio_embeddings.npy", audio)
    _save(folder / "video_embeddings.npy", video)
    heard = [one_line(Path(files[name][1]).name) for name in names]
    seen = [one_line(Path(files[name][0]).name) for name in names]
    _lines(folder / "audio_names.txt", heard)
    _lines(folder / "video_names.txt", seen)
    _lines(folder / "pairs.txt", [f"{a}\t{v}" for a, v in zip(heard, seen, strict=True)])
    target = folder / "similarity_matrix.npy" if len(names) <= MATRIX_LIMIT else None
    metrics = {
        "audio_count": len(names),
        "video_count": len(names),
        "failed_count": len(scored.rows) - len(names),
        "metrics": _paired([values[name] for name in names]) | _matrix(audio, video, target),
    }
    if target is None:
        metrics["note"] = f"similarity_matrix.npy is left out above {MATRIX_LIMIT} pairs"
    write_text(folder / "metrics.json", json.dumps(metrics, indent=2, ensure_ascii=False) + "\n")
    write_text(folder / "consistency_report.txt", _report(scored, metrics))


def _paired(similarities: list[float]) -> dict[str, float]:
    if not similarities:
        return {}
    return {
        f"paired_similarity_{name}": float(getattr(np, name)(similarities))
        for name in ("mean", "std", "min", "max")
    }


def _matrix(audio: np.ndarray, video: np.ndarray, target: Path | None) -> dict[str, float]:
    """Moments of the matrix of all cosines and ranks of the pairs in it; saved to `target`.

    Rows are sounds. std has ddof 1, as in the script's retrieval mode. A tie counts half a place.
    """
    n = len(audio)
    if not n:
        return {}
    audio, video = (side / np.linalg.norm(side, axis=1, keepdims=True) for side in (audio, video))
    a, v = audio.astype(np.float64), video.astype(np.float64)
    # Sums over the matrix a v' without the matrix: of its entries, and of their squares.
    mean = float(a.sum(0) @ v.sum(0)) / n**2
    squares = float(((a.T @ a) * (v.T @ v)).sum())
    variance = max(squares - n**2 * mean**2, 0.0) / (n**2 - 1) if n > 1 else 0.0
    ranks, blocks = np.empty(n), []
    for first in range(0, n, BLOCK):
        block = audio[first : first + BLOCK] @ video.T
        rows = np.arange(len(block))
        own = block[rows, first + rows][:, None]
        before, tied = ((block > own).sum(1), (block == own).sum(1) - 1)
        ranks[first : first + BLOCK] = before + 0.5 * tied + 1
        if target:
            blocks.append(block)
    if target:
        _save(target, np.concatenate(blocks))
    return {
        "similarity_matrix_mean": mean,
        "similarity_matrix_std": variance**0.5,
        **{f"recall_at_{k}": float((ranks <= k).mean()) for k in (1, 5, 10)},
        "mean_rank": float(ranks.mean()),
        "median_rank": float(np.median(ranks)),
    }


def _report(scored: Scored, metrics: dict[str, Any]) -> str:
    lines = [
        "Audio-video consistency",
        "=" * 60,
        f"collection: {scored.collection}",
        f"model: {scored.model} (protocol {scored.protocol_id})",
        f"pairs: {metrics['video_count']}",
        f"without a score: {metrics['failed_count']}",
        "",
        *(f"{name}: {value:.6f}" for name, value in metrics["metrics"].items()),
    ]
    if "note" in metrics:
        lines += ["", metrics["note"]]
    return "\n".join(lines) + "\n"


def _stack(found: dict[str, np.ndarray], names: list[str]) -> np.ndarray:
    if not names:
        return np.zeros((0, 0), np.float32)
    return np.stack([found[name] for name in names]).astype(np.float32, copy=False)


def _save(path: Path, array: np.ndarray) -> None:
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.save(file, array)


def _lines(path: Path, lines: list[str]) -> None:
    write_text(path, "".join(f"{line}\n" for line in lines))
