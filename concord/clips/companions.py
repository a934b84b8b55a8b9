"""Companions: the images, depth maps, thermal images and motion recordings beside the clips."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from concord.clips.files import COMPANION_EXTENSIONS, absolute
from concord.clips.keys import companion_key
from concord.clips.pairing import pair_files, placed
from concord.clips.scan import scan_companions
from concord.config_data import Collection
from concord.errors import UserError
from concord.models.base import Modality
from concord.remote.urls import Place
from concord.tables import COMPANION_FILES

NONE: dict[Modality, str] = {
    "image": "no_image",
    "depth": "no_depth_file",
    "thermal": "no_thermal_file",
    "imu": "no_imu_file",
}
"""Why a clip has no file of a modality: a word of REASONS."""

_STATUS = {None: "ok", "missing": "failed"}


@dataclass(frozen=True)
class Beside:
    """Path and stamp (size and version) of each row's file of one modality.

    A path without a stamp is missing. For the rows of `tied`, several files fit equally well.
    """

    paths: list[str | None]
    stamps: list[str | None]
    tied: set[int]

    def table(self, modality: Modality, clip_ids: list[str], rows: list[int]) -> pa.Table:
        """COMPANION_FILES of some clips; `rows` are their rows here."""
        paths, stamps = [self.paths[at] for at in rows], [self.stamps[at] for at in rows]
        reasons = [self._reason(at, modality) for at in rows]
        parts = zip(clip_ids, paths, stamps, reasons, strict=True)
        data: dict[str, Any] = {
            "clip_id": clip_ids,
            "modality": [modality] * len(rows),
            "path": paths,
            "key": [companion_key(modality, *part) for part in parts],
            "status": [_STATUS.get(reason, "skipped") for reason in reasons],
            "reason": reasons,
            "detail": pa.nulls(len(rows), pa.string()),
        }
        return pa.table(data, schema=COMPANION_FILES.schema)

    def _reason(self, at: int, modality: Modality) -> str | None:
        if not self.paths[at]:
            return "ambiguous" if at in self.tied else NONE[modality]
        return None if self.stamps[at] else "missing"


def find_companions(
    collection: Collection,
    found: pa.Table,
    clips: list[bool],
    modalities: Sequence[Modality],
    results: Path,
) -> dict[Modality, Beside]:
    """The files of each modality for the clips among FOUND, each folder walked once.

    What a manifest names comes first, then a clip that is an image itself, then the folder of the
    modality. Raises UserError for a folder of which no file belongs to a clip.
    """
    return {m: _find(collection, found, clips, m, results) for m in modalities}


def companion_table(
    clip_ids: list[str], rows: list[int], beside: Mapping[Modality, Beside]
) -> pa.Table:
    """COMPANION_FILES: all clips for each modality in turn; `rows` are the clips' in FOUND."""
    parts = [files.table(modality, clip_ids, rows) for modality, files in beside.items()]
    return pa.concat_tables([COMPANION_FILES.schema.empty_table(), *parts])


def _find(
    collection: Collection, found: pa.Table, clips: list[bool], modality: Modality, results: Path
) -> Beside:
    paths = found[f"{modality}_path"].to_pylist()
    stamps = found[f"{modality}_stamp"].to_pylist()
    if modality == "image":
        own = pc.indices_nonzero(pc.equal(found["kind"], "image")).to_pylist()
        _fill(paths, stamps, {row: row for row in own if not paths[row]}, found)
    folder: Place | None = getattr(collection, modality)
    if not folder:
        return Beside(paths, stamps, set())
    files = scan_companions(folder, modality, collection.recursive, results)
    wanting = [clip and not path for clip, path in zip(clips, paths, strict=True)]
    pairs = pair_files(placed(found, pa.array(wanting)), placed(files, _everything(files)))
    if any(wanting) and not pairs.of:
        endings = ", ".join(COMPANION_EXTENSIONS[modality])
        raise UserError(
            f"{modality}: no file in {absolute(folder)} belongs to a clip; expected files that end "
            f"in {endings}, of the same stem as the clip, or with the same index in both names"
        )
    _fill(paths, stamps, pairs.of, files)
    return Beside(paths, stamps, pairs.tied)


def _fill(
    paths: list[str | None], stamps: list[str | None], of: Mapping[int, int], files: pa.Table
) -> None:
    """Write paths and stamps of the files' rows into the clips' rows."""
    chosen = files.select(["path", "size", "version"]).take(pa.array(of.values(), pa.int64()))
    for row, file in zip(of, chosen.to_pylist(), strict=True):
        paths[row], stamps[row] = file["path"], f"{file['size']} {file['version']}"


def _everything(files: pa.Table) -> pa.Array:
    return pa.repeat(pa.scalar(True), len(files))
