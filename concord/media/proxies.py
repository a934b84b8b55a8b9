"""The proxy and the wave of a clip, for the jobs that read them."""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from concord.media.file import MAX_PIXELS, MediaFile
from concord.media.store import COLUMNS, FOLDERS, Part, damage, find
from concord.media.tar import TAR
from concord.scratch import copy_file

START_S = 30.0
"""Time a process may take beside its clip: to start, and to load its packages."""


@dataclass(frozen=True)
class Limits:
    """What one clip may take: media.timeout_s, media.memory_mb and media.max_pixels."""

    timeout_s: float
    memory_mb: int
    max_pixels: int = MAX_PIXELS

    @property
    def original_s(self) -> float:
        """Time for reading an original."""
        return self.timeout_s + START_S

    @property
    def proxy_s(self) -> float:
        """Time for reading a proxy or a wave, making it again included."""
        return 2 * self.timeout_s + START_S


@dataclass(frozen=True)
class Proxies:
    """The proxies and waves of a shard's folder; picklable, for decoder processes.

    Those that were deleted or damaged are made again below `scratch`, by the media `protocol`; a
    damaged file is replaced, so that this happens once.
    """

    shard: Path
    protocol: dict[str, Any]
    scratch: Path
    limits: Limits

    @contextmanager
    def open(
        self, row: Mapping[str, Any], parts: str = "va"
    ) -> Iterator[tuple[MediaFile | None, MediaFile | None]]:
        """Proxy (`v`) and wave (`a`) of a MEDIA row, None for what it has not or is not asked for.

        They last as long as the block. Raises UserError if the machine is at fault, or if the
        original has changed; UnusableError for an object that cannot be fetched.
        """
        wanted: list[Part] = [part for part in COLUMNS if part in parts and row[COLUMNS[part]]]
        found = {part: find(self.shard, row, part) for part in wanted}
        lost = "".join(part for part, file in found.items() if file is None)
        if not lost:
            yield found.get("v"), found.get("a")
            return
        from concord.media.shard import restore

        with tempfile.TemporaryDirectory(dir=self.scratch) as folder:
            again = restore(
                row,
                self.protocol,
                Path(folder),
                lost,
                timeout_s=self.limits.timeout_s,
                memory_mb=self.limits.memory_mb,
            )
            for part, path in again.items():
                found[part] = made = MediaFile(path)
                self._replace(row, part, made)
            yield found.get("v"), found.get("a")

    def _replace(self, row: Mapping[str, Any], part: Part, again: MediaFile) -> None:
        """Put what was made again in the place of a damaged file, if it is the same as the first.

        What was damaged in a tar is put beside it, where it is found first, until the next run
        packs it. Those that were deleted stay so.
        """
        place = self.shard / FOLDERS[part] / row[COLUMNS[part]]
        packed = (self.shard / TAR).is_file()
        if not (packed or place.is_file()) or damage(again, row, part):
            return
        # Without room, or where it is not allowed, the next job makes it again too.
        with suppress(OSError), again.open() as source:
            place.parent.mkdir(exist_ok=True)
            copy_file(source, place)
            for mark in self.shard.glob(".repacked.*"):
                mark.unlink(missing_ok=True)
