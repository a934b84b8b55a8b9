"""Work for processes with a limit of memory."""

import numpy as np

from concord.memory import outside_memory_limit


def take(megabytes: int) -> int:
    """Bytes of an array of this size, once it is there."""
    return np.ones(megabytes * 2**20, np.uint8).nbytes


def load_and_take(megabytes: int) -> int:
    """The same, after torch, which maps some gigabytes."""
    with outside_memory_limit():
        import torch  # noqa: F401

    return take(megabytes)
