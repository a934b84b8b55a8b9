"""What a process and those it started used of the machine, as the system counted it."""

import os
import platform
import resource
import sys
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import psutil

MB = 1e6


@dataclass(frozen=True)
class Usage:
    """Of this process since it began, and of the processes it started that have ended.

    Seconds of wall time and of all processors together; MB (10**6 bytes) of memory, the largest
    this process alone had; bytes from and to storage. None is what the system does not tell.
    """

    wall_s: float
    cpu_s: float
    memory_mb: float | None
    read_bytes: int | None
    written_bytes: int | None


def usage() -> Usage:
    """What this process used so far."""
    counted = _fields(Path("/proc/self/io"))
    largest = _fields(Path("/proc/self/status")).get("VmHWM")
    return Usage(
        time.time() - psutil.Process().create_time(),
        cpu_s(),
        # getrusage's maximum will not do: it begins with that of the process that started this one.
        largest * 1024 / MB if largest is not None else None,
        counted.get("read_bytes"),
        counted.get("write_bytes"),
    )


def cpu_s() -> float:
    """Seconds of processor time of this process and of those it started that have ended."""
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(used.ru_utime + used.ru_stime for used in map(resource.getrusage, kinds))


def gpu_memory_mb() -> float | None:
    """The most GPU memory PyTorch held in this process, MB; None if it held none."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return None
    devices = range(torch.cuda.device_count())
    return float(sum(map(torch.cuda.max_memory_reserved, devices)) / MB)


@cache
def host_kind() -> str:
    """What kind of machine this is, without its name: `16 x AMD EPYC 7B13, 2 x NVIDIA H200`."""
    gpus = sorted(
        line.split(":", 1)[1].strip()
        for file in Path("/proc/driver/nvidia/gpus").glob("*/information")
        for line in file.read_text().splitlines()
        if line.startswith("Model:")
    )
    parts = [f"{os.cpu_count()} x {_processor()}"]
    parts += [f"{gpus.count(gpu)} x {gpu}" for gpu in dict.fromkeys(gpus)]
    return ", ".join(parts)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def _fields(path: Path) -> dict[str, int]:
    """The numbers of a file of `name: number` lines; none if it cannot be read."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return {}
    pairs = (line.partition(":") for line in lines)
    words = ((name, *rest.split()[:1]) for name, _, rest in pairs)
    return {name: int(word[0]) for name, *word in words if word and word[0].isdecimal()}
