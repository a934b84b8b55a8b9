"""Runs `concord.probe` in a process of its own for a bounded time, and reads what it measured."""

import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path
from typing import Any

import psutil

from concord.clips.plan import planned_texts
from concord.clips.survey import Survey
from concord.config import Config
from concord.models.base import COMPANIONS, Modality, ModelSpec
from concord.run import PACKAGE_ROOT
from concord.scratch import scratch_folder
from concord.tables import PLAN
from concord.usage import MB

HEAVY_MB = 4000
"""Models that need more memory are not loaded for a forecast unless the user asks for it."""
SAMPLE = 8
"""Clips of a collection, at most."""
TEXTS = 64
MEDIA_SHARE = 0.4
LOOK_S = 0.3


@dataclass
class Measured:
    """Of one stage: seconds of processor for these clips, and those that a GPU was held."""

    start_s: float = 0.0
    work_s: float = 0.0
    gpu_start_s: float = 0.0
    gpu_s: float = 0.0
    on_gpu: bool = False
    size: float = 0.0
    clips: int = 0
    memory_mb: float | None = None
    paths: list[str] = field(default_factory=list)


@dataclass
class Probe:
    """What a probe measured: media by collection, others by stage; and why not more.

    `import_s` is what any job takes to begin, `package_s` what PyTorch adds, in seconds of
    processor.
    """

    media: dict[str, Measured] = field(default_factory=dict)
    stages: dict[str, Measured] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    import_s: float | None = None
    package_s: float = 0.0


def probe(
    path: Path,
    config: Config,
    found: Survey,
    wanted: Sequence[tuple[ModelSpec, Modality]],
    *,
    cores: int,
    seconds: float,
    heavy: bool,
) -> Probe:
    """Send a few clips of each collection through the stages of the configuration at `path`.

    Takes at most about `seconds`; what is not measured by then is missing in the result.
    """
    result = Probe()
    chosen = _chosen(wanted, heavy, result)
    with scratch_folder() as folder:
        request = {
            "clips": {name: _sample(found, name) for name in found.collections},
            "texts": _texts(config, found),
            "embeddings": [(spec.name, modality) for spec, modality in chosen],
            "workers": max(1, min(cores, os.cpu_count() or 1, config.media.workers)),
            "media_s": seconds * MEDIA_SHARE,
            "limit_s": ceil(seconds) + 1,
        }
        file = folder / "request.json"
        file.write_text(json.dumps(request), encoding="utf-8")
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "concord.probe", str(path), str(file)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                env=_environment(cores),
                start_new_session=True,
            )
            try:
                if _listen(process, time.monotonic() + seconds, result):
                    process.wait()
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                status = process.wait()
        if status > 0:
            last = (folder / "log").read_text("utf-8", "replace").strip().rpartition("\n")[2]
            result.notes.append(f"the probe ended early: {last}")
    return result


def _environment(cores: int) -> dict[str, str]:
    """That of a job: it finds this package, takes so many threads, and fetches nothing."""
    paths = filter(None, [PACKAGE_ROOT, os.environ.get("PYTHONPATH")])
    threads = str(max(1, min(cores, os.cpu_count() or 1)))
    own = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": threads, "PYTHONPATH": os.pathsep.join(paths)}
    return os.environ | own


def _chosen(
    wanted: Sequence[tuple[ModelSpec, Modality]], heavy: bool, result: Probe
) -> list[tuple[ModelSpec, Modality]]:
    """What is probed, the lightest models first."""
    chosen = [(spec, modality) for spec, modality in wanted if modality not in COMPANIONS]
    large = {spec.name: spec.memory_mb for spec, _ in chosen if spec.memory_mb > HEAVY_MB}
    if not heavy:
        chosen = [(spec, modality) for spec, modality in chosen if spec.name not in large]
        result.notes += [
            f"{name} takes {size / 1000:.0f} GB of memory and was not loaded; --heavy does"
            for name, size in large.items()
        ]
    return sorted(chosen, key=lambda found: found[0].memory_mb)


def _sample(found: Survey, collection: str) -> list[dict[str, Any]]:
    """PLAN rows of clips spread evenly over a collection."""
    rows = found.collections[collection].plan
    step = max(1, len(rows) // SAMPLE)
    chosen = rows.take(list(range(0, len(rows), step))[:SAMPLE]).to_pylist()
    return [{name: row.get(name) for name in PLAN.names} for row in chosen]


def _texts(config: Config, found: Survey) -> list[dict[str, Any]]:
    for prompts in found.prompts.values():
        rows: list[dict[str, Any]] = planned_texts(config, prompts).slice(0, TEXTS).to_pylist()
        return rows
    return []


def _listen(process: subprocess.Popen[bytes], deadline: float, result: Probe) -> bool:
    """Take the probe's lines, and look at its memory, until it ends (true) or the time is up."""
    assert process.stdout
    stage, ended = "media", False
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        peaks: dict[str, float] = {}
        while (left_s := deadline - time.monotonic()) > 0:
            if selector.select(min(left_s, LOOK_S)):
                if not (text := process.stdout.readline()):
                    ended = True
                    break
                stage = _take(json.loads(text), stage, result)
            peaks[stage] = max(peaks.get(stage, 0.0), _memory_mb(process.pid))
        else:
            result.notes.append(f"the time for the probe was up during {stage}")
    for name, measured in result.stages.items():
        measured.memory_mb = peaks.get(name)
    for measured in result.media.values():
        measured.memory_mb = peaks.get("media")
    return ended


def _take(line: dict[str, Any], stage: str, result: Probe) -> str:
    """Note one line of the probe; returns the stage that is worked on now."""
    what = line.pop("what")
    if what == "start":
        result.import_s = line["start_s"]
    elif what == "library":
        result.package_s = line["start_s"]
    elif what == "began":
        result.stages[line["of"]] = Measured(paths=line["paths"], start_s=-1.0)
        return str(line["of"])
    elif what == "failed":
        result.notes.append(f"{line['of']}: {line['why']}")
    elif what == "media":
        media = result.media.setdefault(line["of"], Measured())
        media.start_s = line["start_s"]
        media.work_s += line["work_s"]
        media.size += line["size"]
        media.paths += line["paths"]
    else:
        for name, value in line.items():
            setattr(result.stages[what], name, value)
    return stage


def _memory_mb(pid: int) -> float:
    """Memory of a process and those it started, pages they share counted once, MB."""
    total = 0
    with suppress(psutil.Error):
        process = psutil.Process(pid)
        for one in (process, *process.children(recursive=True)):
            with suppress(psutil.Error):
                total += one.memory_full_info().pss
    return total / MB
