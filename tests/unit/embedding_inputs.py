"""Inputs of the embedding tests: small proxies, media tables and a tiny random OpenCLIP."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from concord.models.base import MediaFile
from concord.tables import MEDIA, TEXTS, write_table

if TYPE_CHECKING:
    from concord.config import Config

TINY = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 64, "layers": 1, "width": 64, "patch_size": 16, "head_width": 32},
    "text_cfg": {
        "context_length": 16,
        "vocab_size": 49408,
        "width": 32,
        "heads": 2,
        "layers": 1,
    },
}
PREPROCESSING = {
    "mean": [0.4, 0.5, 0.6],
    "std": [0.2, 0.25, 0.3],
    "interpolation": "bilinear",
    "resize_mode": "shortest",
}


def write_proxy(path: Path, frames: int = 20, size: tuple[int, int] = (96, 64), seed: int = 0):
    """An H.264 file whose frame i is mostly of grey level 10 * i, with a random texture."""
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    texture = np.random.default_rng(seed).integers(0, 6, (size[1], size[0], 3), dtype=np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=20, options={"crf": "10"})
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for i in range(frames):
            picture = np.clip(texture + 10 * (i % 25), 0, 255).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


def read_name(file: MediaFile) -> np.ndarray:
    """A view that is the number in the file's name; `none` cannot be read, `long20` has 20."""
    name = file.path.stem
    if name == "none":
        raise ValueError("no_frames")
    if name.startswith("long"):
        return np.ones((int(name.removeprefix("long")), 1))
    return np.array([[float(name)]])


def media_row(clip: str, **values: Any) -> dict[str, Any]:
    """A MEDIA row of a clip with usable picture and no sound."""
    row = dict.fromkeys(MEDIA.names)
    row |= {
        "clip_id": clip,
        "key": f"key of {clip}",
        "path": f"/originals/{clip}",
        "status": "ok",
        "video_status": "ok",
        "audio_status": "skipped",
        "audio_reason": "no_audio_stream",
        "proxy": f"{clip}.mp4",
    }
    return row | values


def write_media(folder: Path, rows: list[Mapping[str, Any]]) -> Path:
    """The media table of a shard."""
    path = folder / "media.parquet"
    write_table(path, MEDIA, rows)
    return path


def write_texts(path: Path, texts: list[str]) -> Path:
    """The plan file of some prompts."""
    write_table(path, TEXTS, [{"text_id": f"id of {text}", "text": text} for text in texts])
    return path


def write_tiny_open_clip(folder: Path, **model: Any) -> Path:
    """A random OpenCLIP in a hub's layout, `model` being parts of its own; returns its weights."""
    import open_clip
    import torch
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    config = {"model_cfg": TINY | model, "preprocess_cfg": PREPROCESSING}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    torch.manual_seed(0)
    model = open_clip.create_model(f"local-dir:{folder}", load_weights=False, pretrained_text=False)
    state = {name: value.contiguous() for name, value in model.state_dict().items()}
    save_file(state, folder / "model.safetensors")
    return folder / "model.safetensors"


def configured(results: Path, **models: Mapping[str, Any]) -> "Config":
    """A configuration with these models."""
    from concord.config import Config

    return Config.model_validate(
        {"results": results, "collections": {"c": str(results)}, "models": models}
    )
