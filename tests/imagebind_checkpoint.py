"""A small ImageBind with random weights, as a file that a model's `checkpoint` may name."""

import json
from dataclasses import asdict
from pathlib import Path

from concord.models.imagebind.config import CONFIG_FILE, HUGE, ImageBindConfig, TrunkConfig


def tiny(dim: int = HUGE.dim) -> ImageBindConfig:
    """All six trunks, two narrow blocks each."""
    return ImageBindConfig(dim, {name: TrunkConfig(32, 2, 4) for name in HUGE.trunks})


def write_tiny(path: Path, seed: int = 0, dim: int = HUGE.dim) -> Path:
    """Write a .pth or .safetensors of `tiny`, and its imagebind_config.json; returns `path`.

    It reads what the published network reads, and its embeddings are as long: `dim` numbers.
    """
    import torch
    from safetensors.torch import save_file

    from concord.models.imagebind.network import ImageBind

    config = tiny(dim)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        state = ImageBind(config).state_dict()
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save(state, path)
    path.with_name(CONFIG_FILE).write_text(json.dumps(asdict(config)), encoding="utf-8")
    return path
