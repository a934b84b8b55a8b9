"""Frames of a clip by a policy: which `count` of its frames stand for it."""

from typing import Literal, get_args

import numpy as np

from concord.models.base import MediaFile
from concord.models.originals import Convert, read_video_frames

Policy = Literal["centres", "left"]


def indices(policy: Policy, count: int, total: int) -> list[int]:
    """Indices of `count` of `total` frames.

    centres: the centres of `count` equal intervals, floor((i + 0.5) * total / count).
    left: i * (total // count), so that the end of a clip may never be seen.
    Raises ValueError for another policy.
    """
    if policy == "centres":
        return [int((i + 0.5) * total / count) for i in range(count)]
    if policy == "left":
        return [i * (total // count) for i in range(count)]
    raise ValueError(f"frame policy {policy!r}, expected one of {', '.join(get_args(Policy))}")


def read_frames(
    file: MediaFile, count: int, policy: Policy = "centres", convert: Convert | None = None
) -> np.ndarray:
    """`count` frames as RGB, uint8 [count, H, W, 3]; a short clip repeats some.

    `convert` makes of each frame, as it is decoded, what is kept of it. Raises ValueError as
    concord.models.originals.read_video_frames does.
    """
    return np.stack(
        read_video_frames(file, lambda total, _: indices(policy, count, total), convert)
    )
