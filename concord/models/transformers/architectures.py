"""What this family has to know of each architecture; light to import.

An architecture has the name that its `config.json` gives as `model_type`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from concord.errors import UserError, did_you_mean
from concord.models.base import Modality, ModelSpec
from concord.models.families import number, read_settings

if TYPE_CHECKING:
    from concord.models.catalogue import Entry

Sees = Literal["frames", "clip", "video"]
"""How pictures of a clip go in: one by one; together; together, through a video processor."""
PICTURES: tuple[Modality, ...] = ("video", "image", "text")


@dataclass(frozen=True)
class Architecture:
    """One architecture: what it embeds, and where its configuration has the embedding's size.

    `heads` are the choices of a network that has a text head for each other modality, by the name
    that the protocol's option `heads` has; None stands for the default.
    """

    name: str
    modalities: tuple[Modality, ...]
    dim_keys: tuple[str, ...] = ("projection_dim",)
    dim: int = 512
    sees: Sees = "frames"
    heads: Mapping[str | None, tuple[Modality, ...]] | None = None
    full_length_texts: bool = False

    @property
    def files(self) -> set[Modality]:
        """The modalities that are read from files."""
        return set(self.modalities) - {"text"}

    def embeds(self, heads: str | None) -> tuple[Modality, ...]:
        """The modalities that the chosen heads embed; all without a choice to make."""
        return self.modalities if self.heads is None else self.heads[heads]

    @property
    def reads(self) -> Literal["proxies", "originals"]:
        """Originals where proxies and waves lack what is needed: 48 kHz of CLAP, 336 px of PE."""
        return "originals" if "audio" in self.modalities or self.sees == "video" else "proxies"

    def own_dim(self, config: Mapping[str, Any], path: Path) -> int:
        """The embedding's size by a checkpoint's configuration, which may omit defaults."""
        found = (number(config, key, path) for key in self.dim_keys)
        return next(filter(None, found), self.dim)


_SIGLIP = ("text_config.projection_size", "text_config.hidden_size")
_TEXT = ("text_config.hidden_size",)

ARCHITECTURES: dict[str, Architecture] = {
    architecture.name: architecture
    for architecture in (
        Architecture("clip", PICTURES),
        Architecture("siglip", PICTURES, _SIGLIP, 768, full_length_texts=True),
        Architecture("siglip2", PICTURES, _SIGLIP, 768, full_length_texts=True),
        Architecture("chinese_clip", PICTURES),
        Architecture("altclip", PICTURES, dim=768),
        Architecture("xclip", ("video", "text"), sees="clip"),
        Architecture("clap", ("audio", "text")),
        Architecture("pe_video", ("video", "text"), _TEXT, 1024, sees="video"),
        Architecture("pe_audio", ("audio", "text"), _TEXT, 1024),
        Architecture(
            "pe_audio_video",
            ("video", "audio", "text"),
            _TEXT,
            1024,
            sees="video",
            heads={
                None: ("video", "audio"),
                "video_text": ("video", "text"),
                "audio_text": ("audio", "text"),
            },
        ),
    )
}


def completed(spec: ModelSpec, entry: "Entry", wanted_frames: int | None) -> ModelSpec:
    """The spec with what its architecture and its folder's configuration say.

    `entry` is the catalogue's, `wanted_frames` the configuration's `frames`. Raises UserError,
    with the configuration key, where they do not fit the checkpoint.
    """
    path = Path(spec.checkpoint or "") / "config.json"
    config = read_settings(path) if spec.checkpoint else {}
    architecture = _architecture(spec, config, entry.architecture)
    published = entry.dim if spec.pretrained == entry.pretrained else None
    found = replace(
        spec,
        architecture=architecture.name,
        modalities=_modalities(spec, architecture),
        dim=architecture.own_dim(config, path) if spec.checkpoint else published or 0,
        reads=architecture.reads,
        frames=wanted_frames or _own_frames(spec, config) or spec.frames,
    )
    check_frames(found, config, path)
    return found


def check_frames(spec: ModelSpec, config: Mapping[str, Any], path: Path) -> None:
    """Raise UserError if a network that takes a fixed number of frames is to be given another."""
    if config.get("model_type") == "xclip" and spec.frames != (own := _xclip_frames(config, path)):
        raise UserError(
            f"models.{spec.name}.frames: {spec.frames}, but this checkpoint takes exactly {own}; "
            f"set `frames: {own}`"
        )


def _architecture(spec: ModelSpec, config: dict[str, Any], expected: str | None) -> Architecture:
    key = f"models.{spec.name}.{'checkpoint' if spec.checkpoint else 'architecture'}"
    if spec.checkpoint and spec.architecture:
        raise UserError(f"models.{spec.name}.architecture: the folder says it; remove the key")
    found = config.get("model_type") if spec.checkpoint else spec.architecture
    if spec.checkpoint and not isinstance(found, str):
        raise UserError(
            f"{key}: {spec.checkpoint}/config.json names no model_type, expected one of "
            f"{', '.join(ARCHITECTURES)}; give a folder that `save_pretrained` left"
        )
    if found is None:
        raise UserError(
            f"{key}: needed for weights of a hub that are not in the catalogue: the `model_type` "
            f"of their config.json, one of {', '.join(ARCHITECTURES)}"
        )
    if found not in ARCHITECTURES:
        raise UserError(
            f"{key}: no support for the architecture {found!r}"
            f"{did_you_mean(found, ARCHITECTURES)}; supported: {', '.join(ARCHITECTURES)}"
        )
    if spec.checkpoint and expected and found != expected:
        raise UserError(
            f"{key}: {spec.checkpoint} is of the architecture {found!r}, expected {expected!r}; "
            "set `entry: transformers`, or name another folder"
        )
    if "PeAudioFrameLevelModel" in str(config.get("architectures")):
        raise UserError(
            f"{key}: {spec.checkpoint} embeds every frame of a sound, not the sound as a whole; "
            "use a checkpoint of PeAudioModel or PeAudioVideoModel"
        )
    return ARCHITECTURES[found]


def _modalities(spec: ModelSpec, architecture: Architecture) -> tuple[Modality, ...]:
    """What the chosen heads embed."""
    chosen = spec.options.get("heads")
    if chosen and architecture.heads is None:
        raise UserError(
            f"models.{spec.name}.protocol: it is for PE-AV only, and this model is "
            f"{architecture.name!r}; remove the key"
        )
    return architecture.embeds(chosen)


def _own_frames(spec: ModelSpec, config: dict[str, Any]) -> int | None:
    """Frames that the checkpoint in a folder takes; None where it takes any number."""
    if config.get("model_type") == "xclip":
        return _xclip_frames(config, Path(str(spec.checkpoint)) / "config.json")
    if not spec.checkpoint:
        return None
    for name, holder in (
        ("processor_config", "video_processor."),
        ("video_preprocessor_config", ""),
    ):
        path = Path(spec.checkpoint) / f"{name}.json"
        found = path.is_file() and number(read_settings(path), f"{holder}num_frames", path)
        if found:
            return found
    return None


def _xclip_frames(config: Mapping[str, Any], path: Path) -> int:
    return number(config, "vision_config.num_frames", path) or 8
