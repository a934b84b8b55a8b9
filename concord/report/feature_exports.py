"""Clip features in the formats of the CLIP batch script, in HDF5 and in Parquet."""

import json
import pickle
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from concord.files import atomic_path, write_text
from concord.models.base import Modality
from concord.report.results import Results
from concord.report.spreadsheet import write_rows
from concord.scores.gather import lengths

Matrix = npt.NDArray[np.float32]
_FAILURE = ("path", "status", "reason", "detail")
_FLOATS_A_ROW_GROUP = 2**26
"""Of Parquet, whose lists are counted in 32 bits when they are written and read."""
_SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("clip_id", "path", "label")),
        ("features", pa.list_(pa.float32())),
    ]
)


@dataclass(frozen=True)
class Features:
    """The features [N, D] of N clips of one modality, sorted by the path of their file.

    `left_out` are the other files of the collection, as rows of `_FAILURE`.
    """

    modality: Modality
    matrix: Matrix
    clips: list[str]
    paths: list[str]
    labels: list[str | None]
    left_out: list[dict[str, str | None]]


def write(results: Results, model: str, collection: str, folder: Path) -> None:
    """Write what a model made of a collection's clips: pictures in `folder`, others in MODALITY/.

    Nothing is written of a modality that no task asks the model for. features.json says what the
    features are, failures.csv which files have none and why.
    """
    for owner, modality in results.embedded(collection):
        if owner != model:
            continue
        features = _gather(results, model, modality, collection)
        place = folder if modality == "video" else folder / modality
        _write_formats(features, place)
        note = results.note(model, modality, collection)
        facts = {"model": model, "protocol_id": note.get("protocol_id"), **_facts(features)}
        write_text(place / "features.json", json.dumps(facts, indent=2, ensure_ascii=False) + "\n")


def one_line(text: str) -> str:
    """The text on one line of a list: backslash, newline and tab as in a Python string."""
    return text.translate({92: "\\\\", 10: "\\n", 13: "\\r", 9: "\\t"})


def save_array(path: Path, array: npt.NDArray[Any]) -> None:
    """Write an array as .npy, atomically."""
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.save(file, array)


def _gather(results: Results, model: str, modality: Modality, collection: str) -> Features:
    files = results.files(collection, modality)
    rows = [row for row in results.clips(collection).to_pylist() if row["clip_id"] is not None]
    own = {row["clip_id"]: row["path"] for row in rows}
    labels = results.labels(collection)
    ids, matrix = results.vectors(model, modality, collection)
    norms = lengths(matrix)
    usable = np.isfinite(norms) & (norms > 0)
    order = sorted(np.flatnonzero(usable).tolist(), key=lambda i: files[ids[i]])
    left_out = [{name: row[name] for name in _FAILURE} for row in rows if row["status"] != "ok"]
    columns = ["id", "status", "reason", "detail"]
    for row in results.embeddings(model, modality, collection, columns).to_pylist():
        if row["status"] != "ok":
            path = files.get(row["id"], own.get(row["id"]))
            left_out.append({name: row.get(name, path) for name in _FAILURE})
    for i in np.flatnonzero(~usable):
        detail = f"the embedding has norm {norms[i]}"
        found = (files[ids[i]], "failed", "not_finite", detail)
        left_out.append(dict(zip(_FAILURE, found, strict=True)))
    return Features(
        modality,
        matrix[np.array(order, np.intp)],
        [ids[i] for i in order],
        [files[ids[i]] for i in order],
        [labels.get(ids[i], {}).get("label") for i in order],
        sorted(left_out, key=lambda row: str(row["path"])),
    )


def _write_formats(features: Features, folder: Path) -> None:
    """Write the formats of the script, with its names; labels only where there are any."""
    paths = f"{features.modality}_paths"
    content: dict[str, Any] = {"features": features.matrix, paths: features.paths}
    if any(label is not None for label in features.labels):
        content["labels"] = features.labels
    save_array(folder / "features.npy", features.matrix)
    write_text(folder / f"{paths}.txt", "".join(one_line(p) + "\n" for p in features.paths))
    with atomic_path(folder / "features.pkl") as temporary, temporary.open("wb") as file:
        pickle.dump(content, file, protocol=4)
    _write_h5(folder / "features.h5", content)
    _write_parquet(folder / "features.parquet", features)
    write_rows(folder / "failures.csv", _FAILURE, features.left_out)


def _write_h5(path: Path, content: dict[str, Any]) -> None:
    """Write a dataset an entry; a clip without a label has the empty text."""
    import h5py

    with atomic_path(path) as temporary, h5py.File(temporary, "w", locking=False) as file:
        for name, values in content.items():
            if isinstance(values, list):
                texts = [value or "" for value in values]
                file.create_dataset(name, data=texts, dtype=h5py.string_dtype("utf-8"))
            else:
                file.create_dataset(name, data=values)


def _write_parquet(path: Path, features: Features) -> None:
    texts: list[Sequence[str | None]] = [features.clips, features.paths, features.labels]
    n, dim = features.matrix.shape
    step = max(1, _FLOATS_A_ROW_GROUP // max(1, dim))
    options = {"compression": "zstd", "use_dictionary": ["label"]}
    with atomic_path(path) as temporary, pq.ParquetWriter(temporary, _SCHEMA, **options) as file:
        for start in range(0, n, step):
            part = slice(start, start + step)
            columns = [pa.array(column[part], pa.string()) for column in texts]
            columns.append(_lists(features.matrix[part]))
            file.write_table(pa.table(columns, schema=_SCHEMA))


def _lists(matrix: Matrix) -> pa.Array:
    """The rows of a matrix [N, D] as lists."""
    n, dim = matrix.shape
    offsets = pa.array(np.arange(n + 1, dtype=np.int32) * np.int32(dim))
    return pa.ListArray.from_arrays(offsets, pa.array(matrix.reshape(-1)))


def _facts(features: Features) -> dict[str, Any]:
    """Shape, range and lengths of the features, and how many files were left out, by reason."""
    matrix = features.matrix
    facts: dict[str, Any] = {
        "modality": features.modality,
        "shape": list(matrix.shape),
        "dtype": str(matrix.dtype),
        "finite": bool(np.isfinite(matrix).all()),
    }
    norms = np.linalg.norm(matrix, axis=1)
    for name, values in (("", matrix), ("norm_", norms)):
        facts[f"{name}min"] = float(values.min()) if matrix.size else None
        facts[f"{name}max"] = float(values.max()) if matrix.size else None
    reasons = Counter(row["reason"] or row["status"] for row in features.left_out)
    return facts | {"left_out": len(features.left_out), "reasons": dict(sorted(reasons.items()))}
