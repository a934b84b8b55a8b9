"""The proxy and the wave of a clip, for the jobs that read them."""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from concord.models.base import MAX_PIXELS

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

    Those that were deleted are made again below `scratch`, by the media `protocol`.
    """

    shard: Path
    protocol: dict[str, Any]
    scratch: Path
    limits: Limits

    @contextmanager
    def open(self, row: Mapping[str, Any]) -> Iterator[tuple[Path | None, Path | None]]:
        """Proxy and wave of a MEDIA row, None for what it has not; they last as long as the block.

        Raises UserError if the machine is at fault, or if the original has changed.
        """
        names = (("video", row["proxy"]), ("audio", row["wave"]))
        proxy, wave = (self.shard / kind / name if name else None for kind, name in names)
        if all(path is None or path.exists() for path in (proxy, wave)):
            yield proxy, wave
            return
        from concord.media.shard import restore

        with tempfile.TemporaryDirectory(dir=self.scratch) as folder:
            yield restore(
                row,
                self.protocol,
                Path(folder),
                timeout_s=self.limits.timeout_s,
                memory_mb=self.limits.memory_mb,
            )
