"""From what a reader gave to what the network sees: crops and normalisation, on the device."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch

SIZE_PX = 224
CROPS = 3
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)


def expand(modality: str, options: Mapping[str, Any], given: "torch.Tensor") -> "torch.Tensor":
    """Views [V, ...] of one clip, on the tensor's device, float32.

    video: slices [S, 2, H, W, 3] in 0..255 become [3 * S, 3, 2, 224, 224], slice by slice: three
    crops along the long side each. image: [224, 224, 3] becomes [1, 3, 224, 224]. Everything else
    is the network's input already.
    """
    if modality == "video":
        return _crops(_normalised(given))
    if modality == "image":
        return _normalised(given[None, None])[:, :, 0]
    return given


def count(modality: str, options: Mapping[str, Any], given: np.ndarray) -> int:
    """How many views `expand` makes of this."""
    if modality == "video":
        return CROPS * len(given)
    return 1 if modality == "image" else len(given)


def parts(
    modality: str, options: Mapping[str, Any], given: np.ndarray, at_once: int
) -> list[np.ndarray]:
    """A clip in parts whose views, `count` of each, are at most `at_once`, or those of one slice.

    The views of the parts, one after the other, are those of the clip.
    """
    if modality == "image":
        return [given]
    step = max(1, at_once // count(modality, options, given[:1]))
    return [given[start : start + step] for start in range(0, len(given), step)]


def crop_offsets(long_px: int) -> list[int]:
    """Where the three crops begin along the long side: first, middle (rounded up), last."""
    return [0, (long_px - SIZE_PX + 1) // 2, long_px - SIZE_PX]


def _normalised(frames: "torch.Tensor") -> "torch.Tensor":
    """Frames [S, T, H, W, 3] in 0..255 as [S, 3, T, H, W], normalised as CLIP does."""
    pixels = frames.permute(0, 4, 1, 2, 3).float()
    mean, std = (pixels.new_tensor(values).reshape(3, 1, 1, 1) for values in (MEAN, STD))
    return pixels.div(255).sub(mean).div(std)


def _crops(slices: "torch.Tensor") -> "torch.Tensor":
    """Crops [3 * S, C, T, 224, 224] of slices [S, C, T, H, W]."""
    height, width = slices.shape[-2:]
    axis = -2 if height > width else -1
    parts = [slices.narrow(axis, at, SIZE_PX) for at in crop_offsets(max(height, width))]
    stacked = parts[0].new_empty((len(slices), CROPS, *parts[0].shape[1:]))
    for index, part in enumerate(parts):
        stacked[:, index] = part
    return stacked.flatten(0, 1)
