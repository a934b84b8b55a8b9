"""What is in a collection: one walk over its folders, or its manifest's rows."""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from stat import S_ISREG

import pyarrow as pa
import pyarrow.compute as pc

from concord.clips.prompts import read_indices
from concord.clips.records import Records, read_records, shown
from concord.config import Collection
from concord.errors import UserError

# In each list, the first extension that exists wins when files compete for a prompt.
VIDEO = (
    *(".mp4", ".avi", ".mov", ".mkv", ".webm", ".flv", ".wmv", ".ts", ".m4v", ".mpg", ".mpeg"),
    *(".gif", ".mts", ".m2ts", ".m2v", ".3gp", ".3g2", ".ogv", ".vob", ".mxf", ".asf", ".f4v"),
)
AUDIO = (
    *(".wav", ".mp3", ".flac", ".m4a", ".ogg", ".opus", ".aac", ".wma", ".aif", ".aiff", ".oga"),
    *(".weba", ".mka", ".ac3", ".amr", ".au", ".caf", ".wv"),
)
EXTENSIONS = VIDEO + AUDIO
KINDS = dict.fromkeys(VIDEO, "video") | dict.fromkeys(AUDIO, "audio")
SOUND_FOLDER = "audio"

Identity = tuple[int, int]
"""Device and inode of a folder, whatever path or link leads to it."""

FOUND = pa.schema(
    [
        ("clip_id", pa.string()),
        ("path", pa.string()),  # absolute
        ("kind", pa.string()),  # video, audio or other
        ("home", pa.string()),  # separate sound: the clip_id, without extension, it would suit
        ("size", pa.int64()),
        ("mtime_ns", pa.int64()),
        ("status", pa.string()),
        ("reason", pa.string()),
        ("detail", pa.string()),
        ("index", pa.int64()),  # what a manifest says
        ("audio_path", pa.string()),
        ("audio_stamp", pa.string()),  # size and modification time of audio_path
    ]
)


def scan(collection: Collection, results: Path | None = None) -> pa.Table:
    """Every file of a collection as FOUND, in the order of clip_id; folders are read once.

    Symbolic links are followed. Hidden folders are not entered, nor is a folder inside itself, nor
    the folder of results. Raises UserError for a manifest that cannot be read; folders must exist.
    """
    closed = [_identity(results)] if results and results.exists() else []
    roots = [absolute(path) for path in collection.path]
    sound = absolute(collection.audio) if collection.audio else None
    sound = None if sound in roots else sound
    tables = []
    for root, prefix in zip(roots, _prefixes(roots), strict=True):
        if Path(root).is_dir():
            files = _walk(root, prefix, collection.recursive, {sound} - {None}, closed)
            tables.append(files.table(root))
        else:
            tables.append(_manifest(Path(root), prefix))
    if not any(pc.any(pc.equal(table["kind"], "video")).as_py() for table in tables):
        tables = [_without_homes(table) for table in tables]
    if sound:
        prefix = _sound_prefix(sound, roots)
        files = _walk(sound, prefix, collection.recursive, set(roots), closed)
        files.are_sounds()
        tables.append(files.table(sound))
    found = _unique(pa.concat_tables(tables))
    return found.take(pc.sort_indices(found["clip_id"]))


def absolute(path: Path) -> str:
    """An absolute path without `.` and `..`, links kept, `~` replaced."""
    return os.path.abspath(path.expanduser())  # noqa: PTH100 (Path.resolve follows links)


def stem_of(path: str) -> str:
    """File name without its folder and its extension."""
    return os.path.splitext(path.rpartition("/")[2])[0]  # noqa: PTH122


def extension_of(path: str) -> str:
    """Extension with its dot, as written."""
    return os.path.splitext(path)[1]  # noqa: PTH122


def bare(path: str) -> str:
    """The path without its extension."""
    return os.path.splitext(path)[0]  # noqa: PTH122


@dataclass
class _Files:
    """Columns of files under one folder, under construction."""

    prefix: str
    relative: list[str] = field(default_factory=list)
    kind: list[str] = field(default_factory=list)
    size: list[int | None] = field(default_factory=list)
    mtime_ns: list[int | None] = field(default_factory=list)
    homes: dict[int, str] = field(default_factory=dict)
    trouble: dict[int, tuple[str, str, str | None]] = field(default_factory=dict)

    def add(self, relative: str, entry: "os.DirEntry[str] | Path") -> None:
        """Add a file by its path below the folder; what is wrong with it joins `trouble`."""
        row = len(self.relative)
        kind = KINDS.get(extension_of(relative).lower(), "other")
        size = mtime_ns = None
        try:
            state = entry.stat()
            size, mtime_ns = state.st_size, state.st_mtime_ns
            if not S_ISREG(state.st_mode):
                self.trouble[row] = ("skipped", "not_a_file", None)
        except OSError as error:
            self.trouble[row] = ("failed", "missing", error.strerror)
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

    def are_sounds(self) -> None:
        """Declare all media to be separate sound, whatever their kind."""
        self.homes = {
            row: bare(relative)
            for row, relative in enumerate(self.relative)
            if self.kind[row] != "other"
        }

    def table(self, root: str) -> pa.Table:
        """The files as FOUND, with `root` before their paths."""
        self._escape()
        root = _printable(root).rstrip("/")
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
            "status": pa.array([t[0] for t in trouble], pa.string()),
            "reason": pa.array([t[1] for t in trouble], pa.string()),
            "detail": pa.array([t[2] for t in trouble], pa.string()),
        }
        for name in FOUND.names[len(data) :]:
            data[name] = pa.nulls(rows, FOUND.field(name).type)
        return pa.table(data, schema=FOUND)

    def _escape(self) -> None:
        for row, relative in enumerate(self.relative):
            if not relative.isascii() and (printable := _printable(relative)) != relative:
                self.relative[row] = printable
                self.homes.pop(row, None)
                self.trouble[row] = ("skipped", "name_not_utf8", None)


def _printable(name: str) -> str:
    r"""The name with bytes that are not UTF-8 written as \xff."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _walk(
    top: str, prefix: str, recursive: bool, leave_out: set[str | None], closed: list[Identity]
) -> _Files:
    """All files below a folder; without `recursive`, only its own and those of its audio/.

    Folders whose path is in `leave_out`, or which are one of `closed`, are not entered.
    """
    files = _Files(prefix)
    stack = [(top, "", (*closed, _identity(Path(top))))]
    while stack:
        folder, relative, above = stack.pop()
        try:
            for entry in _entries(folder):
                if not _is_folder(entry):
                    _add_entry(files, relative, entry)
                elif _entered(entry, relative, recursive) and entry.path not in leave_out:
                    identity = _identity(entry)
                    if identity not in above:
                        stack.append((entry.path, f"{relative}{entry.name}/", (*above, identity)))
        except OSError as error:
            files.add_trouble(relative or ".", "failed", "unreadable", error.strerror)
    return files


def _identity(folder: "os.DirEntry[str] | Path") -> Identity:
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


def _add_entry(files: _Files, folder: str, entry: "os.DirEntry[str]") -> None:
    relative = folder + entry.name
    if entry.name.startswith("."):
        files.add_trouble(relative, "skipped", "hidden", None)
        return
    row = len(files.relative)
    files.add(relative, entry)
    if files.kind[row] == "audio" and f"/{SOUND_FOLDER}/" in f"/{folder}":
        home = f"/{folder}".replace(f"/{SOUND_FOLDER}/", "/", 1)[1:]
        files.homes[row] = files.prefix + bare(home + entry.name)


def _manifest(path: Path, prefix: str) -> pa.Table:
    """The files that a manifest names, as FOUND."""
    records = read_records(path, ("path", "index", "audio_path"))
    problems: list[str] = []
    if "path" not in records.names:
        raise UserError(records.missing("path"))
    indices = read_indices(records, "index", problems, required=False)
    folder = os.path.dirname(absolute(path))  # noqa: PTH120
    files, paths = _Files(prefix), []
    for row in range(len(records)):
        if target := _target(records, row, "path", folder, problems):
            paths.append(target)
            files.add(_below(target, folder), Path(target))
    sounds = _manifest_sounds(records, folder, files, problems)
    if problems:
        raise UserError(*shown(problems))
    files._escape()
    clip_ids = pa.array([prefix + relative for relative in files.relative], pa.string())
    table = files.table_with(pa.array(map(_printable, paths), pa.string()), clip_ids)
    columns = dict(zip(table.column_names, table.columns, strict=True))
    columns["index"] = pa.array(indices or [None] * len(records), pa.int64())
    columns["audio_path"] = pa.array([sound[0] for sound in sounds], pa.string())
    columns["audio_stamp"] = pa.array([sound[1] for sound in sounds], pa.string())
    return pa.table(columns, schema=FOUND)


def _manifest_sounds(
    records: Records, folder: str, files: _Files, problems: list[str]
) -> list[tuple[str | None, str | None]]:
    """Path and stamp of each row's separate sound; a missing one is trouble for its clip."""
    sounds: list[tuple[str | None, str | None]] = []
    values = records.columns.get("audio_path", [None] * len(records))
    for row, value in enumerate(values):
        sound = None
        if value not in (None, ""):
            sound = _target(records, row, "audio_path", folder, problems)
        stamp = None
        if sound and not problems:
            try:
                stamp = _stamp(sound)
            except OSError as error:
                files.trouble[row] = ("failed", "missing", f"audio_path: {error.strerror}")
        sounds.append((sound and _printable(sound), stamp))
    return sounds


def _stamp(path: str) -> str:
    state = Path(path).stat()
    return f"{state.st_size} {state.st_mtime_ns}"


def _target(
    records: Records, row: int, column: str, folder: str, problems: list[str]
) -> str | None:
    value = records.columns[column][row]
    if not isinstance(value, str) or not value or "\0" in value:
        problems.append(f"{records.where(row)}: {column}: expected a path, found {value!r}")
        return None
    return os.path.normpath(os.path.join(folder, value))  # noqa: PTH118


def _below(path: str, folder: str) -> str:
    """The path below the folder; one that is not below it keeps all but its leading slash."""
    base = folder.rstrip("/") + "/"
    return path[len(base) :] if path.startswith(base) else path.lstrip("/")


def _prefixes(roots: list[str]) -> list[str]:
    """What tells the clips of several folders apart: as much of each path's end as it takes."""
    if len(roots) == 1:
        return [""]
    parts = [root.strip("/").split("/") for root in roots]
    for length in range(1, max(map(len, parts)) + 1):
        names = ["/".join(part[-length:]) + "/" for part in parts]
        if len(set(names)) == len(names):
            return names
    raise UserError(f"the same folder is listed twice: {', '.join(roots)}; list it once")


def _sound_prefix(sound: str, roots: list[str]) -> str:
    for root, prefix in zip(roots, _prefixes(roots), strict=True):
        if sound.startswith(root.rstrip("/") + "/"):
            return f"{prefix}{_below(sound, root)}/"
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
