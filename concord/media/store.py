"""The files that the media stage made of a shard's clips, as they lie in its folder."""

import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from concord.files import told_faults
from concord.media import tar
from concord.media.file import MediaFile, sha256_of
from concord.scratch import copy_file

Container = Literal["files", "tar"]

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

    It may be a file of its own or lie in the shard's tar. Its size has to be the row's and, with
    `whole`, its digest too, as far as the row knows them. What is there, but damaged, is told on
    standard error.
    """
    name = member(row, part)
    problems = []
    for file in _places(folder, name) if name else ():
        problem = damage(file, row, part, whole)
        if problem is None:
            return file
        problems.append(f"{row['clip_id']!r}: {name} in {file.path} is damaged: {problem}")
    for problem in problems:
        print(f"{problem}; made again from the original", file=sys.stderr, flush=True)
    return None


def _places(folder: Path, name: str) -> Iterator[MediaFile]:
    if (folder / name).is_file():
        yield MediaFile(folder / name)
    packed = tar.members(folder / tar.TAR).get(name)
    if packed:
        yield packed


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


def measured(file: MediaFile, part: Part) -> dict[str, Any]:
    """The columns of MEDIA with the size and the digest of a file."""
    with file.open() as content:
        digest = sha256_of(content)
        return {f"{COLUMNS[part]}_bytes": content.tell(), f"{COLUMNS[part]}_digest": digest}


def arrange(folder: Path, rows: Iterable[Mapping[str, Any]], container: Container) -> None:
    """Bring the proxies and waves of these rows into the container, without making any again.

    What lies elsewhere stays until the other place is whole: `tidy` then removes it. A damaged file
    is left behind. Raises UserError if there is no room.
    """
    packed = tar.members(folder / tar.TAR)
    if container == "files" and not packed:
        return
    named = [(name, row, part) for row in rows for part in COLUMNS if (name := member(row, part))]
    found = {name: find(folder, row, part) for name, row, part in named}
    files = {name: file for name, file in found.items() if file is not None}
    if container == "tar":
        if list(packed) != list(files) or any(file.size is None for file in files.values()):
            tar.write(folder / tar.TAR, files)
        return
    for name, file in files.items():
        if file.size is not None:
            with told_faults(folder / name), file.open() as source:
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                copy_file(source, folder / name)


def tidy(folder: Path, rows: Iterable[Mapping[str, Any]], container: Container) -> None:
    """Remove what the container of `arrange` does not hold."""
    if container == "tar":
        drop(folder, FOLDERS.values())
        return
    drop(folder, [tar.TAR])
    wanted = {name for row in rows for part in COLUMNS if (name := member(row, part))}
    for kind in FOLDERS.values():
        (folder / kind).mkdir(parents=True, exist_ok=True)
        for file in (folder / kind).iterdir():
            if f"{kind}/{file.name}" not in wanted:
                file.unlink()


def drop(folder: Path, names: Iterable[str] = (*FOLDERS.values(), tar.TAR)) -> None:
    """Remove the proxies and waves of a shard, or those in some of video, audio and its tar."""
    for name in names:
        if name == tar.TAR:
            (folder / name).unlink(missing_ok=True)
        else:
            shutil.rmtree(folder / name, ignore_errors=True)


def is_in(folder: Path, container: Container) -> bool:
    """Whether a shard's files lie in this container, or there are none."""
    if container == "files":
        return not (folder / tar.TAR).exists()
    return not any((folder / kind).exists() for kind in FOLDERS.values())
