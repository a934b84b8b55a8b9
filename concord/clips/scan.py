"""What is in a collection: one walk over its folders, one list of its objects, or a manifest."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from concord.clips.files import (
    COMPANION_EXTENSIONS,
    FOUND,
    KINDS,
    WITH_IMAGES,
    Files,
    absolute,
    bare,
    below,
    is_folder,
)
from concord.clips.manifest import LABELS, read_manifest
from concord.clips.objects import add_objects
from concord.config_data import Collection
from concord.errors import UserError
from concord.models.base import COMPANIONS, Modality
from concord.remote.urls import Place, Url, is_remote, place

Identity = tuple[int, int]
"""Device and inode of a folder, whatever path or link leads to it."""

SOUND_FOLDER = "audio"


def scan(
    collection: Collection,
    results: Path | None = None,
    companions: Sequence[Modality] = (),
    allowed: Sequence[Url] = (),
) -> pa.Table:
    """Every file of a collection as FOUND, in the order of clip_id; folders are read once.

    Objects below an address are listed. `allowed` are the addresses whose objects manifests may
    name. `companions` are the modalities wanted from files beside the clips. If they have images,
    those in the collection's folders are of the kind image, unless images have a folder of their
    own.
    Symbolic links are followed. Hidden folders are not entered, nor is a folder inside itself, nor
    the folder of results. Raises UserError for a manifest that cannot be read, and for a server
    that does not answer; folders must exist.
    """
    closed = _closed(results)
    roots = [absolute(path) for path in collection.path]
    apart = _folders_apart(collection) - set(roots)
    kinds = WITH_IMAGES if "image" in companions and not collection.image else KINDS
    tables = []
    for root, prefix in zip(roots, _prefixes(roots), strict=True):
        if is_folder(place(root)):
            _check_labels(collection, root)
            files = _walk(root, Files(prefix, kinds), collection.recursive, apart, closed)
            tables.append(files.table(root))
        else:
            tables.append(
                read_manifest(place(root), prefix, kinds, companions, collection, allowed)
            )
    if not any(pc.any(pc.equal(table["kind"], "video")).as_py() for table in tables):
        tables = [_without_homes(table) for table in tables]
    sound = absolute(collection.audio) if collection.audio else None
    if sound and sound not in roots:
        empty = Files(_sound_prefix(sound, roots))
        files = _walk(sound, empty, collection.recursive, set(roots), closed)
        files.are_apart()
        tables.append(files.table(sound))
    found = _unique(pa.concat_tables(tables))
    found = _with_parents(found, collection)
    return found.take(pc.sort_indices(found["clip_id"]))


def scan_companions(
    folder: Place, modality: Modality, recursive: bool, results: Path | None = None
) -> pa.Table:
    """The files of a modality below a folder, as FOUND, with the modality as their kind."""
    kinds = dict.fromkeys(COMPANION_EXTENSIONS[modality], modality)
    top = absolute(folder)
    files = _walk(top, Files("", kinds), recursive, set(), _closed(results))
    files.are_apart()
    return files.table(top)


def _closed(results: Path | None) -> list[Identity]:
    return [_identity(results)] if results and results.exists() else []


def _folders_apart(collection: Collection) -> set[str]:
    """The folders of separate sound and of companions."""
    folders = (getattr(collection, name) for name in ("audio", *COMPANIONS))
    return {absolute(folder) for folder in folders if folder}


def _check_labels(collection: Collection, root: str) -> None:
    for key in LABELS:
        if (column := getattr(collection, key)) not in (None, "parent"):
            raise UserError(
                f"{key}: found {column!r}, but {root} is a folder, which has no columns; expected "
                "`parent`, or a manifest with that column as `path`"
            )


def _with_parents(found: pa.Table, collection: Collection) -> pa.Table:
    """FOUND with the name of a file's folder as its label or group, where that is asked for."""
    for key in LABELS:
        if getattr(collection, key) == "parent":
            parents = pc.replace_substring_regex(found["path"], "(?s)^.*/([^/]*)/[^/]*$", r"\1")
            found = found.set_column(FOUND.get_field_index(key), FOUND.field(key), parents)
    return found


def _walk(
    top: str, files: Files, recursive: bool, leave_out: set[str], closed: list[Identity]
) -> Files:
    """Add all files below a folder; without `recursive`, only its own and those of its audio/.

    Folders whose path is in `leave_out`, or which are one of `closed`, are not entered.
    """
    if is_remote(top):
        add_objects(files, Url(top), recursive, leave_out, _add_home)
        return files
    stack = [(top, "", tuple(closed))]
    while stack:
        folder, relative, above = stack.pop()
        try:
            identity = _identity(Path(folder))
            if identity in above:
                continue
            for entry in _entries(folder):
                if not _is_folder(entry):
                    _add_entry(files, relative, entry)
                elif _entered(entry, relative, recursive) and entry.path not in leave_out:
                    stack.append((entry.path, f"{relative}{entry.name}/", (*above, identity)))
        except OSError as error:
            files.add_trouble(relative or ".", "failed", "unreadable", error.strerror)
    return files


def _identity(folder: Path) -> Identity:
    state = folder.stat()
    return state.st_dev, state.st_ino


def _entries(folder: str) -> Iterator["os.DirEntry[str]"]:
    with os.scandir(folder) as entries:
        yield from entries


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def _entered(entry: "os.DirEntry[str]", relative: str, recursive: bool) -> bool:
    if recursive:
        return not entry.name.startswith(".")
    return not relative and entry.name == SOUND_FOLDER


def _add_entry(files: Files, folder: str, entry: "os.DirEntry[str]") -> None:
    relative = folder + entry.name
    if entry.name.startswith("."):
        files.add_trouble(relative, "skipped", "hidden", None)
        return
    files.add(relative, entry)
    _add_home(files, folder, entry.name)


def _add_home(files: Files, folder: str, name: str) -> None:
    """Say of a sound in a folder audio/, the last that was added, where its clip would lie."""
    row = len(files.relative) - 1
    if files.kind[row] == "audio" and f"/{SOUND_FOLDER}/" in f"/{folder}":
        home = f"/{folder}".replace(f"/{SOUND_FOLDER}/", "/", 1)[1:]
        files.homes[row] = files.prefix + bare(home + name)


def _prefixes(roots: list[str]) -> list[str]:
    """What tells the clips of several folders apart: as much of each path's end as it takes."""
    if len(roots) == 1:
        return [""]
    parts = [[part for part in root.split("/") if part] for root in roots]
    for length in range(1, max(map(len, parts)) + 1):
        names = ["/".join(part[-length:]) + "/" for part in parts]
        if len(set(names)) == len(names):
            return names
    raise UserError(f"the same folder is listed twice: {', '.join(roots)}; list it once")


def _sound_prefix(sound: str, roots: list[str]) -> str:
    for root, prefix in zip(roots, _prefixes(roots), strict=True):
        if sound.startswith(root.rstrip("/") + "/"):
            return f"{prefix}{below(sound, root)}/"
    return f"{sound.rpartition('/')[2]}/"


def _without_homes(table: pa.Table) -> pa.Table:
    at = table.schema.get_field_index("home")
    return table.set_column(at, FOUND.field("home"), pa.nulls(len(table), pa.string()))


def _unique(found: pa.Table) -> pa.Table:
    """The files with clip_ids that differ: the second of equal ones ends in ` (2)`.

    Names that are not UTF-8 come last, so that they never take the clip_id of a clip.
    """
    if pc.count_distinct(found["clip_id"]).as_py() == len(found):
        return found
    clip_ids, paths = found["clip_id"].to_pylist(), found["path"].to_pylist()
    escaped = pc.fill_null(pc.equal(found["reason"], "name_not_utf8"), False).to_pylist()
    taken, seen = set(clip_ids), Counter[str]()
    for row in sorted(range(len(found)), key=lambda row: (escaped[row], paths[row])):
        clip_id = clip_ids[row]
        seen[clip_id] += 1
        if (number := seen[clip_id]) > 1:
            while f"{clip_id} ({number})" in taken:
                number += 1
            clip_ids[row] = f"{clip_id} ({number})"
            taken.add(clip_ids[row])
    at = found.schema.get_field_index("clip_id")
    return found.set_column(at, FOUND.field("clip_id"), pa.array(clip_ids, pa.string()))
