"""What every job does around its work: a log, and a note of what the work cost.

The note lies beside Snakemake's own benchmark: `<results>/benchmarks/RULE/NAME.json`. Benchmarks
look at a job's processes twice a second for 15 s and then every 30 s, so they miss the processor
time of short-lived children, such as ffmpeg; the note has the system's own count. While a job
runs, a mark of it lies in `<results>/benchmarks/.running/`.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from concord.files import write_text
from concord.logs import log_to
from concord.protocol import digest
from concord.run import count_gpus
from concord.run_state import benchmarks, is_leader, last_run, marks
from concord.tables import read_metadata
from concord.usage import gpu_memory_mb, host_kind, usage


@contextmanager
def job(snakemake: Any) -> Iterator[None]:
    """Run a rule's script with its log, and leave the note of its cost, also where it fails.

    A UserError ends the process with its text and status 1, without a traceback.
    """
    with log_to(snakemake.log[0]), _noted(snakemake):
        yield


@contextmanager
def _noted(snakemake: Any) -> Iterator[None]:
    results, name = _places(Path(snakemake.log[0]))
    mark = marks(results) / f"{digest(str(name))}.json"
    run = last_run(results)
    about = _about(snakemake) | {"run": run and run.name, "child": bool(run and is_leader(run))}
    _leave(mark, lambda: about)
    status = "failed"
    try:
        yield
        status = "ok"
    finally:
        ended = about | {"status": status, "ended": time.time()}
        path = (benchmarks(results) / name).with_suffix(".json")
        _leave(path, lambda: ended | _cost(about))
        mark.unlink(missing_ok=True)


def _leave(path: Path, note: Callable[[], dict[str, Any]]) -> None:
    """Write a note; no job fails because of what it notes of its cost."""
    try:
        write_text(path, json.dumps(note()))
    except Exception as error:
        print(f"{path}: what the job cost could not be noted ({error!r})", file=sys.stderr)


def _places(log: Path) -> tuple[Path, Path]:
    """The results folder and RULE/NAME.log of a log `<results>/logs/RULE/NAME.log`."""
    parts = log.parts
    at = len(parts) - 1 - parts[::-1].index("logs")
    return Path(*parts[:at]), Path(*parts[at + 1 :])


def _about(snakemake: Any) -> dict[str, Any]:
    """What is known of a job before it works."""
    return {
        "rule": snakemake.rule,
        "wildcards": dict(snakemake.wildcards.items()),
        "threads": snakemake.threads,
        "gpus": int(snakemake.resources.get("gpu", 0)) if count_gpus() else 0,
        "outputs": list(map(str, snakemake.output)),
        "log": snakemake.log[0],
        "host": host_kind(),
        "started": time.time(),
    }


def _cost(about: dict[str, Any]) -> dict[str, Any]:
    """What the job used, and what its table says of the clips that were processed for it."""
    used = usage()
    return {
        "wall_s": used.wall_s,
        "cpu_s": used.cpu_s,
        "gpu_s": used.wall_s * about["gpus"],
        "memory_mb": used.memory_mb,
        "gpu_memory_mb": gpu_memory_mb(),
        "read_bytes": used.read_bytes,
        "written_bytes": used.written_bytes,
        **_work(about["outputs"]),
    }


def _work(outputs: list[str]) -> dict[str, Any]:
    """`run` of the first table that has it (clips processed, reused, ...), and the device."""
    for path in map(Path, outputs):
        if path.suffix == ".parquet" and path.exists():
            note = read_metadata(path)
            if run := note.get("run"):
                return {"work": run, "device": _device(run, note.get("computed"))}
    return {}


def _device(run: dict[str, Any], computed: Any) -> str | None:
    """What the job computed on; None if nothing was, or if several devices made the rows."""
    devices = {entry.get("device") for entry in computed} if isinstance(computed, list) else set()
    return devices.pop() if run["processed"] and len(devices) == 1 else None
