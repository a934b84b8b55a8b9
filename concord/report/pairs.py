"""What the ImageBind batch script kept of the pairs of a collection: a folder beside their JSON."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from concord.files import write_text
from concord.models.base import Modality
from concord.report.feature_exports import one_line, save_array
from concord.report.results import Results, Scored
from concord.scores.ranking import CUTOFFS
from concord.scores.tasks import PAIRS, task_info

MATRIX_LIMIT = 10_000  # pairs; the matrix of more would take over 400 MB
_BLOCK = 10_000  # vectors that are copied at a time
_CORNER = 10  # rows and columns of the matrix in the report
_MOMENTS = ("mean", "std")
_LIST = "paired_similarities"

Array = npt.NDArray[Any]
Metrics = dict[str, Any]


def sides(task: str) -> tuple[Modality, Modality]:
    """Rows and columns of a task's similarity matrix; in av_consistency the sounds are the rows."""
    first, second = PAIRS[task]
    return (second, first) if task == "av_consistency" else (first, second)


def write(results: Results, scored: Scored, folder: Path) -> Metrics:
    """Write embeddings, names, pairs, similarities, metrics and report of a collection.

    Row i of all of them is the i-th pair: the clips with a score, sorted by the stem of their
    file. With the task retrieval, similarity_matrix.npy is the matrix [N, N] of all of them and
    the metrics have the ranks; without, it is the similarities [N] of the pairs alone. Returns the
    metrics, {} without a pair.
    """
    values = {
        row["clip_id"]: row["value"] for row in scored.rows.to_pylist() if row["status"] == "ok"
    }
    own = results.files(scored.collection, "video")
    clips = sorted(values, key=lambda clip: (Path(own[clip]).stem, own[clip]))
    vectors, files = [], []
    for side in sides(scored.task):
        vectors.append(_rows(results, scored, side, clips))
        found = results.files(scored.collection, side)
        files.append([found[clip] for clip in clips])
        save_array(folder / f"{side}_embeddings.npy", vectors[-1])
        _write_lines(folder / f"{side}_names.txt", ((Path(file).stem,) for file in files[-1]))
    _write_lines(folder / "pairs.txt", zip(*files, strict=True))
    matrix = np.array([values[clip] for clip in clips])
    metrics: Metrics = {}
    if clips and _retrieved(results, scored):
        metrics = _paired(matrix) | _ranks(results, scored) | _moments(*vectors)
        matrix = _matrix(*vectors)
    elif clips:
        metrics = _paired(matrix)
        metrics |= {f"similarity_matrix_{k}": metrics[f"paired_similarity_{k}"] for k in _MOMENTS}
    content = json.dumps(metrics, indent=2, ensure_ascii=False, allow_nan=False)
    write_text(folder / "metrics.json", content + "\n")
    if matrix.size:
        save_array(folder / "similarity_matrix.npy", matrix)
    write_text(folder / "consistency_report.txt", _report(scored, metrics, files, matrix))
    return metrics


def _rows(results: Results, scored: Scored, side: Modality, clips: list[str]) -> Array:
    ids, vectors = results.vectors(scored.model, side, scored.collection)
    place = {clip: row for row, clip in enumerate(ids)}
    return vectors[np.array([place[clip] for clip in clips], np.intp)]


def _retrieved(results: Results, scored: Scored) -> bool:
    return ("retrieval", scored.model) in results.layout.scored(scored.collection)


def _paired(similarities: Array) -> Metrics:
    """Metrics of the pairs alone; std has ddof 0."""
    return {
        "paired_similarity_mean": float(similarities.mean()),
        "paired_similarity_std": float(similarities.std()),
        "paired_similarity_min": float(similarities.min()),
        "paired_similarity_max": float(similarities.max()),
        _LIST: similarities.tolist(),
    }


def _ranks(results: Results, scored: Scored) -> Metrics:
    """How the rows find their columns, by the table of retrieval."""
    direction = "{}_to_{}".format(*sides(scored.task))
    rows = results.score("retrieval", scored.model, scored.collection).rows.to_pylist()
    rows = [row for row in rows if row["direction"] == direction and row["status"] == "ok"]
    return {
        "mean_rank": float(np.mean([row["rank"] for row in rows])),
        "median_rank": float(np.median([row["rank"] for row in rows])),
        **{
            f"recall_at_{k}": float(np.mean([row[f"recall_at_{k}"] for row in rows]))
            for k in CUTOFFS
        },
    }


def _moments(left: Array, right: Array) -> Metrics:
    """Mean and std (ddof 1) of all cosines of vectors [N, D] and [N, D], without the matrix.

    One cosine has no such std: None.
    """
    n = len(left)
    (left_sum, left_gram), (right_sum, right_gram) = _sums(left), _sums(right)
    mean = float(left_sum @ right_sum) / n**2
    squares = float((left_gram * right_gram).sum())
    variance = max(squares - n**2 * mean**2, 0.0) / (n**2 - 1) if n > 1 else None
    std = None if variance is None else variance**0.5
    return {"similarity_matrix_mean": mean, "similarity_matrix_std": std}


def _sums(vectors: Array) -> tuple[Array, Array]:
    """Sum [D] and Gram matrix [D, D] of the unit vectors, in float64, block by block."""
    width = vectors.shape[1]
    total, gram = np.zeros(width), np.zeros((width, width))
    for start in range(0, len(vectors), _BLOCK):
        block = _unit(vectors[start : start + _BLOCK]).astype(np.float64)
        total += block.sum(0)
        gram += block.T @ block
    return total, gram


def _matrix(left: Array, right: Array) -> Array:
    """The cosines [N, N], float32; empty where there would be too many."""
    if len(left) > MATRIX_LIMIT:
        return np.zeros((0, 0), np.float32)
    matrix: Array = _unit(left) @ _unit(right).T
    return matrix


def _unit(vectors: Array) -> Array:
    unit: Array = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit


def _report(scored: Scored, metrics: Metrics, files: list[list[str]], matrix: Array) -> str:
    left, right = sides(scored.task)
    n = len(files[0])
    lines = [
        f"{task_info(scored.task).title} of {scored.collection}",
        "=" * 60,
        f"model: {scored.model} (protocol {scored.protocol_id})",
        f"pairs: {n}",
        f"without a score: {len(scored.rows) - n}",
        "",
        *(f"{name}: {_shown(value)}" for name, value in metrics.items() if name != _LIST),
        "",
        f"{left} <-> {right}",
        *(
            f"{one_line(Path(a).stem)} <-> {one_line(Path(b).stem)}: {value:.4f}"
            for a, b, value in zip(*files, metrics.get(_LIST, []), strict=True)
        ),
    ]
    if n and not matrix.size:
        lines += ["", f"similarity_matrix.npy is left out above {MATRIX_LIMIT} pairs"]
    elif matrix.ndim == 2 and n:
        lines += ["", f"the first {_CORNER} rows and columns of similarity_matrix.npy"]
        lines += ["\t".join(f"{x:.4f}" for x in row) for row in matrix[:_CORNER, :_CORNER]]
    return "\n".join(lines) + "\n"


def _shown(value: float | None) -> str:
    return "none" if value is None else f"{value:.6f}"


def _write_lines(path: Path, rows: Iterable[Iterable[str]]) -> None:
    write_text(path, "".join("\t".join(map(one_line, row)) + "\n" for row in rows))
