"""A media file, or the part of a larger file that holds one, as readers open it."""

import hashlib
import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

MAX_PIXELS = 36_000_000
"""Largest picture that is opened, width times height, unless media.max_pixels says otherwise."""


@dataclass(frozen=True)
class MediaFile:
    """What a reader opens: a proxy, a wave, an original or a companion file.

    `stream` is the index of the stream to decode in an original; None: the only one there is. A
    picture of more than `max_pixels` is `too_large`. `offset` and `size` are bytes: with a size,
    the file is that part of `path` alone.
    """

    path: Path
    stream: int | None = None
    max_pixels: int = MAX_PIXELS
    offset: int = 0
    size: int | None = None

    def source(self) -> str | BinaryIO:
        """What PyAV and soundfile open: the path of a file, or a part of one, opened.

        Raises OSError if the part cannot be opened.
        """
        return str(self.path.absolute()) if self.size is None else self.open()

    def open(self) -> BinaryIO:
        """The content, opened for reading. Raises OSError."""
        if self.size is None:
            return self.path.open("rb")
        return io.BufferedReader(_Part(self.path, self.offset, self.size))

    @property
    def url(self) -> str:
        """What ffmpeg opens, by its protocols file or subfile (URL_PROTOCOLS)."""
        path = self.path.absolute()
        if self.size is None:
            return f"file:{path}"
        return f"subfile,,start,{self.offset},end,{self.offset + self.size},,:{path}"


URL_PROTOCOLS = "file,pipe,subfile"
"""The protocols that ffmpeg needs for MediaFile.url; none of them leaves this machine."""


def sha256_of(file: BinaryIO) -> str:
    """The first 32 hexadecimal digits of the SHA-256 of what is left of a file."""
    return hashlib.file_digest(file, "sha256").hexdigest()[:32]  # type: ignore[arg-type]


class _Part(io.RawIOBase):
    """A part of a file, read only."""

    def __init__(self, path: Path, offset: int, size: int) -> None:
        self._handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._offset, self._size, self._at = offset, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        if start + offset < 0:
            raise ValueError(f"negative position {start + offset}")
        self._at = start + offset
        return self._at

    def readinto(self, buffer: "memoryview") -> int:  # type: ignore[override]
        wanted = max(0, min(len(buffer), self._size - self._at))
        count = os.preadv(self._handle, [memoryview(buffer)[:wanted]], self._offset + self._at)
        self._at += count
        return count

    def close(self) -> None:
        if not self.closed:
            os.close(self._handle)
        super().close()
