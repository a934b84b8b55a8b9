"""The files that the media stage made of a shard's clips, as they lie in its folder."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from concord.media.file import MediaFile, sha256_of

Part = Literal["v", "a"]
FOLDERS: dict[Part, str] = {"v": "video", "a": "audio"}
COLUMNS: dict[Part, str] = {"v": "proxy", "a": "wave"}
"""The column of MEDIA that names the file of a part: the picture, or the sound."""


def member(row: Mapping[str, Any], part: Part) -> str | None:
    """Path below the shard's folder of the proxy or the wave of a MEDIA row, if it has one."""
    name = row[COLUMNS[part]]
    return f"{FOLDERS[part]}/{name}" if name else None


def find(folder: Path, row: Mapping[str, Any], part: Part, whole: bool = True) -> MediaFile | None:
    """The proxy or the wave of a MEDIA row, if it lies in the shard's folder as it was made.

    Its size has to be the row's and, with `whole`, its digest too, as far as the row knows them.
    What is there, but damaged, is told on standard error.
    """
    name = member(row, part)
    if name is None or not (folder / name).is_file():
        return None
    file = MediaFile(folder / name)
    problem = damage(file, row, part, whole)
    if problem:
        _tell(row, file, problem)
        return None
    return file


def damage(file: MediaFile, row: Mapping[str, Any], part: Part, whole: bool = True) -> str | None:
    """In what a file is not the one that was made for the row; None if it is."""
    size, digest = (row.get(f"{COLUMNS[part]}_{name}") for name in ("bytes", "digest"))
    try:
        found = file.path.stat().st_size if file.size is None else file.size
        if size is not None and found != size:
            return f"{found} bytes, expected {int(size)}"
        if whole and digest is not None:
            with file.open() as content:
                if sha256_of(content) != digest:
                    return "its content is not what was written"
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    return None


def measured(file: Path, part: Part) -> dict[str, Any]:
    """The columns of MEDIA with the size and the digest of a file that was just made."""
    with file.open("rb") as content:
        digest = sha256_of(content)
    return {f"{COLUMNS[part]}_bytes": file.stat().st_size, f"{COLUMNS[part]}_digest": digest}


def _tell(row: Mapping[str, Any], file: MediaFile, problem: str) -> None:
    print(
        f"{row['clip_id']!r}: {file.path} is damaged: {problem}; made again from the original",
        file=sys.stderr,
        flush=True,
    )
