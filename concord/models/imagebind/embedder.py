"""ImageBind on a device: clips and texts to embeddings."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch

from concord.errors import UserError, shortened
from concord.models.base import Modality, ModelSpec
from concord.models.devices import dtype as dtype_of
from concord.models.devices import precision
from concord.models.imagebind import text, views
from concord.models.imagebind.config import TRUNK_OF
from concord.models.imagebind.network import ImageBind
from concord.models.imagebind.weights import load_network, weights_file
from concord.models.passes import Passes

AT_ONCE = {"cpu": 9, "cuda": 256}
"""Views in one pass by device."""
Part = tuple[int, np.ndarray, int]
"""Part of a clip: the clip's index, what its views are cut from, and how many they are."""


def load(spec: ModelSpec, device: torch.device) -> "ImageBindEmbedder":
    """The trunks of the spec's modalities, for a device and in the spec's precision.

    Raises UserError for weights that cannot be fetched or do not fit, and where compiling fails.
    """
    path, digest = weights_file(spec)
    network = load_network(path, {TRUNK_OF[modality] for modality in spec.modalities})
    if spec.compiled:
        _check_compiler(spec.name, device)
    dtype = dtype_of(precision(spec.precision, device))
    return ImageBindEmbedder(
        Placed(network, device, dtype, spec.compiled), spec.options, device, digest
    )


class Placed:
    """A network whose trunks go to the device when they are first used, and not before."""

    def __init__(
        self, network: ImageBind, device: torch.device, dtype: torch.dtype, compiled: bool
    ) -> None:
        self.network, self.device, self.dtype, self.compiled = network, device, dtype, compiled
        self.trunks: set[str] = set()

    def __call__(self, trunk: str, views: torch.Tensor) -> torch.Tensor:
        """Embeddings of views, as ImageBind gives them."""
        if trunk not in self.trunks:
            self.network.place(trunk, self.device, self.dtype)
            if self.compiled:
                compile_blocks(self.network, trunk)
            self.trunks.add(trunk)
        vectors: torch.Tensor = self.network(trunk, views)
        return vectors


class ImageBindEmbedder:
    """A loaded network; see concord.models.base.Embedder."""

    def __init__(
        self,
        network: Callable[[str, torch.Tensor], torch.Tensor],
        options: dict[str, str],
        device: torch.device,
        weights_sha256: str,
    ) -> None:
        self.network, self.options, self.device = network, options, device
        self.weights_sha256 = weights_sha256
        self.passes = Passes(AT_ONCE.get(device.type, AT_ONCE["cuda"]))

    def embed(self, modality: Modality, inputs: Sequence[np.ndarray] | Sequence[str]) -> np.ndarray:
        """Embeddings [N, dim], float32, of N clips (as their reader gave them) or N texts.

        Each is the mean over a clip's views, as the reference leaves it: not normalised again.
        """
        with torch.inference_mode():
            if modality == "text":
                ids = text.tokens([str(t) for t in inputs], self.options["end_token"])
                vectors = self._views("text", torch.from_numpy(ids).to(self.device))
            else:
                vectors = self._means(modality, [np.asarray(clip) for clip in inputs])
        result: np.ndarray = vectors.cpu().numpy()
        return result

    def views(self, modality: Modality, given: np.ndarray) -> int:
        """How many views of a clip its embedding is the mean of."""
        return views.count(modality, self.options, given)

    def truncated(self, texts: Sequence[str]) -> list[bool]:
        """Which texts are longer than the 77 tokens that are read."""
        return text.truncated(list(texts))

    def _means(self, modality: Modality, clips: list[np.ndarray]) -> torch.Tensor:
        """Mean embeddings [N, dim] of N clips; the views of long ones never exist all at once."""
        sums: dict[int, torch.Tensor] = {}
        for group in self._passes(modality, clips):
            cut = [self._expand(modality, given) for _, given, _ in group]
            each = self._views(TRUNK_OF[modality], torch.cat(cut))
            found = torch.split(each, [count for _, _, count in group])
            for (clip, _, _), vectors in zip(group, found, strict=True):
                sums[clip] = sums.get(clip, 0) + vectors.sum(0)
        counts = [self.views(modality, given) for given in clips]
        return torch.stack([sums[clip] / count for clip, count in enumerate(counts)])

    def _passes(self, modality: Modality, clips: list[np.ndarray]) -> Iterator[list[Part]]:
        """Parts of the clips, as many as go into one pass, or one."""
        group: list[Part] = []
        for clip, given in enumerate(clips):
            for part in views.parts(modality, self.options, given, self.passes.most):
                count = self.views(modality, part)
                if group and sum(n for _, _, n in group) + count > self.passes.most:
                    yield group
                    group = []
                group.append((clip, part, count))
        if group:
            yield group

    def _expand(self, modality: Modality, given: np.ndarray) -> torch.Tensor:
        """Views [V, ...] of part of a clip, on the device."""
        return views.expand(modality, self.options, torch.from_numpy(given).to(self.device))

    def _views(self, trunk: str, given: torch.Tensor) -> torch.Tensor:
        """Embeddings [V, dim] of views or token ids, in passes of bounded size."""
        passes = torch.split(given, self.passes.most)
        return torch.cat([self.network(trunk, part) for part in passes])


def compile_blocks(network: ImageBind, trunk: str) -> None:
    """Compile the blocks of a trunk, whose code is one; the last differs, and stays as it is."""
    for block in network.blocks(trunk)[:-1]:
        block.compile(dynamic=True)


def _check_compiler(name: str, device: torch.device) -> None:
    """Raise UserError where nothing can be compiled."""
    try:
        torch.compile(torch.square)(torch.ones(2, device=device))
    except Exception as error:
        said = shortened(error, 200)
        raise UserError(
            f"models.{name}.compile: torch.compile fails here ({type(error).__name__}: {said}); "
            "install a C++ compiler, or set it to false"
        ) from error
