"""The catalogue: which models there are, and what a configured model means.

Light to import (no torch, no open_clip): the Snakefile calls `spec` when it is parsed.
"""

import importlib.util
import json
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

import yaml

from concord.config import Config, Model
from concord.errors import UserError, did_you_mean
from concord.models.base import Modality, ModelSpec
from concord.models.weights import cached_sha256, folder_config, sha256, weights_file

FOLDER = Path(__file__).parent
FRAMES = 8


@dataclass(frozen=True)
class Entry:
    """A model of the catalogue."""

    name: str
    title: str
    backend: str
    modalities: tuple[Modality, ...]
    licence: str
    commercial: bool
    citation: str
    memory_mb: int
    verified: str
    dim: int | None = None
    reads: Literal["proxies", "originals"] = "proxies"
    protocol: str | None = None
    frames: int = FRAMES
    architecture: str | None = None
    pretrained: str | None = None
    checkpoint: str | None = None
    sha256: str | None = None
    packages: tuple[str, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class NamedProtocol:
    """Settings of one or more families that have a name of their own."""

    name: str
    title: str
    backends: tuple[str, ...]
    options: dict[str, Any]


@cache
def protocols() -> dict[str, NamedProtocol]:
    """All named protocols, in the catalogue's order."""
    return {
        name: NamedProtocol(name, content["title"], tuple(content["backends"]), content["options"])
        for name, content in _content()["protocols"].items()
    }


@cache
def entries() -> dict[str, Entry]:
    """All entries by name, in the catalogue's order."""
    found = {}
    for name, content in _content()["models"].items():
        values: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value
            for key, value in content.items()
        }
        found[name] = Entry(name=name, **values)
    return found


def backends() -> list[str]:
    """Names of the model families."""
    return list(_content()["backends"])


def backend_version(backend: str) -> int:
    """Version of a family's code; it rises when the code changes results."""
    return int(_content()["backends"][backend]["version"])


def backend_sources(backend: str) -> list[Path]:
    """The files whose code decides a family's results."""
    return [FOLDER / name for name in _content()["backends"][backend]["sources"]]


def spec(config: Config, name: str) -> ModelSpec:
    """The configured model `name`: its catalogue entry with the configuration's overrides.

    Raises UserError, with the configuration key, for an unknown entry or architecture and for
    weights that are missing or not the expected ones.
    """
    model = config.models[name]
    entry = _entry(model.entry or name, name)
    _check_overrides(model, entry, name)
    weights = _weights(model, entry, name)
    digest = _digest(weights, model, entry, config.results, name)
    layout = folder_config(weights) if weights and not model.architecture else None
    architecture = model.architecture or (None if layout else entry.architecture)
    return ModelSpec(
        name=name,
        backend=entry.backend,
        modalities=entry.modalities,
        dim=entry.dim or _open_clip_dim(architecture, layout, name),
        licence=entry.licence,
        citation=entry.citation,
        version=backend_version(entry.backend),
        reads=entry.reads,
        frames=model.frames or entry.frames,
        precision=model.precision,
        architecture=architecture,
        pretrained=None if layout else model.pretrained or entry.pretrained,
        checkpoint=str(weights) if weights else None,
        sha256=digest,
        memory_mb=model.memory_mb or entry.memory_mb,
        commercial=entry.commercial,
        verified=entry.verified,
        compiled=model.compile,
        options={
            **_protocol_options(model, entry, name),
            **entry.options,
            **({"config_sha256": sha256(layout)} if layout else {}),
        },
    )


def rows() -> list[dict[str, Any]]:
    """What `concord models` shows: one row a model."""
    return [
        {
            "name": entry.name,
            "title": entry.title,
            "modalities": ", ".join(entry.modalities),
            "dim": entry.dim,
            "licence": entry.licence,
            "commercial": entry.commercial,
            "memory_mb": entry.memory_mb,
            "weights": weights_source(entry),
            "verified": entry.verified,
        }
        for entry in entries().values()
    ]


def weights_source(entry: Entry) -> str:
    """Where an entry's weights come from, in words."""
    if entry.checkpoint:
        return "in this package"
    if entry.pretrained:
        return f"{entry.architecture}:{entry.pretrained}"
    return "yours"


@cache
def _content() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((FOLDER / "catalogue.yaml").read_text("utf-8"))
    return content


def _entry(wanted: str, name: str) -> Entry:
    if wanted not in entries():
        raise UserError(
            f"models.{name}.entry: no model named {wanted!r} in the catalogue"
            f"{did_you_mean(wanted, entries())} (`concord models` lists them)"
        )
    return entries()[wanted]


def _protocol_options(model: Model, entry: Entry, name: str) -> dict[str, Any]:
    wanted = model.protocol or entry.protocol
    if wanted is None:
        return {}
    suitable = [p.name for p in protocols().values() if entry.backend in p.backends]
    if wanted not in suitable:
        raise UserError(
            f"models.{name}.protocol: the family {entry.backend!r} has no protocol {wanted!r}"
            f"{did_you_mean(wanted, suitable)}; it has: {', '.join(suitable) or 'none'}"
        )
    return protocols()[wanted].options


def _check_overrides(model: Model, entry: Entry, name: str) -> None:
    for key in ("architecture", "pretrained"):
        if getattr(model, key) and entry.backend != "open_clip":
            raise UserError(
                f"models.{name}.{key}: only open_clip models have one, and {entry.name!r} is of "
                f"the family {entry.backend!r}; remove the key or set `entry: open_clip`"
            )
    if not (model.pretrained or entry.pretrained or model.checkpoint or entry.checkpoint):
        raise UserError(
            f"models.{name}: no weights are named; set `pretrained` (with `architecture`) or "
            "`checkpoint`"
        )


def _weights(model: Model, entry: Entry, name: str) -> Path | None:
    if model.checkpoint:
        return weights_file(model.checkpoint.expanduser().absolute(), f"models.{name}.checkpoint")
    if entry.checkpoint:
        return weights_file(FOLDER / "weights" / entry.checkpoint, f"models.{name}")
    return None


def _digest(
    weights: Path | None, model: Model, entry: Entry, results: Path, name: str
) -> str | None:
    """SHA-256 of the weights: computed for local files, as expected for those of a hub."""
    expected = model.sha256 or (None if model.checkpoint else entry.sha256)
    if weights is None:
        return expected
    found = cached_sha256(weights, results / ".cache" / "weights.json")
    if expected and found != expected.lower():
        where = f"models.{name}.sha256" if model.sha256 else f"catalogue.yaml, {entry.name}.sha256"
        raise UserError(
            f"{where}: {weights} has the digest {found}, expected {expected}; "
            "use the right file, or correct the digest if the file is the one you want"
        )
    return found


def _open_clip_dim(architecture: str | None, layout: Path | None, name: str) -> int:
    """Embedding size by the architecture's own description; 0 if only a hub has it."""
    if layout:
        return int(json.loads(layout.read_text("utf-8"))["model_cfg"]["embed_dim"])
    if architecture is None:
        raise UserError(
            f"models.{name}.architecture: needed for an open_clip model whose checkpoint has no "
            "open_clip_config.json beside it; for example ViT-B-32"
        )
    if architecture.startswith("hf-hub:"):
        return 0
    folder = _open_clip_folder()
    path = folder / f"{architecture}.json"
    known = sorted(p.stem for p in folder.glob("*.json"))
    if path.stem not in known:
        raise UserError(
            f"models.{name}.architecture: open_clip has none named {architecture!r}"
            f"{did_you_mean(architecture, known)} (`open_clip.list_models()` has all)"
        )
    return int(json.loads(path.read_text("utf-8"))["embed_dim"])


def architecture_file(spec: ModelSpec) -> Path | None:
    """open_clip's JSON description of a model's network; None where only a hub has it."""
    if spec.backend != "open_clip":
        return None
    if spec.architecture is None:
        return folder_config(Path(spec.checkpoint)) if spec.checkpoint else None
    path = _open_clip_folder() / f"{spec.architecture}.json"
    return path if path.is_file() else None


def _open_clip_folder() -> Path:
    """open_clip's descriptions of architectures, found without importing it (torch is heavy)."""
    found = importlib.util.find_spec("open_clip")
    if found is None or not found.submodule_search_locations:
        raise UserError("the package open_clip_torch is not installed; run `make` again")
    return Path(found.submodule_search_locations[0]) / "model_configs"
