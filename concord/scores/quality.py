"""Checks of an embedding table: what no score that rests on it would show.

Vectors are read shard by shard and only norms, digests and sums are kept, so that a million clips
need no more memory than one shard.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from concord.errors import UserError
from concord.feature_tables import QUALITY
from concord.models.base import Modality
from concord.protocol import protocol_id
from concord.scores.inputs import different_inputs
from concord.tables import EMBEDDINGS, read_metadata, read_table, write_table

Row = dict[str, Any]
Floats = npt.NDArray[np.float64]

EXAMPLES = 5
LEAST_FOR_RANK = 10
"""Vectors below which their effective rank says nothing."""
_BLOCK = 8192


@dataclass
class Tally:
    """What is kept of a table's vectors: of those without NaN and infinity, norm and digest."""

    n: int = 0
    not_finite: list[str] = field(default_factory=list)
    ids: list[pa.Array] = field(default_factory=list)
    norms: list[Floats] = field(default_factory=list)
    digests: list[npt.NDArray[np.uint64]] = field(default_factory=list)
    directed: int = 0
    total: Floats | None = None
    second: Floats | None = None

    def add(self, ids: pa.Array, vectors: npt.NDArray[np.float32]) -> None:
        """Count in a block of vectors [n, dim]."""
        finite = np.isfinite(vectors).all(axis=1)
        self.n += len(vectors)
        self.not_finite += ids.filter(pa.array(~finite)).to_pylist()
        vectors = vectors[finite]
        exact = vectors.astype(np.float64)
        norms = np.linalg.norm(exact, axis=1)
        self.ids.append(ids.filter(pa.array(finite)))
        self.norms.append(norms)
        self.digests.append(_digests(vectors))
        units = exact[norms > 0] / norms[norms > 0, None]
        self.directed += len(units)
        if self.total is None or self.second is None:
            self.total, self.second = np.zeros(units.shape[1]), np.zeros((units.shape[1],) * 2)
        self.total += units.sum(axis=0)
        self.second += units.T @ units

    def mean_cosine(self) -> float | None:
        """Mean cosine of all pairs of two different vectors; None without a pair."""
        if self.total is None or self.directed < 2:
            return None
        pairs = self.directed * (self.directed - 1)
        return float((self.total @ self.total - self.directed) / pairs)

    def effective_rank(self) -> float | None:
        """Effective rank of the unit vectors' covariance (Roy and Vetterli 2007); 0: all equal.

        The exponential of the entropy of its eigenvalues as shares. None for too few vectors.
        """
        if self.total is None or self.second is None or self.directed < LEAST_FOR_RANK:
            return None
        mean = self.total / self.directed
        eigenvalues = np.linalg.eigvalsh(self.second / self.directed - np.outer(mean, mean))
        eigenvalues = np.clip(eigenvalues, 0, None)
        if eigenvalues.sum() < 1e-9:  # rounding of float32 unit vectors
            return 0.0
        shares = eigenvalues[eigenvalues > 0] / eigenvalues.sum()
        return float(np.exp(-(shares * np.log(shares)).sum()))


def check(
    paths: Sequence[Path],
    output: Path,
    *,
    model: str,
    modality: Modality,
    source: str,
    origins: Sequence[Path],
    quality: Mapping[str, Any],
) -> None:
    """Check all shards of one modality; writes QUALITY to `output`, a row a check.

    `origins` are the MEDIA or COMPANION_FILES tables that say where each clip's files are, none for
    texts; `quality` is that section of the configuration. Raises UserError for shards of different
    dimensions, and for a failed check if the section's action is `fail`.
    """
    tally, failed = _read(paths)
    found = {
        "not_finite": _not_finite(tally, failed, quality),
        "zero": _zero(tally, quality),
        "collapsed": _collapsed(tally, quality),
        "effective_rank": _effective_rank(tally, quality),
        "duplicates": _duplicates(tally, modality, origins, quality),
        "norms": _norms(tally, quality),
    }
    protocols = {path: read_metadata(path).get("protocol_id") for path in paths}
    about = {"model": model, "modality": modality, "source": source}
    about["protocol_id"] = "+".join(sorted({str(p) for p in protocols.values()}))
    rows = [about | {"check": name} | row for name, row in found.items()]
    if quality["action"] == "fail":
        _refuse(rows, paths)
    limits = {key: value for key, value in quality.items() if key != "action"}
    write_table(output, QUALITY, rows, protocol=limits, protocol_id=protocol_id(limits))


def _refuse(rows: Sequence[Row], paths: Sequence[Path]) -> None:
    """Raise UserError with every failed check."""
    problems = [
        f"{paths[0].parent}: the check {row['check']} failed: {row['meaning']}; the limit, "
        f"quality.{row['check']}, is {row['limit']:g}"
        + (f"; found in {row['examples']}" if row["examples"] != "[]" else "")
        + f"; look at these inputs and at models.{row['model']}, change the limit, or write it "
        "down and go on with quality.action: record"
        for row in rows
        if row["status"] == "failed"
    ]
    if problems:
        raise UserError(*problems)


def _read(paths: Sequence[Path]) -> tuple[Tally, list[str]]:
    """What is kept of all vectors, and the ids whose embedding was refused as not finite."""
    tally, failed = Tally(), list[str]()
    for path in paths:
        table = read_table(path, EMBEDDINGS, ["id", "status", "reason", "views", "embedding"])
        by_model = pc.and_(pc.equal(table["reason"], "not_finite"), pc.is_valid(table["views"]))
        failed += table["id"].filter(pc.fill_null(by_model, False)).to_pylist()
        filled = table.filter(pc.equal(table["status"], "ok"))
        for ids, vectors in _blocks(filled):
            if tally.total is not None and len(tally.total) != vectors.shape[1]:
                raise UserError(
                    f"{path}: embeddings of {vectors.shape[1]} values found, {len(tally.total)} "
                    "expected; delete the file and run again"
                )
            tally.add(ids, vectors)
    return tally, failed


def _blocks(table: pa.Table) -> Iterator[tuple[pa.Array, npt.NDArray[np.float32]]]:
    for batch in table.select(["id", "embedding"]).to_batches(max_chunksize=_BLOCK):
        if len(batch):
            flat: npt.NDArray[np.float32] = batch["embedding"].flatten().to_numpy()
            yield batch["id"], flat.reshape(len(batch), -1)


def _digests(vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.uint64]:
    """64 bits of each vector [n]: of a million, two that differ agree once in 4e7 tables."""
    rows = np.ascontiguousarray(vectors + np.float32(0))  # -0 becomes 0
    digests = [hashlib.blake2b(row.data, digest_size=8).digest() for row in rows]
    return np.frombuffer(b"".join(digests), dtype=np.uint64)


def _not_finite(tally: Tally, failed: list[str], quality: Mapping[str, Any]) -> Row:
    found, n = [*failed, *tally.not_finite], tally.n + len(failed)
    return _counted(
        found, len(found), n, quality["not_finite"], "hold NaN or infinite values, so have no score"
    )


def _zero(tally: Tally, quality: Mapping[str, Any]) -> Row:
    found = _where(tally, _norms_of(tally) == 0)
    return _counted(
        found, len(found), tally.n, quality["zero"], "are zero, so have no direction and no score"
    )


def _norms(tally: Tally, quality: Mapping[str, Any]) -> Row:
    norms, factor = _norms_of(tally), quality["norm_factor"]
    positive = norms[norms > 0]
    if not len(positive):
        return _skipped(tally.n, quality["norms"], "no vectors with a norm")
    median = float(np.median(positive))
    outside = (norms > 0) & ((norms < median / factor) | (norms > median * factor))
    words = (
        f"have a norm further than a factor {factor:g} from the median {median:.4g}; norms reach "
        f"from {positive.min():.4g} to {positive.max():.4g}"
    )
    found = _where(tally, outside)
    return _counted(found, len(found), tally.n, quality["norms"], words)


def _duplicates(
    tally: Tally, modality: Modality, origins: Sequence[Path], quality: Mapping[str, Any]
) -> Row:
    digests = np.concatenate([*tally.digests, np.zeros(0, np.uint64)])
    directed = _norms_of(tally) > 0
    values, counts = np.unique(digests[directed], return_counts=True)
    repeated = directed & np.isin(digests, values[counts > 1])
    groups: dict[int, list[str]] = {}
    for digest, name in zip(digests[repeated].tolist(), _where(tally, repeated), strict=True):
        groups.setdefault(digest, []).append(name)
    alike = different_inputs(list(groups.values()), modality, origins)
    return _counted(
        [[name for members in zip_longest(*found) for name in members if name] for found in alike],
        sum(len(members) for found in alike for members in found[1:]),
        tally.n,
        quality["duplicates"],
        "equal the vector of a different input",
    )


def _collapsed(tally: Tally, quality: Mapping[str, Any]) -> Row:
    value, limit = tally.mean_cosine(), quality["collapsed"]
    if value is None:
        return _skipped(tally.n, limit, "fewer than two vectors")
    words = f"two different vectors have a mean cosine of {value:.4f}; near 1 all are nearly equal"
    return _judged(tally.n, value, limit, value > limit, words)


def _effective_rank(tally: Tally, quality: Mapping[str, Any]) -> Row:
    value, limit = tally.effective_rank(), quality["effective_rank"]
    if value is None:
        return _skipped(tally.n, limit, f"fewer than {LEAST_FOR_RANK} vectors")
    words = f"the vectors vary in effectively {value:.1f} dimensions"
    return _judged(tally.n, value, limit, value < limit, words)


def _counted(found: Sequence[Any], count: int, n: int, limit: float, words: str) -> Row:
    """A check that finds single vectors: any is a warning, a larger share than the limit fails."""
    if not n:
        return _skipped(0, limit, "no vectors")
    share = count / n
    return {
        "status": "failed" if share > limit else "warning" if count else "ok",
        "n": n,
        "count": count,
        "share": share,
        "value": share,
        "limit": limit,
        "examples": json.dumps([_shortened(one) for one in found[:EXAMPLES]], ensure_ascii=False),
        "meaning": f"{count} of {n} vectors {words}",
    }


def _judged(n: int, value: float, limit: float, failed: bool, words: str) -> Row:
    return {
        "status": "failed" if failed else "ok",
        "n": n,
        "value": value,
        "limit": limit,
        "examples": "[]",
        "meaning": words,
    }


def _skipped(n: int, limit: float, words: str) -> Row:
    return {"status": "skipped", "n": n, "limit": limit, "examples": "[]", "meaning": words}


def _shortened(found: Any) -> Any:
    return found[:EXAMPLES] if isinstance(found, list) else found


def _norms_of(tally: Tally) -> Floats:
    return np.concatenate([*tally.norms, np.zeros(0)])


def _where(tally: Tally, found: npt.NDArray[np.bool_]) -> list[str]:
    ids: list[str] = pa.chunked_array(tally.ids, pa.string()).filter(pa.array(found)).to_pylist()
    return ids
