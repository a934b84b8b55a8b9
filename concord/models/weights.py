"""Weight files: their digest, computed once, and where they are."""

import hashlib
import json
from pathlib import Path

from concord.errors import UserError
from concord.files import write_text

FORMATS = (".safetensors", ".bin", ".pt", ".pth")
FOLDER_CONFIG = "open_clip_config.json"


def cached_sha256(path: Path, cache: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits.

    `cache` is a JSON file that remembers the digests of files whose path, size and modification
    time did not change, so that gigabytes are not read at every start. It is written only in a
    results folder that is there.
    """
    state = path.stat()
    key = str(path.resolve())
    stamp = [state.st_size, state.st_mtime_ns]
    known = _read(cache)
    entry = known.get(key)
    if isinstance(entry, dict) and entry.get("stamp") == stamp:
        return str(entry["sha256"])
    digest = sha256(path)
    if cache.parent.parent.exists():
        write_text(cache, json.dumps({**_read(cache), key: {"stamp": stamp, "sha256": digest}}))
    return digest


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def weights_file(checkpoint: Path, key: str) -> Path:
    """The weight file that a path means: the file itself, or the only one of a model's folder.

    `key` is the configuration key that holds the path. Raises UserError if there is no such file,
    or more than one in the folder.
    """
    if checkpoint.is_file():
        return checkpoint
    if not checkpoint.is_dir():
        raise UserError(
            f"{key}: {checkpoint} does not exist; expected a weight file "
            f"({', '.join(FORMATS)}) or a folder with {FOLDER_CONFIG} and one weight file"
        )
    found = sorted(path for path in checkpoint.iterdir() if path.suffix in FORMATS)
    if len(found) != 1 or not (checkpoint / FOLDER_CONFIG).is_file():
        names = ", ".join(path.name for path in found) or "no weight file"
        raise UserError(
            f"{key}: the folder {checkpoint} holds {names}; expected {FOLDER_CONFIG} and exactly "
            "one weight file, or name the file itself"
        )
    return found[0]


def folder_config(weights: Path) -> Path | None:
    """The open_clip_config.json beside a weight file, as model hubs lay it out; None if none."""
    path = weights.with_name(FOLDER_CONFIG)
    return path if path.is_file() else None


def _read(cache: Path) -> dict[str, object]:
    try:
        content = json.loads(cache.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
