"""When something is heard: onsets as AV-Align takes them, and transients for the offset.

The onset detector follows librosa 0.11 with its defaults, which AV-Align uses: spectral flux of a
log mel spectrogram (Böck and Widmer, "Maximum filter vibrato suppression for onset detection",
2013, without the filter) and adaptive peak picking (Böck et al., "Evaluating the online
capabilities of onset detection methods", 2012).
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from concord.media.file import MediaFile

Floats = npt.NDArray[np.float64]

_RATE_HZ, _FFT, _HOP, _MELS, _RANGE_DB = 22050, 2048, 512, 128, 80.0
_BEFORE, _AVERAGE, _DELTA, _WAIT = 1, 4, 0.07, 1

TRANSIENT_STEP_S = 0.01
TRANSIENT_WINDOW_S = 0.032
_BANDS, _LOWEST_HZ, _FLOOR = 24, 60.0, 1e-6
_NEIGHBOURHOOD_S, _MIN_GAP_S, _LEVEL_S = 0.5, 0.08, 0.06
_NOVELTY_MADS, _WEAKEST = 4.0, 0.2


class Transients(NamedTuple):
    """Sudden sounds: times in seconds [N], ascending, and weights [N] above 0."""

    times_s: Floats
    weights: Floats


def read_wave(wave: MediaFile) -> tuple[Floats, int]:
    """Samples of a mono wave, -1 to 1, and their rate in Hz."""
    import soundfile

    samples, rate_hz = soundfile.read(wave.source(), dtype="float64", always_2d=True)
    return samples.mean(axis=1), int(rate_hz)


def onset_times(samples: Floats, rate_hz: int) -> Floats:
    """Onsets in seconds [N], as AV-Align finds them, on a grid of 23.2 ms."""
    from scipy.signal import resample_poly

    if not np.any(samples):
        return np.zeros(0)
    divisor = np.gcd(rate_hz, _RATE_HZ)
    resampled = resample_poly(samples, _RATE_HZ // divisor, rate_hz // divisor)
    return pick_onsets(onset_strength(resampled)) * _HOP / _RATE_HZ


def onset_strength(samples: Floats) -> Floats:
    """Spectral flux [frames] of samples at 22,050 Hz: mean rise in dB of 128 mel bands."""
    power = _power(np.pad(samples, _FFT // 2), _FFT, _HOP) @ _mel_filters().T
    level = 10 * np.log10(np.maximum(power, 1e-10))
    level = np.maximum(level, level.max() - _RANGE_DB)
    rise = np.maximum(np.diff(level, axis=0), 0).mean(axis=1)
    shift = 1 + _FFT // (2 * _HOP)
    return np.pad(rise, (shift, 0))[: len(level)]


def pick_onsets(strength: Floats) -> npt.NDArray[np.int64]:
    """Indices of local maxima that stand 0.07 of the range above the local mean."""
    spread = np.ptp(strength) if len(strength) else 0.0
    if spread <= 0:
        return np.zeros(0, dtype=np.int64)
    scaled = (strength - strength.min()) / spread
    picked: list[int] = []
    for i, value in enumerate(scaled):
        near = scaled[max(0, i - _AVERAGE) : i + _AVERAGE + 1]
        is_peak = value >= scaled[max(0, i - _BEFORE) : i + 1].max()
        rested = not picked or i - picked[-1] > _WAIT
        if is_peak and rested and value >= near.mean() + _DELTA:
            picked.append(i)
    return np.array(picked, dtype=np.int64)


def find_transients(samples: Floats, rate_hz: int) -> Transients:
    """Sudden sounds and how much each counts, on a grid of 10 ms.

    A transient is a local maximum of the rise in 24 logarithmic bands, four median absolute
    deviations above its neighbourhood of half a second. Its weight is the geometric mean of that
    rise and of its loudness above the clip's median, both in dB: soft clicks and steady noise
    count little. Those below a fifth of the largest weight are left out.
    """
    from scipy.ndimage import median_filter
    from scipy.signal import find_peaks

    step = round(TRANSIENT_STEP_S * rate_hz)
    size = round(TRANSIENT_WINDOW_S * rate_hz)
    none = Transients(np.zeros(0), np.zeros(0))
    if len(samples) < 4 * size or not np.any(samples):
        return none
    power = _power(np.pad(samples, size // 2), size, step)
    edges = np.unique(np.geomspace(_LOWEST_HZ, rate_hz / 2, _BANDS + 1) * size // rate_hz)
    bands = np.add.reduceat(power, edges[:-1].astype(int), axis=1)
    floor = bands.max() * _FLOOR
    levels = 10 * np.log10(np.maximum(bands, floor))
    loudness = 10 * np.log10(np.maximum(bands.sum(axis=1), floor))
    rise = np.pad(np.maximum(levels[2:] - levels[:-2], 0).mean(axis=1), 1)
    novelty = rise - median_filter(rise, round(_NEIGHBOURHOOD_S / TRANSIENT_STEP_S) | 1)
    deviation = 1.4826 * np.median(np.abs(novelty))
    peaks, _ = find_peaks(
        novelty,
        height=_NOVELTY_MADS * deviation + 1e-6,
        distance=round(_MIN_GAP_S / TRANSIENT_STEP_S),
    )
    peaks = peaks[peaks * TRANSIENT_STEP_S > TRANSIENT_WINDOW_S]
    if not len(peaks):
        return none
    after = round(_LEVEL_S / TRANSIENT_STEP_S)
    loudest = np.array([loudness[i : i + after].max() for i in peaks])
    weights = np.sqrt(novelty[peaks] * np.maximum(loudest - np.median(loudness), 0))
    kept = weights > _WEAKEST * weights.max()
    return Transients(peaks[kept] * TRANSIENT_STEP_S, weights[kept])


def _power(samples: Floats, size: int, step: int) -> Floats:
    """Power spectrogram [frames, size // 2 + 1] under a periodic Hann window."""
    from scipy.signal import get_window

    frames = np.lib.stride_tricks.sliding_window_view(samples, size)[::step]
    spectrum = np.fft.rfft(frames * get_window("hann", size))
    power: Floats = np.abs(spectrum) ** 2
    return power


def _mel_filters() -> Floats:
    """Triangular filters [128, 1025] of equal area on Slaney's mel scale (Auditory Toolbox)."""
    knee_hz, knee_mel, ratio = 1000.0, 15.0, 27 / np.log(6.4)
    top = knee_mel + ratio * np.log(_RATE_HZ / 2 / knee_hz)
    mels = np.linspace(0, top, _MELS + 2)
    edges = np.where(
        mels < knee_mel,
        mels * knee_hz / knee_mel,
        knee_hz * np.exp((np.maximum(mels, knee_mel) - knee_mel) / ratio),
    )
    bins = np.fft.rfftfreq(_FFT, 1 / _RATE_HZ)
    width = np.diff(edges)[:, None]
    rising = (bins - edges[:-2, None]) / width[:-1]
    falling = (edges[2:, None] - bins) / width[1:]
    triangles = np.maximum(0, np.minimum(rising, falling))
    filters: Floats = triangles * (2 / (edges[2:] - edges[:-2]))[:, None]
    return filters
