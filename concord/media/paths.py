"""Where a clip lies in the tree, and which of its files a shard wrote."""

import functools
import json
import threading
from collections import Counter
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any

from concord.files import write_text
from concord.protocol import digest
from concord.tables import CLIPS, read_table

SUFFIX = ".mp4"
MAX_NAME_BYTES = 255
"""Longest file name of the usual file systems."""


def usual_name(clip_id: str) -> str:
    """Path of a clip below the tree: its own, with .mp4 as extension."""
    return _fitting(str(_inside(clip_id).with_suffix(SUFFIX)))


def unusual_names(clip_ids: Iterable[str]) -> dict[str, str]:
    """Paths of the clips that cannot have their usual one, because another one would have it too.

    A clip that has this name already keeps it; to others .mp4 is appended.
    """
    clip_ids = list(clip_ids)
    wanted = Counter(map(usual_name, clip_ids))
    taken = {*clip_ids, *wanted}
    names = {}
    for clip_id in clip_ids:
        if wanted[usual_name(clip_id)] == 1 or usual_name(clip_id) == clip_id:
            continue
        name = _fitting(f"{_inside(clip_id)}{SUFFIX}")
        names[clip_id] = _marked(name, clip_id) if name in taken else name
    return names


def unusual_by_shard(clips: Path) -> dict[str, dict[str, str]]:
    """The paths of `unusual_names` of a collection, by shard, from its table of clips."""
    return _unusual_by_shard(clips, clips.stat().st_mtime_ns)


@functools.lru_cache(maxsize=8)
def _unusual_by_shard(clips: Path, _mtime_ns: int) -> dict[str, dict[str, str]]:
    rows = read_table(clips, CLIPS, ["clip_id", "kind", "shard"]).to_pylist()
    shards = {r["clip_id"]: r["shard"] for r in rows if r["shard"] and r["kind"] == "video"}
    names: dict[str, dict[str, str]] = {}
    for clip_id, name in unusual_names(shards).items():
        names.setdefault(shards[clip_id], {})[clip_id] = name
    return names


def _inside(clip_id: str) -> PurePosixPath:
    """The path without what leads out of the tree; a manifest may name files anywhere."""
    path = PurePosixPath(clip_id)
    return PurePosixPath(*(part for part in path.parts if part not in (path.anchor, "..")))


def _fitting(path: str) -> str:
    """The path; where its last part is too long, a shorter one that no other clip gets."""
    name = PurePosixPath(path).name
    return path if len(name.encode()) <= MAX_NAME_BYTES else _marked(path, path)


def _marked(path: str, clip_id: str) -> str:
    mark = f"-{digest(clip_id)[:12]}{SUFFIX}"
    stem = PurePosixPath(path).stem.encode()[: MAX_NAME_BYTES - len(mark)].decode(errors="ignore")
    return str(PurePosixPath(path).with_name(stem + mark))


class Written:
    """The list of the files that a shard wrote into the tree, kept beside them.

    A file is the shard's as long as its size and time are those in the list; a name that another
    shard has written since is no longer touched.
    """

    def __init__(self, tree: Path, shard: str) -> None:
        self.tree, self.path = tree, tree / f".{shard}.list"
        self._lock = threading.Lock()
        self.entries: dict[str, list[Any]] = {}
        lines = self.path.read_bytes().splitlines() if self.path.exists() else []
        for line in lines:
            try:
                name, *entry = json.loads(line)
            except ValueError:  # a kill cut it short
                continue
            self.entries[name] = entry

    def holds(self, name: str, key: str) -> bool:
        """Whether the file is there, as this shard wrote it from the media row of that key."""
        return self._is_ours(name) and self.entries[name][0] == key

    def place(self, file: Path, name: str, key: str) -> None:
        """Move a finished file to its place; the list knows it first, whatever happens."""
        target = self.tree / name
        target.parent.mkdir(parents=True, exist_ok=True)
        stat = file.stat()
        with self._lock:
            self.entries[name] = [key, stat.st_size, stat.st_mtime_ns]
            with self.path.open("a", encoding="utf-8") as lines:
                lines.write(json.dumps([name, *self.entries[name]]) + "\n")
        file.replace(target)

    def keep(self, wanted: Iterable[str]) -> None:
        """Delete the shard's files with other names, and folders left empty; tidy the list."""
        wanted = set(wanted)
        for name in self.entries.keys() - wanted:
            if self._is_ours(name):
                (self.tree / name).unlink()
                self._remove_empty((self.tree / name).parent)
        self.entries = {name: entry for name, entry in self.entries.items() if name in wanted}
        lines = (json.dumps([name, *entry]) + "\n" for name, entry in self.entries.items())
        write_text(self.path, "".join(lines))

    def remove(self) -> None:
        """Delete all of the shard's files, and the list."""
        self.keep(())
        self.path.unlink()

    def _is_ours(self, name: str) -> bool:
        path = self.tree / name
        if name not in self.entries or not path.is_file():
            return False
        stat = path.stat()
        return [stat.st_size, stat.st_mtime_ns] == self.entries[name][1:]

    def _remove_empty(self, folder: Path) -> None:
        while folder != self.tree and not any(folder.iterdir()):
            folder.rmdir()
            folder = folder.parent
