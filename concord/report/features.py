"""Clip features in the formats of the CLIP batch script, and in HDF5."""

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from concord.files import atomic_path, write_text
from concord.report.results import Results


def write(results: Results, model: str, collection: str, folder: Path) -> None:
    """Write the video embeddings of a collection, sorted by path, if it has any.

    features.json tells what they are: shape, range, and the clips left out with their reasons.
    """
    if (model, "video") not in results.embedded(collection):
        return
    table = results.embeddings(model, "video", collection, ["id", "status", "reason"])
    paths = _paths(results, collection)
    found = results.vectors(model, "video", collection)
    names = sorted(found, key=lambda name: paths.get(name, name))
    matrix = np.stack([found[n] for n in names]) if names else np.zeros((0, 0), np.float32)
    matrix = matrix.astype(np.float32, copy=False)
    listed = [paths.get(name, name) for name in names]
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_path(folder / "features.npy") as temporary, temporary.open("wb") as file:
        np.save(file, matrix)
    with atomic_path(folder / "features.pkl") as temporary, temporary.open("wb") as file:
        pickle.dump({"features": matrix, "video_paths": listed}, file, protocol=4)
    _write_h5(folder / "features.h5", matrix, listed)
    write_text(folder / "video_paths.txt", "".join(one_line(path) + "\n" for path in listed))
    left_out = [
        {"video_path": paths.get(row["id"], row["id"]), "reason": row["reason"]}
        for row in table.to_pylist()
        if row["status"] != "ok"
    ]
    content = {"model": model, "shape": list(matrix.shape), **_range(matrix), "left_out": left_out}
    write_text(folder / "features.json", json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def one_line(text: str) -> str:
    """The text on one line of a list: backslash, newline and tab as in a Python string."""
    return text.translate({92: "\\\\", 10: "\\n", 13: "\\r", 9: "\\t"})


def _paths(results: Results, collection: str) -> dict[str, str]:
    rows = results.clips(collection).select(["clip_id", "path"])
    return dict(zip(*(column.to_pylist() for column in rows.columns), strict=True))


def _write_h5(path: Path, matrix: np.ndarray, listed: list[str]) -> None:
    import h5py

    with atomic_path(path) as temporary, h5py.File(temporary, "w", locking=False) as file:
        file.create_dataset("features", data=matrix)
        file.create_dataset("video_paths", data=listed, dtype=h5py.string_dtype("utf-8"))


def _range(matrix: np.ndarray) -> dict[str, Any]:
    if not matrix.size:
        return {"finite": True, "min": None, "max": None}
    return {
        "finite": bool(np.isfinite(matrix).all()),
        "min": float(matrix.min()),
        "max": float(matrix.max()),
    }
