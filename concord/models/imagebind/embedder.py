"""ImageBind on a device: clips and texts to embeddings."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch

from concord.errors import UserError
from concord.models.base import Modality, ModelSpec
from concord.models.devices import precision
from concord.models.imagebind import text, views
from concord.models.imagebind.config import TRUNK_OF
from concord.models.imagebind.network import ImageBind
from concord.models.imagebind.weights import load_network, weights_file

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
AT_ONCE = {"cpu": 8, "cuda": 256}
"""Views in one pass; on a CPU more cost memory and gain nothing."""


def load(spec: ModelSpec, device: torch.device) -> "ImageBindEmbedder":
    """The trunks of the spec's modalities on a device, in the spec's precision.

    Raises UserError for weights that cannot be fetched or do not fit, and where compiling fails.
    """
    path, digest = weights_file(spec)
    trunks = {TRUNK_OF[modality] for modality in spec.modalities}
    network = load_network(path, trunks).to(device)
    network.hold(DTYPES[precision(spec.precision, device)])
    if spec.compiled:
        _compile(network, spec.name, device)
    return ImageBindEmbedder(network, spec.options, device, digest)


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
        self.at_once = AT_ONCE.get(device.type, AT_ONCE["cuda"])

    def embed(self, modality: Modality, inputs: Sequence[np.ndarray] | Sequence[str]) -> np.ndarray:
        """Embeddings [N, dim], float32, of N clips (as their reader gave them) or N texts.

        Each is the mean over a clip's views, as the reference leaves it: not normalised again.
        """
        with torch.inference_mode():
            if modality == "text":
                ids = text.tokens([str(t) for t in inputs], self.options["end_token"])
                vectors = self._views("text", torch.from_numpy(ids).to(self.device))
            else:
                groups = self._groups(modality, [np.asarray(clip) for clip in inputs])
                vectors = torch.cat([self._means(modality, group) for group in groups])
        result: np.ndarray = vectors.cpu().numpy()
        return result

    def views(self, modality: Modality, given: np.ndarray) -> int:
        """How many views of a clip its embedding is the mean of."""
        return views.count(modality, self.options, given)

    def truncated(self, texts: Sequence[str]) -> list[bool]:
        """Which texts are longer than the 77 tokens that are read."""
        return text.truncated(list(texts))

    def _groups(self, modality: Modality, clips: list[np.ndarray]) -> Iterator[list[torch.Tensor]]:
        """Clips with their views cut, [V_i, ...] each, as many as go into one pass, or one."""
        group: list[torch.Tensor] = []
        for clip in clips:
            given = torch.from_numpy(clip).to(self.device)
            cut = views.expand(modality, self.options, given)
            if group and sum(map(len, group)) + len(cut) > self.at_once:
                yield group
                group = []
            group.append(cut)
        if group:
            yield group

    def _means(self, modality: Modality, group: list[torch.Tensor]) -> torch.Tensor:
        """Mean embeddings [N, dim] of N clips."""
        each = self._views(TRUNK_OF[modality], torch.cat(group))
        parts = torch.split(each, [len(cut) for cut in group])
        return torch.stack([part.mean(0) for part in parts])

    def _views(self, trunk: str, given: torch.Tensor) -> torch.Tensor:
        """Embeddings [V, dim] of views or token ids, in passes of bounded size."""
        return torch.cat([self.network(trunk, part) for part in torch.split(given, self.at_once)])


def _compile(network: ImageBind, name: str, device: torch.device) -> None:
    """Compile the blocks, all but the last, which differs, and run them, so that a fault shows."""
    try:
        for trunk in network.modality_trunks:
            for block in network.blocks(trunk)[:-1]:
                block.compile(dynamic=True)
            with torch.inference_mode():
                network(trunk, network.example(trunk, device))
    except Exception as error:
        said = " ".join(str(error).split())[:200]
        raise UserError(
            f"models.{name}.compile: torch.compile fails here ({type(error).__name__}: {said}); "
            "install a C++ compiler, or set it to false"
        ) from error
