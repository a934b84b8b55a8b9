"""What an embedding job reads: proxies and waves, originals, or files beside the clips."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from concord.media.proxies import Proxies
from concord.memory import limit_memory
from concord.models.base import MediaFile, Modality, ModelSpec, Reader
from concord.models.distant import Distant
from concord.protocol import digest
from concord.remote.originals import Beside, Original
from concord.remote.urls import is_remote
from concord.resume import Row

MADE = {"video": "proxy", "audio": "wave"}
"""The column of MEDIA that names the file which the media stage made of a modality."""
PART = {"video": "v", "audio": "a"}


@dataclass(frozen=True)
class Task:
    """One embedding to make: id and key of its row, and what its reader or network takes.

    `too_large_key` is the row's key instead if the picture is larger than a limit that no other
    row depends on, so that another limit tries this one again.
    """

    id: str
    key: str
    source: Any
    too_large_key: str | None = None

    def key_for(self, reason: str | None) -> str:
        """The key of its row with this reason."""
        return (reason == "too_large" and self.too_large_key) or self.key

    def finished(self, done: Mapping[str, Row]) -> str | None:
        """The key of its row among those that are done; None if there is none."""
        found = (key for key in (self.too_large_key, self.key) if key and key in done)
        return next((key for key in found if self.key_for(done[key]["reason"]) == key), None)


@dataclass(frozen=True)
class ProxyReader:
    """Reads the proxy or the wave of a MEDIA row; picklable, for decoder processes.

    `shards` are the proxies by the folder of their shard, which a task's source names first.
    """

    read: Reader
    modality: Modality
    shards: Mapping[Path, Proxies]

    def __call__(self, source: tuple[Path, Row]) -> np.ndarray:
        folder, row = source
        with self.shards[folder].open(row, PART[self.modality]) as (proxy, wave):
            file = proxy or wave
            assert file is not None
            return self.read(file)

    def warm(self) -> None:
        """Warm the family's reader, where it can be."""
        warm(self.read)


def warm(read: Any) -> None:
    """Let a reader load what it works with; what it cannot load the first clip will tell."""
    if hasattr(read, "warm"):
        with suppress(Exception):
            read.warm()


def prepare(read: Any, memory_mb: int | None) -> None:
    """Ready a decoder process before its first clip, whose time and memory this does not count.

    `memory_mb`: what the clips may then take, None for no limit.
    """
    warm(read)
    if memory_mb is not None:
        limit_memory(memory_mb, read)


def media_task(
    row: Row, folder: Path, spec: ModelSpec, modality: Modality, protocol: str, max_pixels: int
) -> Task | Row:
    """What is to be embedded of a MEDIA row, or the finished row of a clip that cannot be.

    The source is the shard's folder and the row for models that read proxies, else a MediaFile of
    the original, whose key does not change with the settings of proxies, nor with `max_pixels`.
    """
    status, reason = row[f"{modality}_status"], row[f"{modality}_reason"]
    if status == "ok" and not row[MADE[modality]]:  # the gate kept it out, and says why
        status, reason = row["status"], row["reason"]
    key: str = row["key"]
    source: Any = (folder, row)
    if spec.reads == "originals":
        key, source = _original(row, modality, max_pixels)
    if status == "ok":
        return Task(row["clip_id"], digest(key, protocol), source)
    return {
        "id": row["clip_id"],
        "key": digest(key, protocol, status, reason or ""),
        "status": status,
        "reason": reason,
        "detail": row["detail"],
    }


def _original(row: Row, modality: Modality, max_pixels: int) -> tuple[str, Any]:
    """Key and MediaFile of the stream of the original that the media stage chose."""
    path = row["audio_path"] if modality == "audio" else None
    stream = row[f"{modality}_stream"]
    file = _file(Original.of_media(row), path or row["path"], stream, max_pixels)
    return digest(row["source_key"], str(stream)), file


def _file(row: Original | Beside, path: str, stream: int | None, max_pixels: int) -> Any:
    """A MediaFile, or what becomes one when its object is fetched."""
    if is_remote(path):
        return Distant(row, path, stream, max_pixels)
    return MediaFile(Path(path), stream, max_pixels)


def companion_task(row: Row, protocol: str, max_pixels: int) -> Task | Row:
    """What is to be embedded of a COMPANION_FILES row, or the finished row of one without file.

    Its key does not change with `max_pixels`, but for a picture that is larger.
    """
    key = digest(row["key"], protocol)
    if row["status"] == "ok":
        file = _file(Beside.of_row(row), row["path"], None, max_pixels)
        return Task(row["clip_id"], key, file, digest(key, str(max_pixels)))
    outcome = {name: row[name] for name in ("status", "reason", "detail")}
    return {"id": row["clip_id"], "key": key, **outcome}


def text_task(row: Row, protocol: str) -> Task | Row:
    """What is to be embedded of a TEXTS row, or the finished row of an empty text."""
    key = digest(row["text"], protocol)
    if row["text"].strip():
        return Task(row["text_id"], key, row["text"])
    return {"id": row["text_id"], "key": key, "status": "skipped", "reason": "empty_prompt"}
