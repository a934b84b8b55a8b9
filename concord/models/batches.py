"""Batches that fit into memory, and failures that stay with the clip that caused them."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from concord.errors import UserError
from concord.models.base import Embedder, Modality
from concord.parallel import Failure


class Batches:
    """Embeds any number of clips or texts with a model, in batches of at most `size`.

    When memory runs out the size is halved, for all that follows. When the model fails for
    another reason the batch is divided until the clip at fault stands alone.
    """

    def __init__(self, embedder: Embedder, modality: Modality, size: int) -> None:
        self.embedder, self.modality, self.size = embedder, modality, size

    def embed(self, inputs: Sequence[Any]) -> list[np.ndarray | Failure]:
        """An embedding [dim], float32, or a Failure for every input, in order.

        Raises UserError if not even one input fits into memory.
        """
        results: list[np.ndarray | Failure] = []
        while len(results) < len(inputs):
            batch = inputs[len(results) : len(results) + self.size]
            outcome = self._isolate(batch)
            if outcome is not None:
                results += outcome
            elif len(batch) > 1:
                self.size = len(batch) // 2
                _free_memory()
            else:
                raise UserError(
                    f"the {self.modality} of a single clip does not fit into the memory of the "
                    "device; choose a smaller model or fewer `frames`, set `precision: bf16`, or "
                    "give the job a device with more memory"
                )
        return results

    def views(self, given: Any) -> int:
        """How many views the model sees of one input; a text is one."""
        return 1 if self.modality == "text" else self.embedder.views(self.modality, given)

    def _isolate(self, batch: Sequence[Any]) -> list[np.ndarray | Failure] | None:
        """Results for a batch, divided where the model fails; None if memory ran out."""
        try:
            vectors = self.embedder.embed(self.modality, batch)
        except Exception as error:
            if _out_of_memory(error):
                return None
            if _device_failed(error):
                raise
            if len(batch) == 1:
                return [Failure("model_error", f"{type(error).__name__}: {error}")]
        else:
            return [_checked(vector) for vector in vectors]
        middle = len(batch) // 2
        halves = [self._isolate(batch[:middle]), self._isolate(batch[middle:])]
        if halves[0] is None or halves[1] is None:
            return None
        return halves[0] + halves[1]


def _checked(vector: np.ndarray) -> np.ndarray | Failure:
    if np.isfinite(vector).all():
        return vector
    return Failure("not_finite", "the embedding holds NaN or infinite values")


def _out_of_memory(error: Exception) -> bool:
    """Whether the device or the machine ran out of memory; PyTorch has no own error for the CPU."""
    import torch

    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and "DefaultCPUAllocator: can't allocate" in str(error)
    )


def _device_failed(error: Exception) -> bool:
    """Whether the GPU itself is lost, so that every later call would fail too."""
    import torch

    return isinstance(error, torch.AcceleratorError)


def _free_memory() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()
