"""The av_consistency folder of the ImageBind batch script."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from concord.files import atomic_path, write_text
from concord.report.features import one_line
from concord.report.results import Results, Scored
from concord.scores.ranking import CUTOFFS, rank_both_ways

MATRIX_LIMIT = 10_000  # pairs; the matrix of more would take over 400 MB


def write(results: Results, scored: Scored, folder: Path) -> None:
    """Write embeddings, names, pairs, similarity matrix, metrics and report of a collection.

    Row i of all of them is the i-th pair: the clips with a score, sorted by path.
    """
    files = results.paths(scored.collection)
    values = {
        row["clip_id"]: row["value"] for row in scored.rows.to_pylist() if row["status"] == "ok"
    }
    names = sorted(values, key=lambda name: files[name])
    audio, video = (
        _stack(results.vectors(scored.model, modality, scored.collection), names)
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
    metrics: dict[str, Any] = {
        "audio_count": len(names),
        "video_count": len(names),
        "failed_count": len(scored.rows) - len(names),
        "metrics": {},
    }
    if names:
        metrics["metrics"] = {
            **_paired([values[name] for name in names]),
            **_moments(_unit(audio), _unit(video)),
            **_retrieval(results, scored, audio, video),
        }
    if len(names) > MATRIX_LIMIT:
        metrics["note"] = f"similarity_matrix.npy is left out above {MATRIX_LIMIT} pairs"
    elif names:
        _save(folder / "similarity_matrix.npy", _unit(audio) @ _unit(video).T)
    write_text(folder / "metrics.json", json.dumps(metrics, indent=2, ensure_ascii=False) + "\n")
    write_text(folder / "consistency_report.txt", _report(scored, metrics))


def _paired(similarities: list[float]) -> dict[str, float]:
    return {
        f"paired_similarity_{name}": float(getattr(np, name)(similarities))
        for name in ("mean", "std", "min", "max")
    }


def _moments(audio: np.ndarray, video: np.ndarray) -> dict[str, float]:
    """Mean and std of the matrix of all cosines of unit vectors [N, D], without the matrix.

    std has ddof 1, as in the script's retrieval mode.
    """
    n = len(audio)
    a, v = audio.astype(np.float64), video.astype(np.float64)
    mean = float(a.sum(0) @ v.sum(0)) / n**2
    squares = float(((a.T @ a) * (v.T @ v)).sum())
    variance = max(squares - n**2 * mean**2, 0.0) / (n**2 - 1) if n > 1 else 0.0
    return {"similarity_matrix_mean": mean, "similarity_matrix_std": variance**0.5}


def _retrieval(
    results: Results, scored: Scored, audio: np.ndarray, video: np.ndarray
) -> dict[str, float]:
    """How sounds find their pictures: the numbers of the tables, ranked here if they have none."""
    if ("retrieval", scored.model) in results.layout.scored(scored.collection):
        rows = results.score("retrieval", scored.model, scored.collection).rows.to_pylist()
        rows = [r for r in rows if r["direction"] == "audio_to_video" and r["status"] == "ok"]
        rank = np.array([row["rank"] for row in rows])
        recall = {k: np.array([row[f"recall_at_{k}"] for row in rows]) for k in CUTOFFS}
    else:
        own, seed = np.arange(len(audio)), results.config.statistics.seed
        ranking, _ = rank_both_ways(audio, video, own, own, seed=seed)
        rank, recall = ranking.rank, ranking.recall
    return {
        **{f"recall_at_{k}": float(recall[k].mean()) for k in CUTOFFS},
        "mean_rank": float(rank.mean()),
        "median_rank": float(np.median(rank)),
    }


def _unit(vectors: np.ndarray) -> np.ndarray:
    unit: np.ndarray = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit


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
