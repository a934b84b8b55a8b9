"""Whether inputs that a model took for one and the same differ at all."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from concord.models.base import COMPANIONS, Modality
from concord.tables import COMPANION_FILES, MEDIA, read_table

DIGITAL_SILENCE_DB = -90.0
"""A sound whose largest sample is at or below this holds zeros alone."""
_COLUMNS = ["clip_id", "path", "audio_path", "proxy", "wave", "max_volume_db"]


def different_inputs(
    groups: Sequence[list[str]], modality: Modality, tables: Sequence[Path]
) -> list[list[str]]:
    """Those groups of ids whose inputs are not all the same, as far as known.

    Texts have one id each, so they always differ. Clips are the same if their original files, or
    the proxies or waves made of them, are the same byte by byte, or if they hold digital silence.
    `tables` are the MEDIA or COMPANION_FILES tables of the ids.
    """
    if modality == "text" or not groups:
        return list(groups)
    wanted = pa.array([name for group in groups for name in group], pa.string())
    rows = {row["clip_id"]: row for row in _rows(wanted, modality, tables)}
    return [
        group
        for group in groups
        if not _same([rows[name] for name in group if name in rows], modality, len(group))
    ]


def _rows(wanted: pa.Array, modality: Modality, tables: Sequence[Path]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for path in tables:
        if modality in COMPANIONS:
            table = read_table(path, COMPANION_FILES)
            table = table.filter(pc.equal(table["modality"], modality))
        else:
            table = read_table(path, MEDIA, _COLUMNS)
        chosen = table.filter(pc.is_in(table["clip_id"], value_set=wanted))
        found += [row | {"folder": path.parent} for row in chosen.to_pylist()]
    return found


def _same(rows: list[dict[str, Any]], modality: Modality, n: int) -> bool:
    if len(rows) < n:
        return False
    if modality in COMPANIONS:
        return _same_files([row["path"] for row in rows])
    if modality == "audio":
        levels = [row["max_volume_db"] for row in rows]
        if all(level is not None and level <= DIGITAL_SILENCE_DB for level in levels):
            return True
        originals = [row["audio_path"] or row["path"] for row in rows]
        made = [row["wave"] and row["folder"] / "audio" / row["wave"] for row in rows]
    else:
        originals = [row["path"] for row in rows]
        made = [row["proxy"] and row["folder"] / "video" / row["proxy"] for row in rows]
    return _same_files(originals) or _same_files(made)


def _same_files(files: Sequence[str | Path | None]) -> bool:
    """Whether all files are there and hold the same bytes."""
    paths = [Path(file) for file in files if file]
    if len(paths) < len(files) or not all(path.is_file() for path in paths):
        return False
    if len({path.stat().st_size for path in paths}) > 1:
        return False
    return len(set(map(_digest, paths))) == 1


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
