"""The whole published shape of ImageBind, made, saved, loaded and run in bounded memory.

Run: python -m benchmarks.imagebind_memory [--folder /tmp]

Two processes one after the other: one builds imagebind_huge with random weights and saves it
(4.8 GB on disk, deleted afterwards); the other loads it strictly, as a job does, and embeds every
modality, in fp32 with all trunks together and in bf16 trunk by trunk. The value is the larger peak
of resident memory, pages of the mapped file included. The last line is one JSON object.
"""

import argparse
import gc
import json
import multiprocessing
import resource
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

GOAL_GB, GOAL_COSINE = 8.0, 0.999
PARAMETERS, TENSORS = 1_200_781_057, 1311
TEXTS = ["A dog barks at a passing car.", "waves", "a long prompt " * 40]
MODALITIES = ("video", "audio", "text", "image", "depth", "thermal", "imu")
Vectors = npt.NDArray[np.float32]


def peak_gb() -> float:
    """Largest resident memory of this process so far, in GB (10^9 bytes)."""
    unit_bytes = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit_bytes / 1e9


def build(path: Path) -> float:
    """Save the published shape with random weights; returns the peak in GB."""
    import torch

    from concord.models.imagebind.config import HUGE
    from concord.models.imagebind.network import ImageBind

    torch.manual_seed(0)
    network = ImageBind(HUGE)
    state = network.state_dict()
    assert len(state) == TENSORS, len(state)
    assert sum(p.numel() for p in network.parameters()) == PARAMETERS
    torch.save(state, path)
    return peak_gb()


def make_inputs(modality: str) -> list[Any]:
    """Two clips of noise, as a reader would give them, or some texts."""
    random = np.random.default_rng(0)
    shapes = {
        "video": (1, 2, 224, 300, 3),
        "image": (224, 224, 3),
        "audio": (3, 1, 128, 204),
        "depth": (1, 1, 224, 224),
        "thermal": (1, 1, 224, 224),
        "imu": (1, 6, 2000),
    }
    if modality == "text":
        return TEXTS
    if modality in ("video", "image"):
        return [random.random(shapes[modality], np.float32) * 255 for _ in range(2)]
    return [random.standard_normal(shapes[modality], np.float32) for _ in range(2)]


def embed(path: Path, modalities: tuple[str, ...], precision: str) -> dict[str, Vectors]:
    """Embeddings of every modality through the family's own loader."""
    import torch

    from concord.models import imagebind
    from concord.models.base import ModelSpec

    spec = ModelSpec(
        name="imagebind",
        backend="imagebind",
        modalities=modalities,  # type: ignore[arg-type]
        dim=1024,
        licence="",
        citation="",
        precision=precision,
        checkpoint=str(path),
        sha256="not needed here",
        options={"views": "15view", "end_token": "kept"},
    )
    embedder = imagebind.load(spec, torch.device("cpu"))
    return {m: embedder.embed(m, make_inputs(m)) for m in modalities}  # type: ignore[arg-type]


def run(path: Path) -> tuple[float, dict[str, float]]:
    """Peak in GB, and the smallest cosine of bf16 to fp32 by modality."""
    exact = embed(path, MODALITIES, "fp32")
    cosines = {}
    for modality in MODALITIES:
        gc.collect()
        (close,) = embed(path, (modality,), "bf16").values()
        products = (unit(exact[modality]) * unit(close)).sum(axis=1)
        cosines[modality] = round(float(products.min()), 6)
        lengths = np.linalg.norm(exact[modality], axis=1)
        between = unit(exact[modality])[0] @ unit(exact[modality])[1]
        print(
            f"{modality}: bf16 to fp32 cosine {cosines[modality]:.6f}; first to second clip "
            f"{between:.4f}, lengths {np.round(lengths, 4)}",
            flush=True,
        )
    return peak_gb(), cosines


def unit(vectors: Vectors) -> Vectors:
    scaled: Vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return scaled


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, help="for the 4.8 GB; default: the usual one")
    options = parser.parse_args()
    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        path = Path(folder) / "imagebind_huge.pth"
        with ProcessPoolExecutor(1, mp_context=spawn) as pool:
            built = pool.submit(build, path).result()
        print(f"built and saved: {path.stat().st_size / 1e9:.2f} GB, peak {built:.2f} GB")
        with ProcessPoolExecutor(1, mp_context=spawn) as pool:
            used, cosines = pool.submit(run, path).result()
        print(f"loaded and run: peak {used:.2f} GB")
    peak, lowest = max(built, used), min(cosines.values())
    print(
        json.dumps(
            {
                "name": "peak memory of the whole ImageBind: build and save, or load and run",
                "value": round(peak, 3),
                "unit": "GB",
                "goal": GOAL_GB,
                "met": peak < GOAL_GB and lowest >= GOAL_COSINE,
                "parameters": PARAMETERS,
                "tensors": TENSORS,
                "cosine_bf16_to_fp32": cosines,
                "cosine_goal": GOAL_COSINE,
            }
        )
    )


if __name__ == "__main__":
    main()
