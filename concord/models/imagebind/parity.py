"""How far ImageBind here and in its authors' package are apart on the same clips."""

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch

from concord.models import imagebind_package as package
from concord.models.base import Modality
from concord.models.imagebind.config import TRUNK_OF

Vectors = npt.NDArray[np.float32]
Verdict = Literal["equal", "close", "different"]

EQUAL = 2e-5, 0.999999
"""Largest difference relative to the largest value, and least cosine, of what is equal.

That is rounding in float32. It also holds for texts and images that each reads its own way: token
ids are the same, and Pillow decodes and resizes the images in both.
"""
CLOSE: dict[Modality, tuple[float, float]] = {"video": (1e-2, 0.9999), "audio": (4e-3, 0.99999)}
"""The same where readers differ by design, and results are close at best: other decoders.

About three times what it does to the published shape with random weights when every pixel is up to
two levels off (0.0036), or every sample up to half a step of 16 bits (0.0011); a picture that is
one pixel off (0.032) does not pass.
"""
LOADERS: dict[Modality, str] = {
    "video": "load_and_transform_video_data",
    "audio": "load_and_transform_audio_data",
    "image": "load_and_transform_vision_data",
    "text": "load_and_transform_text",
}
"""What reads each modality in the package's data module."""


@dataclass(frozen=True)
class Difference:
    """Embeddings of N inputs of one modality, ours and the package's.

    `what`: network, from the same inputs; files, each having read the files its own way.
    """

    modality: Modality
    what: str
    n: int
    largest: float
    relative: float
    cosine: float

    @property
    def verdict(self) -> Verdict:
        """Whether the difference is one of rounding, or one that other decoders explain."""
        if self._within(EQUAL):
            return "equal"
        close = CLOSE.get(self.modality) if self.what == "files" else None
        return "close" if close and self._within(close) else "different"

    def _within(self, limits: tuple[float, float]) -> bool:
        relative, cosine = limits
        return self.relative <= relative and self.cosine >= cosine


def difference(modality: Modality, what: str, ours: Vectors, theirs: Vectors) -> Difference:
    """Compare embeddings [N, dim]: largest difference, as it is and relative; least cosine."""
    a, b = ours.astype(np.float64), theirs.astype(np.float64)
    largest = float(np.abs(a - b).max())
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    cosines = np.einsum("nd,nd->n", a, b) / norms
    relative = largest / float(np.abs(b).max())
    return Difference(modality, what, len(a), largest, relative, float(cosines.min()))


def data_module() -> ModuleType:
    """The package's module that reads files. Raises ImportError where it does not load.

    pytorchvideo, which it needs, does not load beside every torchvision.
    """
    try:
        return importlib.import_module(f"{package.PACKAGE}.data")
    except ImportError:
        raise
    except Exception as error:
        raise ImportError(f"{type(error).__name__}: {error}") from error


def embedded_by_package(
    model: Any,
    data: ModuleType,
    modality: Modality,
    given: Sequence[str],
    device: torch.device,
) -> Vectors:
    """Embeddings [N, dim] of files or texts that the package reads and embeds by itself.

    `model` is its network on `device`, `data` its module that reads files. Raises whatever the
    package raises.
    """
    read, trunk = getattr(data, LOADERS[modality]), TRUNK_OF[modality]
    with torch.inference_mode():
        rows = [model({trunk: read([item], device)})[trunk] for item in given]
    vectors: Vectors = torch.cat(rows).float().cpu().numpy()
    return vectors
