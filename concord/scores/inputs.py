"""Whether inputs that a model took for one and the same differ at all."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from concord.models.base import COMPANIONS, Modality
from concord.remote.fetch import UnusableError, stamp_of
from concord.remote.urls import is_remote
from concord.tables import COMPANION_FILES, MEDIA, read_table

DIGITAL_SILENCE_DB = -90.0
"""A sound whose largest sample is at or below this holds zeros alone."""
_SILENT = "silent"
_COLUMNS = ["clip_id", "path", "audio_path", "proxy_digest", "wave_digest", "max_volume_db"]


def different_inputs(
    groups: Sequence[list[str]], modality: Modality, tables: Sequence[Path]
) -> list[list[list[str]]]:
    """The ids of each group by input, the commonest first; only groups of several inputs.

    Texts have one id each, so they always differ. Clips are the same as far as known if their
    original files, or the proxies or waves made of them, are the same byte by byte, or if they hold
    digital silence. `tables` are the MEDIA or COMPANION_FILES tables of the ids.
    """
    if modality == "text" or not groups:
        return [[[name] for name in group] for group in groups]
    wanted = pa.array([name for group in groups for name in group], pa.string())
    rows = {row["clip_id"]: row for row in _rows(wanted, modality, tables)}
    classes = [_classes(group, rows, modality) for group in groups]
    return [found for found in classes if len(found) > 1]


def _rows(wanted: pa.Array, modality: Modality, tables: Sequence[Path]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for path in tables:
        if modality in COMPANIONS:
            table = read_table(path, COMPANION_FILES)
        else:
            table = read_table(path, MEDIA, _COLUMNS)
        chosen = table.filter(pc.is_in(table["clip_id"], value_set=wanted))
        found += chosen.to_pylist()
    return found


def _classes(
    group: Sequence[str], rows: Mapping[str, dict[str, Any]], modality: Modality
) -> list[list[str]]:
    """The ids of a group by input, those of the largest class first."""
    classes = {name: [name] for name in group}
    for keys in _keys([rows.get(name) for name in group], modality):
        first: dict[str, str] = {}
        for name, key in zip(group, keys, strict=True):
            if key is None:
                continue
            own, other = classes[name], classes[first.setdefault(key, name)]
            if own is not other:
                other += own
                classes |= dict.fromkeys(own, other)
    distinct = {id(members): members for members in classes.values()}
    return sorted(distinct.values(), key=len, reverse=True)


def _keys(
    rows: Sequence[dict[str, Any] | None], modality: Modality
) -> Iterator[Sequence[str | None]]:
    """What tells inputs apart, each way a list of keys [N]: equal keys, equal inputs."""
    known = [row or {} for row in rows]
    if modality == "audio":
        levels = [row.get("max_volume_db") for row in known]
        yield [_SILENT if db is not None and db <= DIGITAL_SILENCE_DB else None for db in levels]
        yield _contents([row.get("audio_path") or row.get("path") for row in known])
        yield [row.get("wave_digest") for row in known]
        return
    yield _contents([row.get("path") for row in known])
    if modality not in COMPANIONS:
        yield [row.get("proxy_digest") for row in known]


def _contents(files: Sequence[str | Path | None]) -> list[str | None]:
    """Digests of the files [N]; None without one, or where no other is as large."""
    if any(map(is_remote, files)):
        return [_version(file) for file in files]
    paths = [Path(file) if file and Path(file).is_file() else None for file in files]
    sizes = [path.stat().st_size if path else None for path in paths]
    counts = Counter(sizes)
    return [
        _digest(path) if path and counts[size] > 1 else None
        for path, size in zip(paths, sizes, strict=True)
    ]


def _version(file: str | Path | None) -> str | None:
    """What objects of the same content share: size and ETag; None if it cannot be told."""
    if not is_remote(file):
        return None
    try:
        return str(stamp_of(str(file)))
    except UnusableError:
        return None


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
