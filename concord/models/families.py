"""What the catalogue has to know of a family while a configuration is read.

Light to import: no torch, no open_clip. What a family does with its models is in its own module.
"""

import importlib.util
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from concord.errors import UserError, did_you_mean, shortened
from concord.models.base import DECIDES, Modality, ModelSpec
from concord.models.weights import weights_file

if TYPE_CHECKING:
    from concord.models.catalogue import Entry

PICTURE_KEYS = frozenset({"frames"})
HUB = "hf-hub:"


class Family:
    """A family whose weights are one file, whose entries say the rest."""

    keys: frozenset[str] = PICTURE_KEYS
    """Of the configuration keys that not every family has: those that this one has."""
    decides: Mapping[str, tuple[Modality, ...]] = DECIDES
    """The modalities whose numbers an option decides, where it does not decide all."""
    published: str | None = None
    """The weights that are fetched where an entry and the configuration name none."""
    description: str | None = None
    """Name of the file beside the weights that describes the network."""

    def checkpoint(self, given: Path, key: str) -> Path:
        """The file or folder that a path means; UserError, with the key, if it cannot be used."""
        return weights_file(given, key, self.description)

    def weight_files(self, checkpoint: Path) -> list[Path]:
        """The files whose digests are that of the weights."""
        return [checkpoint]

    def settings(self, checkpoint: Path) -> list[Path]:
        """Other files that come with the weights and decide numbers too."""
        path = self.described(checkpoint)
        return [path] if path else []

    def described(self, checkpoint: Path) -> Path | None:
        """The description of the network that comes with a checkpoint; None if none does."""
        path = checkpoint.with_name(self.description) if self.description else None
        return path if path and path.is_file() else None

    def dim(self, described: Path | None, architecture: str | None, name: str) -> int:
        """Embedding size of a network that is not an entry's own; 0 if only a hub knows it."""
        return 0

    def completed(self, spec: ModelSpec, entry: "Entry", frames: int | None) -> ModelSpec:
        """The spec with what only the family knows; `frames` are the configuration's."""
        return spec

    def reads(self, entry: "Entry") -> str:
        """What an entry reads under its default protocol, in words."""
        return entry.reads

    def source(self, entry: "Entry") -> str:
        """Where an entry's weights come from, in words."""
        if entry.checkpoint:
            return "in this package"
        return entry.pretrained or self.published or "yours"


class OpenClip(Family):
    """Architectures of open_clip by name, or described by a file beside the weights."""

    keys = PICTURE_KEYS | {"architecture", "pretrained"}
    decides: Mapping[str, tuple[Modality, ...]] = {
        **DECIDES,
        "frames_at": ("video",),
        "resize": ("video", "image"),
        "normalisation": ("video", "image"),
        "aggregate": ("video", "image"),
    }
    description = "open_clip_config.json"

    def dim(self, described: Path | None, architecture: str | None, name: str) -> int:
        """As the description or open_clip's own has it. Raises UserError without either."""
        if described:
            return _size(described, "model_cfg.embed_dim")
        if architecture is None:
            raise UserError(
                f"models.{name}.architecture: needed for an open_clip model whose checkpoint has "
                f"no {self.description} beside it; for example ViT-B-32"
            )
        if architecture.startswith(HUB):
            return 0
        folder = open_clip_folder()
        known = sorted(path.stem for path in folder.glob("*.json"))
        if architecture not in known:
            raise UserError(
                f"models.{name}.architecture: open_clip has none named {architecture!r}"
                f"{did_you_mean(architecture, known)} (`open_clip.list_models()` has all)"
            )
        return _size(folder / f"{architecture}.json", "embed_dim")

    def source(self, entry: "Entry") -> str:
        """Architecture and tag, in open_clip's own terms."""
        return f"{entry.architecture}:{entry.pretrained}" if entry.pretrained else "yours"


class ImageBind(Family):
    """The published weights, or a file with a description beside it for another size."""

    keys = frozenset({"compile"})
    decides: Mapping[str, tuple[Modality, ...]] = {
        **DECIDES,
        "frames": (),
        "views": ("video",),
        "audio_mean": ("audio",),
        "end_token": ("text",),
    }
    published = "imagebind_huge.pth, as published"
    description = "imagebind_config.json"

    def dim(self, described: Path | None, architecture: str | None, name: str) -> int:
        """As described; 1024 as published. Raises UserError for a description that is none."""
        from concord.models.imagebind.config import HUGE, read_config

        return read_config(described).dim if described else HUGE.dim


class ImageBindPackage(ImageBind):
    """The same, whose network is the package's own."""

    keys = frozenset()


class Transformers(Family):
    """A repository of a hub, or a folder in the layout that `save_pretrained` leaves."""

    keys = PICTURE_KEYS | {"architecture", "pretrained"}
    decides: Mapping[str, tuple[Modality, ...]] = {**DECIDES, "heads": ("text",)}
    description = "config.json"
    weights = ("model*.safetensors", "pytorch_model*.bin")
    """Names of weight files, the better first; the others are read as data, never run."""
    settings_files = (
        "config.json",
        "processor_config.json",
        "preprocessor_config.json",
        "video_preprocessor_config.json",
        "tokenizer*",
        "special_tokens_map.json",
        "added_tokens.json",
        "vocab*",
        "merges.txt",
        "*.model",
    )
    """Names of what decides numbers beside the weights; notes and logs of a training do not."""
    indices = "*.index.json"
    """Names of what says which of several weight files holds which tensor."""

    def checkpoint(self, given: Path, key: str) -> Path:
        """The folder with config.json and weights; UserError, with the key, for anything else."""
        if not (given / "config.json").is_file() or not self.weight_files(given):
            raise UserError(
                f"{key}: expected a folder with config.json and weights "
                f"({' or '.join(self.weights)}), as `save_pretrained` leaves it; found "
                f"{'another folder' if given.is_dir() else 'none'} at {given}"
            )
        return given

    def weight_files(self, checkpoint: Path) -> list[Path]:
        """All weights of the best format there is; large models have several files."""
        found = (sorted(checkpoint.glob(pattern)) for pattern in self.weights)
        return next((files for files in found if files), [])

    def settings(self, checkpoint: Path) -> list[Path]:
        """Settings of network, processor and tokenizer."""
        found = {path for kind in self.settings_files for path in checkpoint.glob(kind)}
        return sorted(path for path in found if path.is_file())

    def described(self, checkpoint: Path) -> Path | None:
        """The folder's config.json."""
        return checkpoint / "config.json"

    def reads(self, entry: "Entry") -> str:
        """As the architecture needs."""
        from concord.models.transformers.architectures import ARCHITECTURES

        if entry.architecture is None:
            return "proxies, or originals where its architecture needs them"
        return ARCHITECTURES[entry.architecture].reads

    def completed(self, spec: ModelSpec, entry: "Entry", frames: int | None) -> ModelSpec:
        """With the architecture's modalities and, of a folder, its sizes; see there."""
        from concord.models.transformers.architectures import completed

        return completed(spec, entry, frames)


FAMILIES: dict[str, Family] = {
    "mini": Family(),
    "open_clip": OpenClip(),
    "imagebind": ImageBind(),
    "imagebind_package": ImageBindPackage(),
    "transformers": Transformers(),
}


def open_clip_folder() -> Path:
    """open_clip's descriptions of architectures, found without importing it (torch is heavy)."""
    found = importlib.util.find_spec("open_clip")
    if found is None or not found.submodule_search_locations:
        raise UserError("the package open_clip_torch is not installed; run `make` again")
    return Path(found.submodule_search_locations[0]) / "model_configs"


def read_settings(path: Path) -> dict[str, Any]:
    """A file of settings in JSON. Raises UserError, with the path, if it is not an object."""
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path} cannot be read as JSON ({shortened(error)}); copy the file again"
        ) from error
    if not isinstance(content, dict):
        raise UserError(
            f"{path}: found a {type(content).__name__}, expected an object with the model's "
            "settings; copy the file again"
        )
    return content


def setting(content: Mapping[str, Any], key: str, path: Path) -> Any:
    """What stands at a dotted key; None where it, or what it would stand in, is not there.

    Raises UserError, with `path`, where something that can hold no keys is in between.
    """
    value: Any = content
    for part in key.split("."):
        if not isinstance(value, Mapping):
            raise UserError(
                f"{path}: found {value!r} where {key} has to be, expected an object; copy the file "
                "again"
            )
        value = value.get(part)
        if value is None:
            return None
    return value


def number(content: Mapping[str, Any], key: str, path: Path) -> int | None:
    """The whole number above 0 at a dotted key, None if there is none; else as `setting`."""
    value = setting(content, key, path)
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and value > 0):
        return value
    raise UserError(f"{path}: {key} is {value!r}, expected a whole number above 0")


def _size(path: Path, key: str) -> int:
    """The embedding size that a description has to name."""
    found = number(read_settings(path), key, path)
    if found is None:
        raise UserError(f"{path}: found no {key}, expected the size of the embedding")
    return found
