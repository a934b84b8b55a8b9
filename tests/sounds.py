"""A small sound, for tests that need nothing but a file that can be decoded."""

from pathlib import Path

import numpy as np
import soundfile


def make_sound(path: Path, tone_hz: int) -> Path:
    """Write one second of a tone as a 16 kHz wave."""
    time_s = np.arange(16000) / 16000
    soundfile.write(path, 0.3 * np.sin(2 * np.pi * tone_hz * time_s), 16000)
    return path
