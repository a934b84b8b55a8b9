"""Weight files: their digest, computed once, and where they are."""

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from concord.errors import UserError
from concord.files import write_text

FORMATS = (".safetensors", ".bin", ".pt", ".pth")


def cached_sha256(path: Path, cache: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits.

    `cache` is a JSON file that remembers the digests of files whose path, size and modification
    time did not change, so that gigabytes are not read at every start. It is written only in a
    results folder that is there, and only if it can be.
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
        with suppress(OSError):
            write_text(cache, json.dumps({**_read(cache), key: {"stamp": stamp, "sha256": digest}}))
    return digest


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def joint_sha256(digests: Mapping[str, str]) -> str:
    """One digest of files, by name: that of the only one, or that of the list of all."""
    if len(digests) == 1:
        return next(iter(digests.values()))
    lines = "".join(f"{digest}  {name}\n" for name, digest in sorted(digests.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def weights_file(given: Path, key: str, description: str | None) -> Path:
    """The weight file that a path means: the file itself, or the only one of a model's folder.

    `description` is the name of the file that a folder has to hold as well, None where the family
    takes no folders; `key` is the configuration key that holds the path.
    Raises UserError if there is no such file, or more than one in the folder.
    """
    if given.is_file():
        return given
    folder = f" or a folder with {description} and one weight file" if description else ""
    if description is None or not given.is_dir():
        found = "is a folder" if given.is_dir() else "does not exist"
        raise UserError(
            f"{key}: {given} {found}; expected a weight file ({', '.join(FORMATS)}){folder}"
        )
    weights = sorted(path for path in given.iterdir() if path.suffix in FORMATS)
    if len(weights) != 1 or not (given / description).is_file():
        names = ", ".join(path.name for path in weights) or "no weight file"
        raise UserError(
            f"{key}: the folder {given} holds {names}; expected {description} and exactly "
            "one weight file, or name the file itself"
        )
    return weights[0]


def _read(cache: Path) -> dict[str, object]:
    try:
        content = json.loads(cache.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
