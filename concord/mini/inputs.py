"""How pictures and sounds become the network's inputs; light to import."""

import numpy as np

FRAME_SIZE = 64
"""Frames are squeezed to this width and height in pixels, whatever their shape."""
RATE_HZ = 16000
WINDOW_S = 3.0
MAX_WINDOWS = 8


def audio_windows(samples: np.ndarray) -> np.ndarray:
    """Samples [N] at RATE_HZ as windows [V, WINDOW_S * RATE_HZ], evenly spread over all of them.

    There are as many as fit, at least one and at most MAX_WINDOWS; a shorter sound is padded.
    """
    size = round(WINDOW_S * RATE_HZ)
    if len(samples) < size:
        samples = np.pad(samples, (0, size - len(samples)))
    count = min(MAX_WINDOWS, len(samples) // size)
    starts = np.linspace(0, len(samples) - size, count).astype(np.int64)
    return np.stack([samples[start : start + size] for start in starts])
