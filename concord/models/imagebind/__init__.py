"""The family `imagebind`: ImageBind (Girdhar et al., CVPR 2023), with the published weights.

Its weights may not be used commercially (CC-BY-NC-SA-4.0).
"""

from typing import TYPE_CHECKING

from concord.models.base import Fetched, Modality, ModelSpec, Reader

if TYPE_CHECKING:
    import torch

    from concord.models.imagebind.embedder import ImageBindEmbedder


def reader(spec: ModelSpec, modality: Modality) -> Reader:
    """How a file becomes what the network's views are cut from; no text."""
    from concord.models.imagebind.readers import reader as file_reader

    return file_reader(spec, modality)


def fetch(spec: ModelSpec) -> Fetched:
    """Bring the published weights to this machine, where a model has none of its own.

    Raises UserError if they cannot be fetched.
    """
    from concord.models.imagebind.weights import weights_file

    return Fetched([weights_file(spec)[0]])


def load(spec: ModelSpec, device: "torch.device") -> "ImageBindEmbedder":
    """The trunks that the spec's modalities need, on a device.

    Raises UserError, with what to do, for weights that are missing, unreachable or not ImageBind's.
    """
    from concord.models.imagebind.embedder import load as load_embedder

    return load_embedder(spec, device)
