"""What a run costs, by constants that were measured; `concord plan` prints the sums.

All constants stand here. Each was measured on real clips (24 of 192x144 to 1920x1080, 10 to 30
frames a second) on the machine named in MACHINE, except those that say they are assumed.
"""

import json
import re
import resource
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from concord.media.ffmpeg import find_ffmpeg
from concord.media.probe import OPEN_OPTIONS
from concord.models.base import Modality, ModelSpec
from concord.models.catalogue import architecture_file
from concord.models.imagebind.config import HUGE, TRUNK_OF
from concord.remote.fetch import UnusableError, local_copy

MACHINE = "one core of an AMD EPYC server"
MEDIA_S_PER_MEGAPIXEL = 0.005
DECODE_S_PER_CLIP_S = 0.008
SYNCHRONY_S_PER_CLIP_S = 0.03  # assumed: four times decoding
CPU_GFLOP_PER_S = 80.0
GPU_GFLOP_PER_S = 20_000.0  # assumed: a tenth of what a current accelerator claims
JOB_START_S = 1.0  # Python and what a job without a model imports, seconds of processor
MODEL_START_S = 4.0  # with PyTorch, a small model and its decoders
GPU_START_S = 8.0  # assumed: how long a GPU is held before it works
PROXY_BYTES_PER_S = 60_000.0
WAVE_BYTES_PER_S = 32_000.0
MINI_GFLOP = 0.1
UNKNOWN_GFLOP = 35.0
"""Of one frame through a network whose description is not at hand: that of a ViT-B/16."""

IMAGEBIND = ("imagebind", "imagebind_package")
IMAGEBIND_VIEWS = {"video": 15, "audio": 3}
IMAGEBIND_TOKENS = {
    **{"vision": 257, "text": 77, "audio": 229},
    **{"depth": 197, "thermal": 197, "imu": 251},
}

DECODERS = 4
"""Processes that decode beside a GPU, as models.NAME.workers has it by default."""

SAMPLE = 16
PROBE_TIMEOUT_S = 5
PROBE_MEMORY = 2 * 2**30
"""Bytes of address space that looking into a clip may take."""
LEAST_BYTES_PER_S = 500
"""A file with less claims a duration it does not have."""
# Where no sampled clip can be read: a clip of generators, 8 s of 720p at 24 frames a second.
TYPICAL = (8.0, 1280 * 720 * 24 / 1e6)


@dataclass(frozen=True)
class Footage:
    """The clips of a collection: their number, seconds of play and megapixels of picture."""

    clips: int
    seconds: float
    megapixels: float
    sampled: int


@dataclass(frozen=True)
class Cost:
    """What a stage takes: jobs, and seconds of one core for their work and for each to begin.

    Where there is a GPU, `gpu_s` and, of one core beside it, `beside_s` replace the work; each job
    holds the GPU for `gpu_start_s` before. `size` is what the stage leaves, in bytes. `probed` and
    `gpu_probed` say whether the user's own clips were measured without and on a GPU, `memory_mb`
    what a job took then. `collection` is of those that a probe tells apart. `clips` are those that
    its jobs have a row of; of stages without any, 0.
    """

    stage: str
    jobs: int
    work_s: float
    start_s: float = JOB_START_S
    gpu_s: float = 0.0
    beside_s: float = 0.0
    gpu_start_s: float = GPU_START_S
    size: float = 0.0
    memory_mb: float | None = None
    probed: bool = False
    gpu_probed: bool = False
    collection: str | None = None
    clips: int = 0

    @property
    def core_hours(self) -> float:
        return (self.work_s + self.jobs * self.start_s) / 3600

    @property
    def gpu_hours(self) -> float:
        return (self.gpu_s + self.jobs * self.gpu_start_s) / 3600 if self.gpu_s else 0.0

    @property
    def core_hours_beside(self) -> float:
        """Beside a GPU."""
        return (self.beside_s + self.jobs * self.start_s) / 3600


def footage(paths: Sequence[str], max_pixels: int) -> Footage:
    """Probe a few clips, spread evenly, and take the others to be like them.

    A picture of more than `max_pixels` takes no work.
    """
    step = max(1, len(paths) // SAMPLE)
    probed = [found for path in paths[::step][:SAMPLE] if (found := _probe(path, max_pixels))]
    known = probed or [TYPICAL]
    seconds = len(paths) * sum(duration for duration, _ in known) / len(known)
    megapixels = len(paths) * sum(duration * rate for duration, rate in known) / len(known)
    return Footage(len(paths), seconds, megapixels, len(probed))


def media_cost(found: Footage, jobs: int) -> Cost:
    """Probing, proxies, waves and volumes."""
    size = found.seconds * (PROXY_BYTES_PER_S + WAVE_BYTES_PER_S)
    work_s = found.megapixels * MEDIA_S_PER_MEGAPIXEL
    return Cost("media", jobs, work_s, size=size, clips=found.clips)


def synchrony_cost(found: Footage, jobs: int) -> Cost:
    """Onsets, motion and their offset."""
    work_s = found.seconds * SYNCHRONY_S_PER_CLIP_S
    return Cost("synchrony", jobs, work_s, clips=found.clips)


def embedding_cost(spec: ModelSpec, modality: Modality, found: Footage, jobs: int) -> Cost:
    """Decoding and the network; a GPU waits for whichever is slower."""
    decoding = 0.0 if modality == "text" else found.seconds * DECODE_S_PER_CLIP_S
    work = found.clips * _passes(spec, modality) * gflop(spec, modality)
    gpu = max(decoding / DECODERS, work / GPU_GFLOP_PER_S)
    return Cost(
        f"embeddings/{spec.name}/{modality}",
        jobs,
        decoding + work / CPU_GFLOP_PER_S,
        MODEL_START_S,
        gpu,
        decoding,
        size=4.0 * found.clips * spec.dim,
        clips=found.clips,
    )


def _passes(spec: ModelSpec, modality: Modality) -> int:
    """How often the network runs for one clip: once a frame or view."""
    if spec.backend in IMAGEBIND:
        return IMAGEBIND_VIEWS.get(modality, 1)
    return spec.frames if modality == "video" else 1


def gflop(spec: ModelSpec, modality: Modality) -> float:
    """Billions of operations of one frame, view or text through a network."""
    known = known_gflop(spec, modality)
    return UNKNOWN_GFLOP if known is None else known


def known_gflop(spec: ModelSpec, modality: Modality) -> float | None:
    """As `gflop`; None for a network whose description is not at hand."""
    if spec.backend == "mini":
        return MINI_GFLOP
    if spec.backend in IMAGEBIND:
        name = TRUNK_OF[modality]
        trunk = HUGE.trunks[name]
        return _transformer_gflop(trunk.blocks, trunk.width, IMAGEBIND_TOKENS[name])
    path = architecture_file(spec)
    if path is None:
        return None
    description = json.loads(path.read_text("utf-8"))
    description = description.get("model_cfg", description)
    part = description["text_cfg" if modality == "text" else "vision_cfg"]
    if not isinstance(part.get("layers"), int) or "width" not in part:
        return None
    if modality == "text":
        tokens = part.get("context_length", 77)
    else:
        tokens = (part.get("image_size", 224) // part.get("patch_size", 16)) ** 2 + 1
    return _transformer_gflop(part["layers"], part["width"], tokens)


def _transformer_gflop(layers: int, width: int, tokens: int) -> float:
    """A layer of width w on t tokens does 24 w^2 t + 4 w t^2 operations.

    Kaplan et al., Scaling Laws for Neural Language Models, 2020, table 1.
    """
    return layers * (24 * width**2 * tokens + 4 * width * tokens**2) / 1e9


def _limit_memory() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    limits = [PROBE_MEMORY, *(limit for limit in (soft, hard) if limit != resource.RLIM_INFINITY)]
    resource.setrlimit(resource.RLIMIT_AS, (min(limits), hard))


@cache
def _probe(path: str, max_pixels: int) -> tuple[float, float] | None:
    """Duration in s and megapixels a second of a clip, which is fetched if it is an object."""
    try:
        with local_copy(path) as file:
            return _probe_file(file, max_pixels)
    except UnusableError:
        return None


def _probe_file(path: Path, max_pixels: int) -> tuple[float, float] | None:
    """Duration in s and megapixels a second, by ffmpeg in a process of its own, with limits."""
    limited = {**OPEN_OPTIONS, "max_pixels": str(max_pixels)}
    options = [word for key, value in limited.items() for word in (f"-{key}", value)]
    try:
        done = subprocess.run(
            [find_ffmpeg().path, "-hide_banner", *options, "-i", f"file:{path.absolute()}"],
            capture_output=True,
            timeout=PROBE_TIMEOUT_S,
            check=False,
            preexec_fn=_limit_memory,
        )
    except (OSError, subprocess.TimeoutExpired, ValueError):
        return None
    text = done.stderr.decode("utf-8", "replace")
    duration = re.search(r"Duration: (\d+):(\d+):([\d.]+)", text)
    if not duration:
        return None
    hours, minutes, rest = map(float, duration.groups())
    seconds = 3600 * hours + 60 * minutes + rest
    if path.stat().st_size < LEAST_BYTES_PER_S * seconds:
        return None
    picture = re.search(r"Video: .*?\b(\d{2,5})x(\d{2,5})\b", text)
    rate = re.search(r"([\d.]+) (?:fps|tbr)", text)
    pixels = int(picture[1]) * int(picture[2]) if picture else 0
    return seconds, pixels * (float(rate[1]) if rate else 25) / 1e6
