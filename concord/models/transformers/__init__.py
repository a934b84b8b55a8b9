"""The transformers family: two-tower networks of Hugging Face's transformers, by one adapter.

CLIP, SigLIP, SigLIP 2, Chinese-CLIP, AltCLIP and X-CLIP for pictures, CLAP for sound, PE-AV for
both. Inputs are made by the checkpoint's own processor and tokenizer, in decoder processes. A
clip's embedding is the mean of its views' unit vectors, made a unit vector again; X-CLIP and PE-AV
see all frames together, as one view. No code of a checkpoint is ever run.
"""

from typing import TYPE_CHECKING

from concord.models.base import Fetched, Modality, ModelSpec, Reader
from concord.models.transformers.architectures import ARCHITECTURES
from concord.models.transformers.checkpoint import FAMILY, local_folder
from concord.models.transformers.readers import ImageReader, SoundReader, VideoReader

if TYPE_CHECKING:
    import torch

    from concord.models.transformers.embedder import TransformersEmbedder


def reader(spec: ModelSpec, modality: Modality) -> Reader:
    """How a file becomes views. Raises UserError for a checkpoint that cannot be fetched."""
    architecture = ARCHITECTURES[str(spec.architecture)]
    if modality not in architecture.files:
        raise ValueError(f"{architecture.name} reads no {modality}")
    folder = str(local_folder(spec))
    if modality == "image":
        return ImageReader(folder)
    if modality == "audio":
        return SoundReader(folder)
    return VideoReader(folder, spec.frames, architecture.sees)


def fetch(spec: ModelSpec) -> Fetched:
    """Bring a hub's files to this machine. Raises UserError if they cannot be fetched."""
    folder = local_folder(spec)
    return Fetched(FAMILY.weight_files(folder), FAMILY.settings(folder))


def load(spec: ModelSpec, device: "torch.device") -> "TransformersEmbedder":
    """The network in evaluation mode on a device.

    Raises UserError, with what to do, when the checkpoint cannot be fetched, is not complete or
    holds pickled code.
    """
    from concord.models.transformers.embedder import load_embedder

    return load_embedder(spec, device)
