"""Which device a job computes on, and how precisely.

Jobs on one machine get a GPU each, by the locks of concord.models.leases; on SLURM a job gets the
one that the scheduler chose. CUDA_VISIBLE_DEVICES is respected: hidden GPUs are not seen, and an
empty value means the CPU.
"""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from concord.errors import UserError
from concord.models.leases import VISIBLE, cluster_offers_gpus, instances, take

if TYPE_CHECKING:
    import torch


@contextmanager
def lease(requested: str, key: str) -> Iterator["torch.device"]:
    """A GPU that no other job holds, waiting for one if need be; else the CPU.

    `requested` is auto, cpu or cuda, as the configuration's `key` says; auto is the CPU too on a
    cluster that offers no GPUs. From here on float32 is computed as such, never as TF32. Raises
    UserError for cuda on a machine without a GPU.
    """
    import torch

    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False  # PyTorch's default is True
    if requested == "cpu" or (requested == "auto" and not cluster_offers_gpus()):
        yield torch.device("cpu")
        return
    parts = instances(os.environ)
    with ExitStack() as held:
        if parts:  # CUDA sees one alone, and has not been asked yet
            os.environ[VISIBLE] = held.enter_context(take(parts))
        if not torch.cuda.is_available():
            if requested == "cuda":
                raise _no_gpu(key)
            yield torch.device("cpu")
            return
        gpus = [
            f"GPU-{torch.cuda.get_device_properties(i).uuid}"
            for i in range(torch.cuda.device_count())
        ]
        index = 0 if parts else gpus.index(held.enter_context(take(gpus)))
        torch.cuda.set_device(index)
        yield torch.device("cuda", index)


def _no_gpu(key: str) -> UserError:
    hidden = os.environ.get(VISIBLE)
    seen = f" ({VISIBLE} is {hidden!r})" if hidden is not None else ""
    return UserError(
        f"{key}: found cuda, but PyTorch sees no GPU here{seen}; expected a machine with one, "
        "or `device: auto`, which takes the CPU instead"
    )


def precision(requested: str, device: "torch.device") -> str:
    """fp32, bf16 or fp16: what `requested` (also `auto`) means on a device."""
    import torch

    if requested != "auto":
        return requested
    return "bf16" if device.type == "cuda" and torch.cuda.is_bf16_supported() else "fp32"


def dtype(kind: str) -> "torch.dtype":
    """The type of numbers that fp32, bf16 or fp16 names."""
    import torch

    return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[kind]


def autocast(device: "torch.device", kind: str) -> "torch.autocast":
    """A context in which a float32 network computes in fp32, bf16 or fp16."""
    import torch

    return torch.autocast(device.type, dtype(kind), enabled=kind != "fp32")


def describe(device: "torch.device") -> str:
    """The device in words: cpu, or the GPU's name."""
    import torch

    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
