"""Frames of a proxy."""

from pathlib import Path

import numpy as np


def centres(count: int, total: int) -> list[int]:
    """Indices of the frames at the centres of `count` equal intervals of `total` frames."""
    return [int((i + 0.5) * total / count) for i in range(count)]


def read_frames(path: Path, count: int) -> np.ndarray:
    """`count` frames at interval centres as RGB, uint8 [count, H, W, 3]; a short clip repeats some.

    Decodes once and keeps only the frames needed. Raises ValueError with `no_frames` or
    `unreadable` and the decoder's words.
    """
    import av

    try:
        total = _count_packets(path)
        frames, decoded = _pick(path, centres(count, total)) if total else ({}, 0)
        if decoded != total and decoded:
            frames, decoded = _pick(path, centres(count, decoded))
    except (av.FFmpegError, OSError) as error:
        raise ValueError("unreadable", str(error)) from error
    if not decoded:
        raise ValueError("no_frames")
    return np.stack([frames[i] for i in centres(count, decoded)])


def _count_packets(path: Path) -> int:
    """Frames a file should give, from its packets alone."""
    import av

    with av.open(str(path.absolute())) as container:
        if not container.streams.video:
            raise ValueError("no_video_stream")
        return sum(p.size > 0 and not p.is_discard for p in container.demux(video=0))


def _pick(path: Path, indices: list[int]) -> tuple[dict[int, np.ndarray], int]:
    """The frames of these indices, uint8 [H, W, 3] each, and the number of frames decoded."""
    import av

    wanted, kept, decoded = set(indices), {}, 0
    with av.open(str(path.absolute())) as container:
        container.streams.video[0].codec_context.thread_count = 1
        for decoded, frame in enumerate(container.decode(video=0), start=1):
            if decoded - 1 in wanted:
                kept[decoded - 1] = frame.to_ndarray(format="rgb24")
    return kept, decoded
