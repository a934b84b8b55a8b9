"""Widths, depths and heads of an ImageBind network; light, for it loads no torch."""

import json
from dataclasses import dataclass
from pathlib import Path

from concord.errors import UserError

CONFIG_FILE = "imagebind_config.json"
TRUNK_OF = {
    "video": "vision",
    "image": "vision",
    "audio": "audio",
    "text": "text",
    "depth": "depth",
    "thermal": "thermal",
    "imu": "imu",
}
"""The trunk that embeds a modality."""


@dataclass(frozen=True)
class TrunkConfig:
    """One transformer: the width of its tokens, and how many blocks and attention heads it has."""

    width: int
    blocks: int
    heads: int


@dataclass(frozen=True)
class ImageBindConfig:
    """The whole network: the size of its embeddings, and its trunks by name."""

    dim: int
    trunks: dict[str, TrunkConfig]


HUGE = ImageBindConfig(
    dim=1024,
    trunks={
        "vision": TrunkConfig(1280, 32, 16),
        "text": TrunkConfig(1024, 24, 16),
        "audio": TrunkConfig(768, 12, 12),
        "depth": TrunkConfig(384, 12, 8),
        "thermal": TrunkConfig(768, 12, 12),
        "imu": TrunkConfig(512, 6, 8),
    },
)
"""The published network, imagebind_huge (Girdhar et al., CVPR 2023)."""


def config_file(weights: Path) -> Path | None:
    """The imagebind_config.json beside a weight file; None if there is none."""
    path = weights.with_name(CONFIG_FILE)
    return path if path.is_file() else None


def read_config(weights: Path) -> ImageBindConfig:
    """What a weight file holds: HUGE, or what the imagebind_config.json beside it says.

    The file has `dim` and, for each of the six trunks, `width`, `blocks` and `heads`. Raises
    UserError for a file that does not.
    """
    path = config_file(weights)
    if path is None:
        return HUGE
    try:
        content = json.loads(path.read_text("utf-8"))
        trunks = {name: TrunkConfig(**content["trunks"][name]) for name in HUGE.trunks}
        sizes = [content["dim"], *(n for t in trunks.values() for n in vars(t).values())]
        if not all(isinstance(size, int) and size > 0 for size in sizes):
            raise ValueError("sizes must be whole numbers above 0")
        uneven = [name for name, t in trunks.items() if t.width % t.heads]
        if uneven:
            raise ValueError(f"width is no multiple of heads in {', '.join(uneven)}")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path}: not the description of an ImageBind network ({type(error).__name__}: "
            f"{error}); expected {{dim, trunks: {{vision: {{width, blocks, heads}}, ...}}}} with "
            f"the trunks {', '.join(HUGE.trunks)}; remove the file for the published network"
        ) from error
    return ImageBindConfig(content["dim"], trunks)
