"""What a model family provides, and how a configured model is described.

A family is one module `concord.models.<backend>` with two functions, and a third where weights
come from a network:

    reader(spec, modality) -> Reader      how a file becomes views; runs in decoder processes
    load(spec, device) -> Embedder        the network, on a device
    fetch(spec) -> Fetched                makes sure that load finds all files here; called before
                                          a job takes a GPU, and by `concord fetch-weights`
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, get_args

from concord.media.file import MAX_PIXELS as MAX_PIXELS
from concord.media.file import MediaFile as MediaFile

if TYPE_CHECKING:
    import numpy as np

Modality = Literal["video", "audio", "text", "image", "depth", "thermal", "imu"]
MODALITIES: tuple[Modality, ...] = get_args(Modality)
COMPANIONS: tuple[Modality, ...] = ("image", "depth", "thermal", "imu")
"""Modalities that the media room does not touch: files beside the clips, read as they are."""


DECIDES: dict[str, tuple[Modality, ...]] = {"frames": ("video",), "reads": ("video", "audio")}
"""What decides the numbers of some modalities alone, in every family; see ModelSpec.decides."""

Reader = Callable[[MediaFile], "np.ndarray"]
"""Picklable. Takes a file, gives what the family's embedder takes for one clip.

Runs in decoder processes, so it imports what it needs when it is called, and no torch if it can be
helped. Raises ValueError with a word of REASONS as its first argument for input that cannot be
used. A method `warm()`, where it has one, is called in every process before its first file: it
loads what is slow to load, outside the limits of time and memory of a clip.
"""


@dataclass(frozen=True)
class ModelSpec:
    """A catalogue entry with the configuration's overrides: what a job needs, as builtins.

    `options` hold the settings of the family's named protocol; they are part of the protocol of
    the modalities whose numbers they decide: those in `decides`, or all for what is not there.
    """

    name: str
    backend: str
    modalities: tuple[Modality, ...]
    dim: int
    licence: str
    citation: str
    version: int = 1
    reads: Literal["proxies", "originals"] = "proxies"
    frames: int = 8
    precision: str = "auto"
    architecture: str | None = None
    pretrained: str | None = None
    checkpoint: str | None = None
    sha256: str | None = None
    memory_mb: int = 4000
    commercial: bool = True
    verified: str = ""
    compiled: bool = False
    options: dict[str, Any] = field(default_factory=dict)
    decides: Mapping[str, tuple[Modality, ...]] = field(default_factory=lambda: DECIDES)

    def protocol(self, modality: Modality) -> dict[str, Any]:
        """What decides the numbers of one modality; names, paths, batch sizes do not."""

        def counts(key: str) -> bool:
            return modality in self.decides.get(key, MODALITIES)

        content = {
            "backend": self.backend,
            "version": self.version,
            "architecture": self.architecture,
            "pretrained": self.pretrained,
            "weights_sha256": self.sha256,
            "precision": self.precision,
            "options": {key: value for key, value in self.options.items() if counts(key)},
            "modality": modality,
        }
        if counts("frames"):
            content["frames"] = self.frames
        if self.reads == "originals" and counts("reads"):
            content["reads"] = self.reads
        return content


@dataclass(frozen=True)
class Fetched:
    """The files of a model on this machine: its weights, and what else a network had to bring."""

    weights: Sequence[Path]
    others: Sequence[Path] = ()


class Embedder(Protocol):
    """A loaded network.

    An attribute `weights_sha256` names the weights in use where the spec does not know them, and
    `provenance` (a dict of strings) what else of a hub decides numbers: `config_sha256`, the digest
    of its settings, and `revision`, the commit that they are of. `passes` (concord.models.passes)
    are there where the views of a batch, or of one clip, go through the network in parts.
    """

    def embed(
        self, modality: Modality, inputs: "Sequence[np.ndarray] | Sequence[str]"
    ) -> "np.ndarray":
        """Embeddings [N, dim], float32, of N clips (their views, [V_i, ...] each) or N texts.

        Views of all clips go through the network in one batch, or in passes; aggregation is the
        family's. Raises torch.OutOfMemoryError when the batch is too large; the caller halves it,
        and then the passes.
        """
        ...

    def views(self, modality: Modality, given: "np.ndarray") -> int:
        """How many views of one clip the network sees for what its reader gave."""
        ...

    def truncated(self, texts: Sequence[str]) -> list[bool]:
        """Which texts are longer than the model reads, so that their end does not count."""
        ...
