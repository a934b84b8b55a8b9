"""What computed the embeddings of a table: device, precision, weights and packages."""

import importlib.metadata
import json
import zlib
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from concord.errors import UserError
from concord.files import write_text
from concord.models.base import Embedder, ModelSpec
from concord.models.devices import describe, precision
from concord.resume import previous_of
from concord.tables import read_metadata

if TYPE_CHECKING:
    import torch

PACKAGES = (
    "av",
    "numpy",
    "open_clip_torch",
    "pillow",
    "soundfile",
    "timm",
    "tokenizers",
    "torch",
    "torchaudio",
    "torchvision",
    "transformers",
)

Computing = dict[str, Any]


def computing_now(spec: ModelSpec, embedder: Embedder, device: "torch.device") -> Computing:
    """What computes the rows of this run."""
    return {
        "device": describe(device),
        "precision": precision(spec.precision, device),
        "weights_sha256": getattr(embedder, "weights_sha256", spec.sha256),
        "packages": _versions(),
        **getattr(embedder, "provenance", {}),
    }


def refuse_other(
    earlier: Iterable[Computing], now: Computing, model_name: str, output: Path
) -> None:
    """Raise UserError if the rows that are kept were computed so that these would not fit them.

    So it is if a hub has other weights or settings now, or if `precision: auto` means another one
    here.
    """
    model = f"models.{model_name}"
    for before in earlier:
        if before["weights_sha256"] != now["weights_sha256"]:
            raise UserError(
                f"{model}: the weights have changed from sha256 {before['weights_sha256']} to "
                f"{now['weights_sha256']} since part of {output} was computed; set "
                f"{model}.sha256 to the second to compute everything with it"
            )
        if before.get("config_sha256") != now.get("config_sha256"):
            raise UserError(
                f"{model}: the hub's settings of the network have changed since part of "
                f"{output} was computed; set {model}.checkpoint to a copy of the one you "
                f"want, or name its revision in {model}.pretrained "
                "(organisation/name@revision)"
            )
        if before["precision"] != now["precision"]:
            raise UserError(
                f"{model}.precision: part of {output} was computed in "
                f"{before['precision']}, and `auto` is {now['precision']} on this device; set "
                f"it to {before['precision']} or {now['precision']} to compute everything in "
                "that, or run again on a machine as before"
            )


def keep(output: Path, computed: list[Computing]) -> None:
    """Keep what computes the rows of a table that is not written yet."""
    note = {"computed": computed, "crc32": _checksum(computed)}
    write_text(_note_of(output), json.dumps(note))


def computed_by(output: Path) -> list[Computing]:
    """What computed a table's rows; nothing if no model did, or if it is lost."""
    with suppress(FileNotFoundError, ValueError):
        note = json.loads(_note_of(output).read_text("utf-8"))
        if isinstance(note, list):  # as earlier versions wrote it
            return note
        if isinstance(note, dict) and note.get("crc32") == _checksum(note.get("computed")):
            return list(note["computed"])
    with suppress(UserError):  # the note is not there, or damaged
        return list(read_metadata(previous_of(output)).get("computed", []))
    return []


def _checksum(computed: Any) -> int:
    return zlib.crc32(json.dumps(computed).encode())


def _note_of(output: Path) -> Path:
    return output.with_name(f".{output.name}.computed")


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        with suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found
