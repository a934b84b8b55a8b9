"""ImageBind, ours against its authors' package: the same weights, inputs and machine, in turn.

Run: python -m benchmarks.imagebind --reference FOLDER [--reference FOLDER] [--trunks vision audio]
     [--views 1] [--rounds 3] [--blocks 2] [--clips 2000] [--workers 12] [--compile]
     [--threads 1 --cpu-time]

FOLDER: where the package `imagebind` is unpacked (`pip install --no-deps --target FOLDER
imagebind-packaged einops`); only its network is loaded. Weights are random, of the published shape
unless --blocks says how deep. On a CPU the package runs as it is, in fp32; on a GPU also under its
own bf16 autocast, and the share of the card's measured matrix peak is given. On a GPU clips are
also embedded end to end from proxies. Two idle cores need a few minutes, most of them for texts;
on a busy machine take --cpu-time, or the numbers are noise. The last line is one JSON object.
"""

import argparse
import gc
import importlib.util
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from concord.models.imagebind.config import HUGE, ImageBindConfig
from concord.models.imagebind.embedder import ImageBindEmbedder, compile_blocks
from concord.models.imagebind.network import ImageBind

GOALS = {"cpu": {"bf16": 2.0, "fp32": 1.0}, "cuda": {"bf16": 3.0, "autocast": 1.3, "fp32": 1.0}}
CASES = ("vision", "audio", "text", "text, 77 tokens", "depth", "thermal", "imu")
PROMPT_TOKENS = (8, 20)
TOLERANCE, COSINE = 2e-5, 0.999
PEAK_SIZE = 8192
PROXY_FRAMES, PROXY_RATE, DISTINCT_PROXIES = 200, 20, 16
BATCH = 32
TEXTS_A_VIEW = 8
Clock = Callable[[], float]


@dataclass
class Row:
    """Times of one case, in seconds, by contestant."""

    case: str
    views: int
    times: dict[str, list[float]]

    def ratio(self, baseline: str, ours: str) -> float:
        """Median over rounds of how many times as long the baseline takes."""
        pairs = zip(self.times[baseline], self.times[ours], strict=True)
        return statistics.median(slow / fast for slow, fast in pairs)


def reference_class(folders: list[Path]) -> Any:
    """The package's network class; what it imports only to open files is stubbed."""
    from concord.models.imagebind_package import network_module

    sys.path[:0] = [str(folder) for folder in folders]
    if importlib.util.find_spec("iopath") is None:
        for name in ("iopath", "iopath.common", "iopath.common.file_io"):
            sys.modules[name] = ModuleType(name)
        sys.modules["iopath.common.file_io"].g_pathmgr = SimpleNamespace()  # type: ignore[attr-defined]
    return network_module("imagebind").ImageBindModel


def reference(build: Any, config: ImageBindConfig, only: str, state: dict[str, Tensor]) -> Any:
    """The package's network, with these weights for one trunk; the others are stunted."""
    sizes: dict[str, Any] = {"out_embed_dim": config.dim}
    for name, trunk in config.trunks.items():
        sizes[f"{name}_embed_dim"] = trunk.width if name == only else trunk.heads
        sizes[f"{name}_num_blocks"] = trunk.blocks if name == only else 1
        sizes[f"{name}_num_heads"] = trunk.heads
    model = build(**sizes)
    unused = model.load_state_dict(state, strict=False, assign=True).unexpected_keys
    assert not unused, unused
    return model.eval()


def ours(config: ImageBindConfig, trunk: str, state: dict[str, Tensor]) -> ImageBind:
    """Our network of one trunk with these weights, which are not copied."""
    with torch.device("meta"):
        network = ImageBind(config, [trunk])
    network.load_state_dict(state, assign=True)
    return network.requires_grad_(False).eval()


def make_inputs(case: str, count: int, device: torch.device) -> Tensor:
    """Random views, or token ids of prompts of usual length or of all 77 tokens."""
    shapes = {
        "vision": (3, 2, 224, 224),
        "audio": (1, 128, 204),
        "depth": (1, 224, 224),
        "thermal": (1, 224, 224),
        "imu": (6, 2000),
    }
    if case in shapes:
        return torch.randn(count, *shapes[case], device=device)
    ids = torch.randint(1, 49000, (count, 77))
    if case == "text":
        for row, length in zip(ids, torch.randint(*PROMPT_TOKENS, (count,)), strict=True):
            row[length:] = 0
            row[length - 1] = 49407
    else:
        ids[:, -1] = 49407
    return ids.to(device)


def contestants(
    build: Any, config: ImageBindConfig, trunk: str, device: torch.device, compiled: bool
) -> dict[str, Callable[[Tensor], Tensor]]:
    """Name to forward pass; all have the same weights."""
    torch.manual_seed(0)
    state = {k: v.to(device) for k, v in ImageBind(config, [trunk]).state_dict().items()}
    theirs, exact = reference(build, config, trunk, state), ours(config, trunk, state)
    half = ours(config, trunk, state).place(trunk, device, torch.bfloat16)

    def run_reference(views: Tensor) -> Tensor:
        given = views[:, None] if trunk == "vision" else views
        found: Tensor = theirs({trunk: given})[trunk]
        return found

    def run_autocast(views: Tensor) -> Tensor:
        with torch.autocast(device.type, torch.bfloat16):
            return run_reference(views)

    found: dict[str, Callable[[Tensor], Tensor]] = {
        "reference fp32": run_reference,
        "ours fp32": lambda views: exact(trunk, views),
        "ours bf16": lambda views: half(trunk, views),
    }
    if device.type == "cuda":
        found["reference autocast"] = run_autocast
    if compiled:
        quick = ours(config, trunk, state).place(trunk, device, torch.bfloat16)
        compile_blocks(quick, trunk)
        found["ours bf16 compiled"] = lambda views: quick(trunk, views)
    return found


def check(case: str, outputs: dict[str, Tensor]) -> float:
    """Stop unless all agree; returns the smallest cosine of bf16 to the reference."""
    expected = outputs["reference fp32"].float()
    error = float((outputs["ours fp32"] - expected).abs().max() / expected.abs().max())
    cosines = {
        name: float(torch.cosine_similarity(found.float(), expected).min())
        for name, found in outputs.items()
        if name != "reference fp32"
    }
    said = ", ".join(f"{name} {value:.6f}" for name, value in cosines.items())
    print(f"{case}: fp32 differs by {error:.1e} of the largest value; cosine {said}")
    tolerance = TOLERANCE if expected.device.type == "cpu" else 1e-3
    assert error < tolerance, f"{case}: ours and the reference differ by {error}"
    assert cosines["ours bf16"] >= COSINE, f"{case}: bf16 is too far from fp32"
    return cosines["ours bf16"]


def seconds(run: Callable[[Tensor], Tensor], views: Tensor, clock: Clock) -> float:
    start = clock()
    run(views)
    if views.device.type == "cuda":
        torch.cuda.synchronize()
    return clock() - start


def compare(
    case: str, build: Any, config: ImageBindConfig, count: int, options: argparse.Namespace
) -> tuple[Row, float]:
    """Times of a case in `rounds` rounds, forwards and backwards in turn, and bf16's cosine."""
    device = torch.device(options.device)
    runs = contestants(build, config, case.split(",")[0], device, options.compile)
    views = make_inputs(case, count, device)
    clock = time.process_time if options.cpu_time else time.perf_counter
    times: dict[str, list[float]] = {name: [] for name in runs}
    with torch.inference_mode():
        cosine = check(case, {name: run(views) for name, run in runs.items()})
        for number in range(options.rounds):
            for name in list(runs)[:: 1 if number % 2 else -1]:
                times[name].append(seconds(runs[name], views, clock))
    return Row(case, count, times), cosine


def gigaflop(config: ImageBindConfig, case: str) -> float:
    """Matrix operations of one view through the whole network as published, in 10^9."""
    patches = {"vision": 256, "audio": 228, "depth": 196, "thermal": 196, "imu": 250}
    numbers = {"vision": 3 * 14 * 14, "audio": 256, "depth": 256, "thermal": 256, "imu": 48}
    name = case.split(",")[0]
    trunk = config.trunks[name]
    tokens = 1 + patches[name] if name in patches else 77
    keys = tokens + (name not in ("vision", "text"))
    block = 24 * tokens * trunk.width**2 + 4 * tokens * keys * trunk.width
    stem = 2 * patches.get(name, 0) * numbers.get(name, 0) * trunk.width
    return (trunk.blocks * block + stem + 2 * trunk.width * config.dim) / 1e9


def matrix_peak(device: torch.device) -> float:
    """TFLOP/s of a large bf16 product, the best of some: what the card can do now."""
    left, right = torch.randn(2, PEAK_SIZE, PEAK_SIZE, device=device, dtype=torch.bfloat16)
    taken = [seconds(lambda views: views @ right, left, time.perf_counter) for _ in range(20)]
    return 2 * PEAK_SIZE**3 / min(taken) / 1e12


def report(row: Row, config: ImageBindConfig, peak: float | None) -> None:
    for name, taken in row.times.items():
        median = statistics.median(taken)
        speed = gigaflop(config, row.case) * row.views / median / 1000
        share = f", {speed / peak:.0%} of the measured peak" if peak else ""
        print(
            f"{row.case} x {row.views} {name}: {median * 1e3:.1f} ms, {speed:.2f} TFLOP/s{share}",
            flush=True,
        )


def write_proxies(folder: Path, count: int) -> list[Path]:
    """`count` H.264 proxies of 10 s, 224 px, 20 fps; some are made, the others are links."""
    import av

    random = np.random.default_rng(0)
    paths = [folder / f"{i}.mp4" for i in range(count)]
    for path in paths[:DISTINCT_PROXIES]:
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx264", rate=PROXY_RATE)
            stream.width, stream.height, stream.pix_fmt = 400, 224, "yuv420p"
            for _ in range(PROXY_FRAMES):
                coarse = random.integers(0, 255, (14, 25, 3), dtype=np.uint8)
                frame = np.ascontiguousarray(coarse.repeat(16, 0).repeat(16, 1))
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            container.mux(stream.encode())
    for i, path in enumerate(paths[DISTINCT_PROXIES:]):
        path.symlink_to(paths[i % DISTINCT_PROXIES])
    return paths


def end_to_end(config: ImageBindConfig, options: argparse.Namespace) -> dict[str, float]:
    """Clips a second from proxies to embeddings, and the share of time the device waits.

    The device waits whenever no batch is being embedded; moving a batch there counts as work.
    """
    from concord.models import imagebind
    from concord.models.base import MediaFile
    from concord.models.catalogue import entries, protocols
    from concord.parallel import Failure, parallel_map

    device = torch.device(options.device)
    settings = protocols()[str(entries()["imagebind-proxy"].protocol)].options
    network = ImageBind(config, ["vision"]).requires_grad_(False).eval()
    network.place("vision", device, torch.bfloat16)
    embedder = ImageBindEmbedder(network, settings, device, "random")
    spec = SimpleNamespace(options=settings, reads="proxies")
    with tempfile.TemporaryDirectory() as folder:
        files = [MediaFile(path) for path in write_proxies(Path(folder), options.clips)]
        read = imagebind.reader(spec, "video")  # type: ignore[arg-type]
        embedder.embed("video", [read(files[0])])
        busy = 0.0
        ahead = 2 * BATCH + options.workers
        with parallel_map(
            read, files, workers=options.workers, ahead=ahead, timeout_s=600
        ) as given:
            first = next(given)  # processes have started
            start = time.perf_counter()
            batch = [first, *islice(given, BATCH - 1)]
            while batch:
                clips = [clip for clip in batch if not isinstance(clip, Failure)]
                assert len(clips) == len(batch), batch
                before = time.perf_counter()
                embedder.embed("video", clips)
                busy += time.perf_counter() - before
                batch = list(islice(given, BATCH))
            total = time.perf_counter() - start
    found = {"clips_a_second": options.clips / total, "share_waiting": 1 - busy / total}
    print(
        f"end to end from {options.clips} proxies: {found['clips_a_second']:.2f} clips a second, "
        f"the device waits {found['share_waiting']:.1%} of the time"
    )
    return found


def result(rows: list[Row], cosines: list[float], options: argparse.Namespace) -> dict[str, Any]:
    """The ratios that have a goal, per case; the value is the smallest of bf16 to fp32."""
    goals = GOALS[options.device]
    pairs = {
        "bf16": ("reference fp32", "ours bf16"),
        "autocast": ("reference autocast", "ours bf16"),
        "fp32": ("reference fp32", "ours fp32"),
    }
    ratios = {name: {row.case: round(row.ratio(*pairs[name]), 3) for row in rows} for name in goals}
    worst = {name: min(found.values()) for name, found in ratios.items()}
    return {
        "name": "ImageBind forward, times as fast as the reference's fp32, worst case in bf16",
        "value": worst["bf16"],
        "unit": "x",
        "goal": goals["bf16"],
        "met": all(worst[name] >= goal for name, goal in goals.items()),
        "device": torch.cuda.get_device_name() if options.device == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        "rounds": options.rounds,
        "clock": "processor time" if options.cpu_time else "wall",
        "reference_over_ours": ratios,
        "lowest_cosine_bf16": round(min(cosines), 6),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--reference", type=Path, action="append", default=[])
    parser.add_argument("--trunks", nargs="+", default=list(HUGE.trunks), choices=HUGE.trunks)
    parser.add_argument("--views", type=int, help="default: 1 on a CPU, 240 on a GPU")
    parser.add_argument("--rounds", type=int, help="default: 3 on a CPU, 5 on a GPU")
    parser.add_argument("--blocks", type=int, help="at most so many a trunk; default: as published")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, help="of PyTorch on the CPU; default: its own")
    parser.add_argument(
        "--cpu-time", action="store_true", help="count processor time: on a busy machine"
    )
    parser.add_argument("--compile", action="store_true", help="add ours, compiled")
    parser.add_argument("--clips", type=int, help="end to end; default: 2000 on a GPU, else none")
    parser.add_argument("--workers", type=int, default=12)
    options = parser.parse_args()
    on_gpu = options.device == "cuda"
    options.views = options.views or (240 if on_gpu else 1)
    options.rounds = options.rounds or (5 if on_gpu else 3)
    if options.threads:
        torch.set_num_threads(options.threads)
    build = reference_class(options.reference)
    config = replace(
        HUGE,
        trunks={
            name: replace(trunk, blocks=min(trunk.blocks, options.blocks or trunk.blocks))
            for name, trunk in HUGE.trunks.items()
        },
    )
    peak = matrix_peak(torch.device("cuda")) if on_gpu else None
    if peak:
        print(f"matrix peak of {torch.cuda.get_device_name()}, measured: {peak:.0f} TFLOP/s")
    rows, cosines = [], []
    for case in CASES:
        if case.split(",")[0] in options.trunks:
            count = options.views * (TEXTS_A_VIEW if case.startswith("text") else 1)
            row, cosine = compare(case, build, config, count, options)
            report(row, config, peak)
            rows.append(row)
            cosines.append(cosine)
            gc.collect()
    found = result(rows, cosines, options)
    if peak:
        found["matrix_peak_tflops"] = round(peak, 1)
    options.clips = 2000 * on_gpu if options.clips is None else options.clips
    if options.clips:
        found |= {k: round(v, 4) for k, v in end_to_end(config, options).items()}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
