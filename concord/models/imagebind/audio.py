"""Sound as ImageBind hears it: 3 clips of 2 s as Kaldi's log-mel features."""

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Literal

import numpy as np

from concord.memory import outside_memory_limit
from concord.models.base import MediaFile
from concord.models.originals import one_thread, read_audio

if TYPE_CHECKING:
    import torch

RATE_HZ = 16_000
CLIPS, CLIP_S = 3, 2
BINS, FRAMES = 128, 204
FRAME_MS, SHIFT_MS = 25, 10
MEAN, STD = -4.268, 9.138
Mean = Literal["running", "clip"]


def clip_bounds(samples: int) -> list[tuple[int, int]]:
    """Where the clips begin and end, in samples; all the whole sound if it is shorter than 2 s."""
    room = Fraction(max(samples / RATE_HZ - CLIP_S, 0)) / (CLIPS - 1)
    starts = [k * room for k in range(CLIPS)]
    return [(int(start * RATE_HZ), int((start + CLIP_S) * RATE_HZ)) for start in starts]


def mel_clips(samples: np.ndarray, mean: Mean) -> np.ndarray:
    """Normalised log-mel features, float32 [3, 1, 128, 204], of 16 kHz sound [channels, samples].

    The mean over all channels of a clip is subtracted and the first channel is used. `mean`:
    running, the reference's, which subtracts in place, so that clips that overlap see what was
    subtracted before; clip, every clip's own mean alone. A clip of 2 s has 198 frames; zeros are
    added before the normalisation. Raises ValueError with `too_short` for less than one frame.
    """
    import torch

    if samples.shape[1] < RATE_HZ * FRAME_MS // 1000:
        raise ValueError("too_short", f"{samples.shape[1]} samples at {RATE_HZ} Hz")
    if mean not in ("running", "clip"):
        raise ValueError(f"audio_mean {mean!r}, expected running or clip")
    bounds = clip_bounds(samples.shape[1])
    wave, clips = torch.from_numpy(samples), []
    in_place = mean == "running" and bounds[1][0] < bounds[0][1]
    if in_place:
        wave = wave.clone()  # of less than 6 s, else the clips would not overlap
    for begin, end in bounds:
        clip = wave[:, begin:end] if mean == "running" else wave[:, begin:end].clone()
        clips.append(_log_mel(torch.sub(clip, clip.mean(), out=clip if in_place else None)))
    features: np.ndarray = torch.stack(clips)[:, None].sub(MEAN).div(STD).numpy()
    return features


def _log_mel(clip: "torch.Tensor") -> "torch.Tensor":
    """Log-mel features [128, 204] of the first channel, zeros at the end."""
    import torch
    from torchaudio.compliance.kaldi import fbank

    features = fbank(
        clip,
        htk_compat=True,
        sample_frequency=RATE_HZ,
        use_energy=False,
        window_type="hanning",
        num_mel_bins=BINS,
        dither=0.0,
        frame_length=FRAME_MS,
        frame_shift=SHIFT_MS,
    ).T[:, :FRAMES]
    padded: torch.Tensor = torch.nn.functional.pad(features, (0, FRAMES - features.shape[1]))
    return padded


@dataclass(frozen=True)
class AudioReader:
    """Reads a sound as views [3, 1, 128, 204]; picklable."""

    mean: Mean

    def __call__(self, file: MediaFile) -> np.ndarray:
        """Raises ValueError as read_audio and mel_clips do."""
        self.warm()
        samples = read_audio(file, RATE_HZ)
        with one_thread():
            return mel_clips(samples, self.mean)

    def warm(self) -> None:
        """Load torchaudio."""
        with outside_memory_limit():
            import torchaudio  # noqa: F401
