"""How late the sound is: the shift under which sudden sounds meet sudden motion, if any does."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from concord.scores.motion import Motion
from concord.scores.onsets import Transients

Floats = npt.NDArray[np.float64]

MAX_OFFSET_S = 2.0
JITTER_S = 4.0
SAMPLES = 999
MAX_P = 0.1
MIN_RATIO = 1.2
MIN_EVENTS = 3
MAX_EVENTS = 50
MIN_DURATION_S = 2.0

_GRID_HZ = 100
_SMOOTHING_S = 0.02
_TREND_S = 2.1
_QUIET = 1e-3
_RIVAL_S = 0.25


@dataclass(frozen=True)
class Offset:
    """An estimate in ms, positive where the sound is late; `ms` is null without evidence.

    reason is a word of REASONS where ms is null. confidence is 1 - p, where p is the share of
    clips with the same picture and randomly moved sounds that fit at least as well; null where
    nothing could be tested.
    """

    ms: float | None = None
    reason: str | None = None
    confidence: float | None = None


def estimate_offset(transients: Transients, motion: Motion, duration_s: float) -> Offset:
    """The offset of the sound, if there is evidence for one.

    The fit of a shift is the sum of the transients' weights times the jolt of the picture at the
    shifted times (log, without its trend over two seconds, standardised). The largest fit within
    two seconds is compared with those of SAMPLES copies whose transients are moved at random, and
    with the next best shift, so that neither music over pictures nor a steady rhythm passes.
    """
    kept = np.flatnonzero(transients.times_s < duration_s)
    kept = np.sort(kept[np.argsort(-transients.weights[kept], kind="stable")[:MAX_EVENTS]])
    times, weights = transients.times_s[kept], transients.weights[kept]
    if duration_s < MIN_DURATION_S:
        return Offset(reason="too_short")
    if len(times) < MIN_EVENTS or motion.still:
        return Offset(reason="no_events")
    windows = _windows(motion, duration_s)
    fit = _fits(windows, times[None], weights)[0]
    best = int(fit.argmax())
    rivals = np.abs(np.arange(len(fit)) - best) > _RIVAL_S * _GRID_HZ
    chance = _chance_fits(windows, times, weights, duration_s)
    p = (1 + int(np.count_nonzero(chance >= fit[best]))) / (1 + len(chance))
    if p > MAX_P or fit[best] < MIN_RATIO * fit[rivals].max():
        return Offset(reason="no_synchrony", confidence=1 - p)
    lag_s = (len(fit) // 2 - best - _vertex(fit, best)) / _GRID_HZ
    return Offset(ms=float(1000 * lag_s), confidence=1 - p)


def _windows(motion: Motion, duration_s: float) -> Floats:
    """The picture's jolts around each moment of a 10 ms grid [T, 2L + 1], centred at it."""
    from scipy.ndimage import gaussian_filter1d, uniform_filter1d

    level = np.log(motion.jolt + _QUIET)
    level -= uniform_filter1d(level, round(_TREND_S * motion.fps) | 1)
    grid = np.arange(int(duration_s * _GRID_HZ)) / _GRID_HZ
    jolt = np.interp(grid, np.arange(len(level)) / motion.fps, level)
    jolt = gaussian_filter1d(jolt, _SMOOTHING_S * _GRID_HZ)
    jolt = (jolt - jolt.mean()) / max(jolt.std(), 1e-9)
    reach = int(min(MAX_OFFSET_S, duration_s / 2) * _GRID_HZ)
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(jolt, reach), 2 * reach + 1)
    centred: Floats = windows - windows.mean(axis=0)
    return centred


def _fits(windows: Floats, times_s: Floats, weights: Floats) -> Floats:
    """Fit [K, 2L + 1] of every shift for K sets of N times [K, N] with common weights [N]."""
    index = np.minimum((times_s * _GRID_HZ + 0.5).astype(int), len(windows) - 1)
    fits: Floats = np.stack([weights @ windows[row] for row in index])
    return fits


def _chance_fits(windows: Floats, times_s: Floats, weights: Floats, duration_s: float) -> Floats:
    """Largest fits [SAMPLES] of copies whose times are moved at random, folded back at the ends."""
    rng = np.random.default_rng(0)
    moved = times_s + rng.uniform(-JITTER_S, JITTER_S, (SAMPLES, len(times_s)))
    moved = np.mod(moved, 2 * duration_s)
    moved = np.minimum(moved, 2 * duration_s - moved)
    largest: Floats = _fits(windows, moved, weights).max(axis=1)
    return largest


def _vertex(values: Floats, i: int) -> float:
    """Distance of a parabola's vertex from its middle point, -0.5 to 0.5; 0 at the ends."""
    if not 0 < i < len(values) - 1:
        return 0.0
    left, middle, right = values[i - 1 : i + 2]
    return float((left - right) / (2 * (left - 2 * middle + right)))
