"""The tar that holds the proxies and waves of a shard as one file: read in place, written whole.

Its members are plain files, video/NAME and audio/NAME, that follow one another. Nothing is ever
unpacked by what a tar says of itself: readers ask for the names that the media table knows, and a
tar that holds anything else is refused.
"""

import re
import shutil
import sys
import tarfile
from collections.abc import Iterator, Mapping
from functools import lru_cache
from io import FileIO
from pathlib import Path

from concord.files import atomic_path
from concord.media.file import MediaFile

TAR = "proxies.tar"
_NAME = re.compile(r"(video|audio)/\w[\w.-]*")
_BLOCK = tarfile.BLOCKSIZE
_COPY_BYTES = 2**20


class RefusedError(Exception):
    """A tar that Concord did not write, or that was changed since."""


def members(tar: Path) -> Mapping[str, MediaFile]:
    """The files in a tar by name, in order; none if it is missing or refused.

    Of a tar that was cut short, those before the cut. What is wrong with a tar is told on standard
    error, once a process.
    """
    try:
        state = tar.stat()
    except FileNotFoundError:
        return {}
    return _members(tar, state.st_size, state.st_mtime_ns, state.st_ino)


@lru_cache(maxsize=64)
def _members(tar: Path, size: int, _mtime_ns: int, _inode: int) -> Mapping[str, MediaFile]:
    found: dict[str, MediaFile] = {}
    try:
        with FileIO(tar) as file:
            for name, offset, length in _headers(file, size):
                if name in found:
                    raise RefusedError(f"{name!r} is there twice")
                found[name] = MediaFile(tar, offset=offset, size=length)
    except RefusedError as problem:
        _tell(tar, f"refused, since {problem}; what it holds is made again from the originals")
        return {}
    except (tarfile.HeaderError, OSError) as problem:
        _tell(tar, f"damaged after {len(found)} files: {problem}; others are made again")
    return found


def _headers(file: FileIO, size: int) -> Iterator[tuple[str, int, int]]:
    """Name, offset and length in bytes of each member, up to the end of the tar.

    Raises RefusedError for what Concord does not write, HeaderError where the tar ends early.
    """
    at = 0
    while True:
        file.seek(at)
        header = file.read(_BLOCK)
        if header == bytes(_BLOCK):
            return
        member = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
        if member.type != tarfile.REGTYPE or not _NAME.fullmatch(member.name):
            raise RefusedError(f"{member.name!r} is no plain file below video/ or audio/")
        if not 0 <= member.size <= size - at - _BLOCK:
            raise tarfile.HeaderError(f"{member.name} of {member.size} bytes goes past the end")
        yield member.name, at + _BLOCK, member.size
        at += _BLOCK + -(-member.size // _BLOCK) * _BLOCK


def write(tar: Path, files: Mapping[str, MediaFile]) -> None:
    """Write a tar of these files, by name, in order: the old tar stays until the new one is whole.

    The files may lie in the old tar. Equal files make an equal tar. Raises OSError.
    """
    with atomic_path(tar) as temporary, temporary.open("wb") as target:
        for name, file in files.items():
            member = tarfile.TarInfo(name)
            with file.open() as source:
                member.size = source.seek(0, 2)
                source.seek(0)
                target.write(member.tobuf(tarfile.USTAR_FORMAT))
                shutil.copyfileobj(source, target, _COPY_BYTES)
            target.write(bytes(-member.size % _BLOCK))
        target.write(bytes(2 * _BLOCK))


def _tell(tar: Path, problem: str) -> None:
    print(f"{tar}: {problem}", file=sys.stderr, flush=True)
