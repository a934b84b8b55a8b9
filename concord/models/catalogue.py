"""The catalogue: which models there are, and what a configured model means.

Light to import (no torch, no open_clip): the Snakefile calls `spec` when it is parsed.
"""

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

import yaml

from concord.config import Config, Model
from concord.errors import UserError, did_you_mean
from concord.models.base import Modality, ModelSpec
from concord.models.families import FAMILIES, Family, open_clip_folder
from concord.models.weights import cached_sha256, joint_sha256, sha256

FOLDER = Path(__file__).parent
FRAMES = 8
TRIED = {
    "published": "published weights",
    "random": "random weights",
    "small": "its architecture, small, random",
    "never": "NEVER RAN HERE",
}
"""With what this project has run an entry, in words."""


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
    tried: Literal["published", "random", "small", "never"] = "never"
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
    """Settings of one or more families that have a name of their own.

    `reads` is what the protocol has to read, whatever the entry does; None: either.
    """

    name: str
    title: str
    backends: tuple[str, ...]
    options: dict[str, Any]
    reads: Literal["proxies", "originals"] | None = None


@cache
def protocols() -> dict[str, NamedProtocol]:
    """All named protocols, in the catalogue's order."""
    return {
        name: NamedProtocol(name, **content | {"backends": tuple(content["backends"])})
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
    family = FAMILIES[entry.backend]
    _check_overrides(model, entry, family, name)
    protocol = _named_protocol(model, entry, name)
    weights = _weights(model, entry, family, name)
    described = family.described(weights) if weights and not model.architecture else None
    architecture = model.architecture or (None if described else entry.architecture)
    own_size = described is None and model.architecture is None
    found = ModelSpec(
        name=name,
        backend=entry.backend,
        modalities=entry.modalities,
        dim=(entry.dim if own_size else None) or family.dim(described, architecture, name),
        licence=entry.licence,
        citation=entry.citation,
        version=backend_version(entry.backend),
        reads=(protocol and protocol.reads) or entry.reads,
        frames=model.frames or entry.frames,
        precision=model.precision,
        architecture=architecture,
        pretrained=None if described else model.pretrained or entry.pretrained,
        checkpoint=str(weights) if weights else None,
        sha256=_digest(weights, model, entry, config.results, name),
        memory_mb=model.memory_mb or entry.memory_mb,
        commercial=entry.commercial,
        verified=entry.verified,
        compiled=model.compile,
        options={
            **(protocol.options if protocol else {}),
            **entry.options,
            **_settings(weights if described else None, family),
        },
        decides=family.decides,
    )
    return family.completed(found, entry, model.frames)


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
            "tried": TRIED[entry.tried],
            "verified": entry.verified,
        }
        for entry in entries().values()
    ]


def protocol_rows() -> list[dict[str, Any]]:
    """What `concord models` shows of the named protocols: one row each."""
    return [
        {
            "protocol": protocol.name,
            "what it does": protocol.title,
            "decided by": ", ".join(f"{k}: {v}" for k, v in decisions(protocol).items()),
            "families": ", ".join(protocol.backends),
            "default of": default_of(protocol),
        }
        for protocol in protocols().values()
    ]


def decisions(protocol: NamedProtocol) -> dict[str, Any]:
    """What makes a protocol: its options, and what it has to read."""
    return protocol.options | ({"reads": protocol.reads} if protocol.reads else {})


def default_of(protocol: NamedProtocol) -> str:
    """The families whose default a protocol is, and the entries that differ from their family."""
    usual: dict[str, str | None] = {}
    for entry in entries().values():
        usual.setdefault(entry.backend, entry.protocol)
    families = [f"{backend} models" for backend, name in usual.items() if name == protocol.name]
    apart = [
        entry.name
        for entry in entries().values()
        if entry.protocol == protocol.name != usual[entry.backend]
    ]
    return ", ".join(families + apart)


def weights_source(entry: Entry) -> str:
    """Where an entry's weights come from, in words."""
    return FAMILIES[entry.backend].source(entry)


def reads(entry: Entry) -> str:
    """What an entry reads under its default protocol, in words."""
    protocol = protocols()[entry.protocol] if entry.protocol else None
    return (protocol and protocol.reads) or FAMILIES[entry.backend].reads(entry)


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


def _named_protocol(model: Model, entry: Entry, name: str) -> NamedProtocol | None:
    wanted = model.protocol or entry.protocol
    if wanted is None:
        return None
    suitable = [p.name for p in protocols().values() if entry.backend in p.backends]
    if wanted not in suitable:
        raise UserError(
            f"models.{name}.protocol: the family {entry.backend!r} has no protocol {wanted!r}"
            f"{did_you_mean(wanted, suitable)}; it has: {', '.join(suitable) or 'none'}"
        )
    return protocols()[wanted]


def _check_overrides(model: Model, entry: Entry, family: Family, name: str) -> None:
    for key in ("architecture", "pretrained", "frames", "compile"):
        if getattr(model, key) not in (None, False) and key not in family.keys:
            others = [other for other, has in FAMILIES.items() if key in has.keys]
            only = "the family" if len(others) == 1 else "the families"
            raise UserError(
                f"models.{name}.{key}: only models of {only} {', '.join(others)} take it, and "
                f"{entry.name!r} is of the family {entry.backend!r}; remove the key, or set "
                "`entry` to another model"
            )
    named = model.pretrained or entry.pretrained or model.checkpoint or entry.checkpoint
    if not named and family.published is None:
        raise UserError(
            f"models.{name}: no weights are named; set `checkpoint`"
            + (" or `pretrained`" if "pretrained" in family.keys else "")
            + (" (with `architecture`)" if "architecture" in family.keys else "")
        )


def _weights(model: Model, entry: Entry, family: Family, name: str) -> Path | None:
    if model.checkpoint:
        given = model.checkpoint.expanduser().absolute()
        return family.checkpoint(given, f"models.{name}.checkpoint")
    if entry.checkpoint:
        return family.checkpoint(FOLDER / "weights" / entry.checkpoint, f"models.{name}")
    return None


def _settings(weights: Path | None, family: Family) -> dict[str, str]:
    """Digest of the settings that come with weights and decide numbers as they do."""
    files = family.settings(weights) if weights else []
    digests = {path.name: sha256(path) for path in files}
    return {"config_sha256": joint_sha256(digests)} if digests else {}


def _digest(
    weights: Path | None, model: Model, entry: Entry, results: Path, name: str
) -> str | None:
    """SHA-256 of the weights: computed for local files, as expected for those of a hub."""
    expected = model.sha256 or (None if model.checkpoint else entry.sha256)
    if weights is None:
        return expected
    cache = results / ".cache" / "weights.json"
    files = FAMILIES[entry.backend].weight_files(weights)
    found = joint_sha256({path.name: cached_sha256(path, cache) for path in files})
    if expected and found != expected.lower():
        where = f"models.{name}.sha256" if model.sha256 else f"catalogue.yaml, {entry.name}.sha256"
        raise UserError(
            f"{where}: {weights} has the digest {found}, expected {expected}; "
            "use the right file, or correct the digest if the file is the one you want"
        )
    return found


def architecture_file(spec: ModelSpec) -> Path | None:
    """open_clip's JSON description of a model's network; None where only a hub has it."""
    if spec.backend != "open_clip":
        return None
    if spec.architecture is None:
        return FAMILIES[spec.backend].described(Path(spec.checkpoint)) if spec.checkpoint else None
    path = open_clip_folder() / f"{spec.architecture}.json"
    return path if path.is_file() else None
