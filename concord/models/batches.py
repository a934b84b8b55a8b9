"""Batches that fit into memory, and failures that stay with the clip that caused them."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from concord.errors import UserError
from concord.models.base import Embedder, Modality
from concord.models.passes import Passes
from concord.parallel import Failure

ALIKE = 8
"""Inputs that have to fail alike, and none succeed, before a job is given up."""
NO_MEMORY = (
    "DefaultCPUAllocator: can't allocate",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "ALLOCATION_FAILED",
)
"""Words of the RuntimeErrors that PyTorch raises when memory runs out, beside its own class."""


class Batches:
    """Embeds any number of clips or texts of a model, in batches of at most `size`.

    When memory runs out, later batches hold at most half as much as the one that was too large; for
    an input alone the embedder's passes are halved, and one of whose views not even one fits is a
    failure. When the model fails for another reason the batch is divided until the clip at fault
    stands alone. Where the first inputs all fail alike, the fault is not theirs but the job's;
    `proven` says that it has embedded others before.
    """

    def __init__(
        self, embedder: Embedder, model: str, modality: Modality, size: int, proven: bool = False
    ) -> None:
        self.embedder, self.model, self.modality, self.size = embedder, model, modality, size
        self.works = proven
        self._whole: int | None = None
        self.failures: list[Failure] = []
        self.fitted, self.limit = 0, math.inf

    def embed(self, inputs: Sequence[Any]) -> list[np.ndarray | Failure]:
        """An embedding [dim], float32, or a Failure for every input, in order.

        Raises UserError if the device has less memory than before, or where `conclude` would after
        ALIKE inputs.
        """
        results: list[np.ndarray | Failure] = []
        while len(results) < len(inputs):
            batch = self._next(inputs[len(results) :])
            outcome = self._isolate(batch)
            if outcome is not None:
                self._whole = None
                results += outcome
                continue
            _free_memory()
            if len(batch) > 1:
                self.limit = sum(map(_weight, batch)) / 2
            elif not self._halve_passes(batch[0]):
                results.append(self._too_large(batch[0]))
        if not self.works:
            self.failures += [result for result in results if isinstance(result, Failure)]
        if len(self.failures) >= ALIKE:
            self.conclude()
        return results

    @property
    def undecided(self) -> bool:
        """Whether all inputs failed alike so far, so that the job may be wrong rather than they."""
        return not self.works and len(set(self.failures)) == 1

    def conclude(self) -> None:
        """Raise UserError if all inputs failed alike; one alone tells nothing but of the memory."""
        if not self.undecided:
            return
        (failure,) = set(self.failures)
        if len(self.failures) == 1 and failure.reason != "memory_limit":
            return
        every = f"models.{self.model}: the {self.modality} of every clip ({len(self.failures)})"
        if failure.reason == "memory_limit":
            raise UserError(
                f"{every} does not fit into the memory of the device, each by itself; choose a "
                "smaller model or fewer `frames`, set `precision: bf16`, or give the job a device "
                "with more memory"
            )
        raise UserError(
            f"{every} fails alike: {failure.detail}; what models.{self.model} names may not "
            "belong together (processor, tokenizer, network), or not work with the packages here"
        )

    def views(self, given: Any) -> int:
        """How many views the model sees of one input; a text is one."""
        return 1 if self.modality == "text" else self.embedder.views(self.modality, given)

    def _next(self, inputs: Sequence[Any]) -> Sequence[Any]:
        """The first inputs that fit into one batch, or the first alone."""
        weights = np.cumsum([_weight(given) for given in inputs[: self.size]])
        return inputs[: max(1, int((weights <= self.limit).sum()))]

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
            self.works = True
            self.fitted = max(self.fitted, sum(map(_weight, batch)))
            return [_checked(vector) for vector in vectors]
        middle = len(batch) // 2
        halves = [self._isolate(batch[:middle]), self._isolate(batch[middle:])]
        if halves[0] is None or halves[1] is None:
            return None
        return halves[0] + halves[1]

    def _halve_passes(self, given: Any) -> bool:
        """Let fewer views of an input through the network together, where that is possible.

        Where it is not, the input fails, and passes are again what they were before it.
        """
        passes: Passes | None = getattr(self.embedder, "passes", None)
        if passes is None:
            return False
        before = passes.most if self._whole is None else self._whole
        if passes.halve(self.views(given)):
            self._whole = before
            return True
        passes.most, self._whole = before, None
        return False

    def _too_large(self, given: Any) -> Failure:
        """What becomes of an input for which alone memory ran out."""
        if _weight(given) <= self.fitted:
            raise UserError(
                f"models.{self.model}: the device has less memory left than when the job began, "
                "so that something else uses it; run again when it has ended"
            )
        return Failure("memory_limit", "does not fit into the memory of the device")


def _weight(given: Any) -> int:
    """How much memory an input asks for, in proportion: its bytes; texts are padded alike."""
    return int(getattr(given, "nbytes", 1))


def _checked(vector: np.ndarray) -> np.ndarray | Failure:
    if np.isfinite(vector).all():
        return vector
    return Failure("not_finite", "the embedding holds NaN or infinite values")


def _out_of_memory(error: Exception) -> bool:
    """Whether the device or the machine ran out of memory."""
    import torch

    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and any(words in str(error) for words in NO_MEMORY)
    )


def _device_failed(error: Exception) -> bool:
    """Whether the GPU itself is lost, so that every later call would fail too."""
    import torch

    return isinstance(error, torch.AcceleratorError) or (
        isinstance(error, RuntimeError) and "CUDA error" in str(error)
    )


def _free_memory() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()
