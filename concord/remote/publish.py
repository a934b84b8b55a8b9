"""Uploads what a run leaves: only what changed, and nothing is deleted that we did not write."""

import hashlib
import json
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from concord.config import Config
from concord.errors import UserError
from concord.files import write_text
from concord.progress import Progress
from concord.remote.settings import use
from concord.remote.storage import Stamp, Storage, storage
from concord.remote.urls import Url

RESULTS = ("tables", "exports", "report", "provenance.json")
"""What is uploaded of the results folder; the last ones last, since they speak of the others."""
ROOMS = (
    *("clips", "prompts", "media", "embeddings", "synchrony", "scores", "quality", "probes"),
    "projections",
)
"""What is uploaded first with publish.everything: the tables alone."""
RECORD, MARK = "publish/uploaded.json", "publish/done.json"
"""Below the results folder: what we wrote, and that all of it is there."""
UPLOADS = 8
"""Files that are uploaded at a time."""
TOLD = 5
"""Objects that a message names."""


@dataclass(frozen=True)
class Uploaded:
    """A file as it was when it was uploaded, and the object that it became."""

    file_size: int
    mtime_ns: int
    size: int
    etag: str | None

    def is_object(self, there: Stamp) -> bool:
        """Whether the object is the one we wrote, or were about to write."""
        return self.size < 0 or (there.size, there.etag) == (self.size, self.etag)

    def is_of(self, file: Path, there: Stamp | None) -> bool:
        """Whether the file is what it was, and the object too."""
        state = file.stat()
        same = (state.st_size, state.st_mtime_ns) == (self.file_size, self.mtime_ns)
        return same and self.size >= 0 and there is not None and self.is_object(there)


def publish(config: Config) -> None:
    """Make the objects below publish.path what the results folder holds, if there is such a key.

    Files that are there as we left them are not uploaded again; objects that we wrote and whose
    files are gone are deleted, and no others. What somebody else put in the place of an object that
    we wrote stays, and is told. What was interrupted is repeated by the next call: the mark of a
    finished upload is written at the end.
    Raises UserError if the server or the configuration is at fault.
    """
    if config.publish is None:
        return
    use(config.remote)
    target, results = config.publish.path, config.results
    (results / MARK).unlink(missing_ok=True)
    ours = _read_record(results / RECORD, target)
    files = list(_files(results, config.publish.everything))
    place = storage(target)
    there = dict(place.list_folder(target))
    old = {name: was for name, was in ours.items() if name in there}
    lost = {name for name in old if not (results / name).is_file()}
    gone = {name for name in lost if old[name].is_object(there[name])}
    replaced = {n for n in files if n in old and _is_replaced(results / n, old[n], there[n])}
    rest = [name for name in files if name not in replaced]
    replaced |= lost - gone
    todo = [n for n in rest if not (n in old and old[n].is_of(results / n, there.get(n)))]
    planned = {name: _absent(results / name) for name in todo}
    _write_record(results / RECORD, target, old | planned)
    done = old | _upload(place, target, results, todo)
    for name in gone:
        place.remove(Url(target.below(name)))
    _write_record(results / RECORD, target, {n: done[n] for n in done if n not in gone})
    write_text(results / MARK, json.dumps({"path": target, "objects": len(files)}) + "\n")
    print(
        f"{target}: {len(todo)} files uploaded, {len(gone)} objects deleted, "
        f"{len(rest) - len(todo)} as they were",
        file=sys.stderr,
    )
    if replaced:
        named = ", ".join(sorted(replaced)[:TOLD]) + (", ..." if len(replaced) > TOLD else "")
        print(
            f"{target}: {len(replaced)} objects stay as somebody else replaced them: {named}; "
            "delete them there, and the next run uploads its own",
            file=sys.stderr,
        )


def _is_replaced(file: Path, ours: Uploaded, there: Stamp) -> bool:
    """Whether an object is neither what we wrote nor, as its ETag tells, what the file holds."""
    if ours.is_object(there):
        return False
    if file.stat().st_size != there.size:
        return True
    with file.open("rb") as content:
        digest = hashlib.file_digest(content, lambda: hashlib.md5(usedforsecurity=False))
    return digest.hexdigest() != there.etag


def _files(results: Path, everything: bool) -> Iterator[str]:
    """The files to be uploaded, by their path below the results folder, in order."""
    for name in (*(ROOMS if everything else ()), *RESULTS):
        top = results / name
        for path in [top] if top.is_file() else sorted(top.rglob("*")):
            if path.is_file() and _is_result(path.relative_to(results), name in ROOMS):
                yield path.relative_to(results).as_posix()


def _is_result(path: Path, only_tables: bool) -> bool:
    if any(part.startswith(".") for part in path.parts):
        return False
    return not only_tables or path.suffix in (".parquet", ".json")


def _upload(place: Storage, target: Url, results: Path, names: list[str]) -> dict[str, Uploaded]:
    """Upload these files, the last only when all others are there."""
    progress = Progress(f"upload to {target}: files", len(names))

    def upload(name: str) -> tuple[str, Uploaded]:
        file = results / name
        state = file.stat()
        stamp = place.store(file, Url(target.below(name)))
        progress.step()
        return name, Uploaded(state.st_size, state.st_mtime_ns, stamp.size, stamp.etag)

    with ThreadPoolExecutor(UPLOADS) as pool:
        done = dict(pool.map(upload, names[:-1]))
    return done | dict(map(upload, names[-1:]))


def _absent(file: Path) -> Uploaded:
    """The record of a file whose object may be there in part, or of another content."""
    return Uploaded(file.stat().st_size, 0, -1, None)


def _read_record(path: Path, target: Url) -> dict[str, Uploaded]:
    """What we wrote below this address; what we wrote below another one stays there."""
    if not path.exists():
        return {}
    try:
        content: dict[str, Any] = json.loads(path.read_text("utf-8"))
        if content["path"] != target:
            return {}
        return {name: Uploaded(**was) for name, was in content["files"].items()}
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path}: damaged ({error}); delete it and run again: everything is uploaded anew then"
        ) from error


def _write_record(path: Path, target: Url, files: dict[str, Uploaded]) -> None:
    content = {"path": target, "files": {name: asdict(was) for name, was in files.items()}}
    write_text(path, json.dumps(content, indent=1) + "\n")
