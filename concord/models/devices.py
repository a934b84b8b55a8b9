"""Which device a job computes on, and how precisely.

A job holds its GPU by a lock that ends with the process, so that two jobs on one machine get two
GPUs and a killed job leaves none behind. CUDA_VISIBLE_DEVICES is respected: hidden GPUs are not
seen, and an empty value means the CPU.
"""

import fcntl
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from concord.errors import UserError

if TYPE_CHECKING:
    import torch

POLL_S = 1.0


@contextmanager
def lease(requested: str, key: str) -> Iterator["torch.device"]:
    """A GPU that no other job of this user holds, waiting for one if need be; else the CPU.

    `requested` is auto, cpu or cuda, as the configuration's `key` says. From here on float32 is
    computed as such, never as TF32. Raises UserError for cuda on a machine without a GPU.
    """
    import torch

    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False  # PyTorch's default is True
    available = requested != "cpu" and torch.cuda.is_available()
    if requested == "cuda" and not available:
        hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
        seen = f" (CUDA_VISIBLE_DEVICES is {hidden!r})" if hidden is not None else ""
        raise UserError(
            f"{key}: found cuda, but PyTorch sees no GPU here{seen}; expected a machine with one, "
            "or `device: auto`, which takes the CPU instead"
        )
    if not available:
        yield torch.device("cpu")
        return
    names = [
        str(torch.cuda.get_device_properties(i).uuid) for i in range(torch.cuda.device_count())
    ]
    index, lock = _take(names, _folder())
    try:
        torch.cuda.set_device(index)
        yield torch.device("cuda", index)
    finally:
        lock.close()


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


def _folder() -> Path:
    """Where the locks lie: one folder a user, on this machine."""
    folder = Path(tempfile.gettempdir()) / f"concord-gpus-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def _take(names: list[str], folder: Path) -> tuple[int, TextIO]:
    """Lock the first free name; returns its index and the open file that holds the lock."""
    waiting = False
    while True:
        for index, name in enumerate(names):
            file = (folder / f"{name}.lock").open("a")
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                file.close()
            else:
                return index, file
        if not waiting:
            print(
                f"all {len(names)} GPUs are held by other jobs; waiting for one "
                "(start no more jobs than GPUs with `--resources gpu=N`)",
                file=sys.stderr,
                flush=True,
            )
        waiting = True
        time.sleep(POLL_S)
