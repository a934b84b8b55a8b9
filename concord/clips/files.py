"""Files of a collection as a table under construction: kinds by extension, paths, ids."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from stat import S_ISREG
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from concord.clips.records import SUFFIXES
from concord.models.base import COMPANIONS, Modality
from concord.remote.urls import Place, Url

if TYPE_CHECKING:
    from concord.remote.storage import Stamp

# In each list, the first extension that exists wins when files compete for a prompt.
VIDEO = (
    *(".mp4", ".avi", ".mov", ".mkv", ".webm", ".flv", ".wmv", ".ts", ".m4v", ".mpg", ".mpeg"),
    *(".gif", ".mts", ".m2ts", ".m2v", ".3gp", ".3g2", ".ogv", ".vob", ".mxf", ".asf", ".f4v"),
)
AUDIO = (
    *(".wav", ".mp3", ".flac", ".m4a", ".ogg", ".opus", ".aac", ".wma", ".aif", ".aiff", ".oga"),
    *(".weba", ".mka", ".ac3", ".amr", ".au", ".caf", ".wv"),
)
IMAGE = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
NUMBERS = (".npy",)
EXTENSIONS = VIDEO + AUDIO + IMAGE + NUMBERS
KINDS = dict.fromkeys(VIDEO, "video") | dict.fromkeys(AUDIO, "audio")
WITH_IMAGES = KINDS | dict.fromkeys(IMAGE, "image")
COMPANION_EXTENSIONS: dict[Modality, tuple[str, ...]] = {
    "image": IMAGE,
    "depth": IMAGE + NUMBERS,
    "thermal": IMAGE + NUMBERS,
    "imu": NUMBERS,
}

FOUND = pa.schema(
    [
        ("clip_id", pa.string()),
        ("path", pa.string()),  # absolute
        ("kind", pa.string()),  # video, audio, image or other; of a companion its modality
        ("home", pa.string()),  # apart from its clip: the clip_id, without extension, it would suit
        ("size", pa.int64()),
        ("mtime_ns", pa.int64()),
        ("version", pa.string()),  # what tells the file from an earlier one: time, or an ETag
        ("status", pa.string()),
        ("reason", pa.string()),
        ("detail", pa.string()),
        ("index", pa.int64()),  # what a manifest says
        ("audio_path", pa.string()),
        ("audio_stamp", pa.string()),  # size and version of audio_path
        *((f"{m}_{part}", pa.string()) for m in COMPANIONS for part in ("path", "stamp")),
        ("label", pa.string()),
        ("group", pa.string()),
    ]
)


def absolute(path: Place) -> str:
    """An absolute path without `.` and `..`, links kept, `~` replaced; an address as it is."""
    if isinstance(path, Url):
        return str(path)
    return os.path.abspath(path.expanduser())  # noqa: PTH100 (Path.resolve follows links)


def is_folder(path: Place) -> bool:
    """Whether a place holds files; an address does unless it ends as a manifest does."""
    if isinstance(path, Url):
        return path.suffix.lower() not in SUFFIXES
    return path.expanduser().is_dir()


def stamps(found: pa.Table) -> pa.Array:
    """Size and version of each file of FOUND, as one text."""
    return pc.binary_join_element_wise(found["size"].cast(pa.string()), found["version"], " ")


def stem_of(path: str) -> str:
    """File name without its folder and its extension."""
    return os.path.splitext(path.rpartition("/")[2])[0]  # noqa: PTH122


def extension_of(path: str) -> str:
    """Extension with its dot, as written."""
    return os.path.splitext(path)[1]  # noqa: PTH122


def bare(path: str) -> str:
    """The path without its extension."""
    return os.path.splitext(path)[0]  # noqa: PTH122


def is_image(path: str) -> bool:
    """Whether a clip is an image, by its extension."""
    return extension_of(path).lower() in IMAGE


def printable(name: str) -> str:
    r"""The name with bytes that are not UTF-8 written as \xff."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def below(path: str, folder: str) -> str:
    """The path below the folder; one that is not below it keeps all but its leading slash."""
    base = folder.rstrip("/") + "/"
    return path[len(base) :] if path.startswith(base) else path.lstrip("/")


@dataclass
class Files:
    """Columns of files under one folder, under construction."""

    prefix: str
    kinds: Mapping[str, str] = field(default_factory=lambda: KINDS)
    relative: list[str] = field(default_factory=list)
    kind: list[str] = field(default_factory=list)
    size: list[int | None] = field(default_factory=list)
    mtime_ns: list[int | None] = field(default_factory=list)
    etags: dict[int, str] = field(default_factory=dict)
    homes: dict[int, str] = field(default_factory=dict)
    trouble: dict[int, tuple[str, str, str | None]] = field(default_factory=dict)

    def add(self, relative: str, entry: "os.DirEntry[str] | Path") -> None:
        """Add a file by its path below the folder; what is wrong with it joins `trouble`."""
        row = len(self.relative)
        size = mtime_ns = None
        try:
            state = entry.stat()
            size, mtime_ns = state.st_size, state.st_mtime_ns
            if not S_ISREG(state.st_mode):
                self.trouble[row] = ("skipped", "not_a_file", None)
        except OSError as error:
            self.trouble[row] = ("failed", "missing", error.strerror)
        self._append(relative, size, mtime_ns)

    def add_object(self, relative: str, stamp: "Stamp | None") -> None:
        """Add an object by its key below the folder; one without a stamp is missing."""
        row = len(self.relative)
        if stamp is None:
            self.trouble[row] = ("failed", "missing", "there is no such object")
            self._append(relative, None, None)
            return
        if stamp.etag:
            self.etags[row] = stamp.etag
        self._append(relative, stamp.size, stamp.mtime_ns)

    def _append(self, relative: str, size: int | None, mtime_ns: int | None) -> None:
        row = len(self.relative)
        kind = self.kinds.get(extension_of(relative).lower(), "other")
        if kind == "other":
            self.trouble[row] = ("skipped", "not_media", None)
        self.relative.append(relative)
        self.kind.append(kind)
        self.size.append(size)
        self.mtime_ns.append(mtime_ns)

    def add_trouble(self, relative: str, status: str, reason: str, detail: str | None) -> None:
        """Add something that is not opened."""
        self.trouble[len(self.relative)] = (status, reason, detail)
        self.relative.append(relative)
        self.kind.append("other")
        self.size.append(None)
        self.mtime_ns.append(None)

    def are_apart(self) -> None:
        """Declare all media to belong to clips elsewhere, whatever their kind."""
        self.homes = {
            row: bare(relative)
            for row, relative in enumerate(self.relative)
            if self.kind[row] != "other"
        }

    def table(self, root: str) -> pa.Table:
        """The files as FOUND, with `root` before their paths."""
        self.escape()
        root = printable(root).rstrip("/")
        relative = pa.array(self.relative, pa.string())
        paths = pc.binary_join_element_wise(pa.scalar(root), relative, "/")
        return self.table_with(paths, pc.binary_join_element_wise(self.prefix, relative, ""))

    def table_with(self, paths: pa.Array, clip_ids: pa.Array) -> pa.Table:
        """The files as FOUND."""
        rows = len(self.relative)
        trouble = [self.trouble.get(row, ("ok", None, None)) for row in range(rows)]
        data = {
            "clip_id": clip_ids,
            "path": paths,
            "kind": pa.array(self.kind, pa.string()),
            "home": pa.array([self.homes.get(row) for row in range(rows)], pa.string()),
            "size": pa.array(self.size, pa.int64()),
            "mtime_ns": pa.array(self.mtime_ns, pa.int64()),
            "version": self._versions(),
            "status": pa.array([t[0] for t in trouble], pa.string()),
            "reason": pa.array([t[1] for t in trouble], pa.string()),
            "detail": pa.array([t[2] for t in trouble], pa.string()),
        }
        for name in FOUND.names[len(data) :]:
            data[name] = pa.nulls(rows, FOUND.field(name).type)
        return pa.table(data, schema=FOUND)

    def _versions(self) -> pa.Array:
        times = pa.array(self.mtime_ns, pa.int64()).cast(pa.string())
        if not self.etags:
            return times
        etags = [self.etags.get(row) for row in range(len(self.relative))]
        return pc.coalesce(pa.array(etags, pa.string()), times)

    def escape(self) -> None:
        """Make names that are not UTF-8 printable, and say so."""
        for row, relative in enumerate(self.relative):
            if not relative.isascii() and (shown := printable(relative)) != relative:
                self.relative[row] = shown
                self.homes.pop(row, None)
                self.trouble[row] = ("skipped", "name_not_utf8", None)
