"""Scenes as frames and samples, at any size and rate; NumPy only."""

import numpy as np

from concord.mini.world import DURATION_S, Scene

ASPECT = 4 / 3
"""Width of the world over its height, which is 1."""

_MOVE_S = 0.2
_COLOURS = {
    "blue": (50, 80, 235),
    "purple": (170, 50, 200),
    "red": (225, 40, 40),
    "green": (50, 190, 60),
    "yellow": (240, 220, 50),
    "white": (245, 245, 245),
}
_GROUNDS = {
    "black": (12, 12, 14),
    "grey": (128, 128, 130),
    "brown": (100, 62, 30),
    "teal": (10, 90, 95),
}
_RADII = {"small": 0.13, "large": 0.21}
_PITCHES_HZ = {
    "deep": 90.0,
    "low": 170.0,
    "middle": 320.0,
    "high": 600.0,
    "shrill": 1100.0,
    "piercing": 2000.0,
}
_PARTIALS = {
    "bell": ((1.0, 1.0), (2.76, 0.6), (5.4, 0.35)),
    "buzzer": ((1.0, 0.5), (3.0, 0.5), (5.0, 0.5), (7.0, 0.5), (9.0, 0.5)),
    "whistle": ((1.0, 1.0),),
    "guitar": ((1.0, 1.0), (2.0, 1 / 2), (3.0, 1 / 3), (4.0, 1 / 4), (5.0, 1 / 5), (6.0, 1 / 6)),
}
"""Frequency, as a multiple of the pitch, and amplitude."""
_DECAYS_S = {"short": 0.05, "ringing": 0.4}
_DECAY_S = 0.22
_ATTACK_S = 0.004
_PEAK = 0.7
_POSE, _NOTE = 1, 2


def render_frames(scene: Scene, times_s: np.ndarray, width: int, height: int) -> np.ndarray:
    """The picture at these times, [T, height, width, 3] RGB; the world is stretched to the size."""
    rng = scene.rng(_POSE)
    pose = _poses(scene, times_s, rng).astype(np.float32)[:, :, None, None]
    x = ((np.arange(width, dtype=np.float32) + 0.5) / width) * ASPECT
    y = ((np.arange(height, dtype=np.float32) + 0.5) / height)[:, None]
    dx, dy, radius = x - pose[:, 0], y - pose[:, 1], pose[:, 2]
    cos, sin = np.cos(pose[:, 3]), np.sin(pose[:, 3])
    inside = _distance(
        scene.combination.shape, (dx * cos + dy * sin) / radius, (dy * cos - dx * sin) / radius
    )
    cover = (np.clip(0.5 + inside * radius * height, 0.0, 1.0) * 255 + 0.5).astype(np.uint8)
    colour = (np.array(_COLOURS[scene.combination.colour]) + rng.uniform(-10, 10, 3)).clip(0, 255)
    ground = (np.array(_GROUNDS[scene.ground]) + rng.uniform(-10, 10, 3)).clip(0, 255)
    palette = ground + np.linspace(0, 1, 256)[:, None] * (colour - ground)
    frames: np.ndarray = np.rint(palette).astype(np.uint8)[cover]
    return frames


def render_sound(scene: Scene, rate_hz: int, delay_s: float = 0.0) -> np.ndarray:
    """Mono samples in [-1, 1], DURATION_S long: the scene's note at each event, `delay_s` late."""
    note = _note(scene, rate_hz)
    samples = np.zeros(round(DURATION_S * rate_hz))
    for event in scene.events_s:
        start = round((event + delay_s) * rate_hz)
        part = note[: len(samples) - start]
        samples[start : start + len(part)] += part
    loudest: float = np.abs(samples).max()
    return (samples * (_PEAK / loudest)).astype(np.float32)


def _poses(scene: Scene, times_s: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """[T, 4]: x, y, radius, angle. Each event starts a quick move to a new pose."""
    motion = scene.combination.motion
    keys = _key_poses(scene, rng)
    poses = np.repeat(keys[:1], len(times_s), axis=0)
    for event, before, after in zip(scene.events_s, keys[:-1], keys[1:], strict=True):
        since = times_s - event
        moved = 1 - (1 - np.clip(since / _MOVE_S, 0, 1)) ** 3
        poses += moved[:, None] * (after - before)
        if motion == "shake":
            swing = np.sin(2 * np.pi * 5 * since) * np.exp(-since.clip(0) / 0.2)
            poses[:, 0] += np.where(since > 0, 0.22 * swing, 0.0)
    return poses


def _key_poses(scene: Scene, rng: np.random.Generator) -> np.ndarray:
    """[events + 1, 4]: the poses the shape rests in."""
    motion = scene.combination.motion
    count = len(scene.events_s) + 1
    side = np.where(np.arange(count) % 2 == 0, 1.0, -1.0) * rng.choice((-1.0, 1.0))
    poses = np.empty((count, 4))
    poses[:, 0] = ASPECT / 2 + rng.uniform(-0.12, 0.12)
    poses[:, 1] = 0.5 + rng.uniform(-0.06, 0.06)
    poses[:, 2] = _RADII[scene.size] * rng.uniform(0.92, 1.08)
    poses[:, 3] = rng.uniform(-0.2, 0.2)
    if motion in ("slide", "jump"):
        poses[:, 0] += side * rng.uniform(0.22, 0.34, count)
    if motion in ("hop", "jump"):
        poses[:, 1] += side * rng.choice((-1.0, 1.0)) * rng.uniform(0.15, 0.23, count)
    if motion == "grow":
        poses[:, 2] *= np.where(side > 0, 1.8, 1.0)
    if motion == "turn":
        poses[:, 3] += np.arange(count) * side[0] * np.pi / 4
    return poses


def _distance(shape: str, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Distance to the outline of a shape of radius 1, positive inside."""
    distance: np.ndarray
    match shape:
        case "square":
            distance = _box(x, y, 0.8, 0.8)
        case "triangle":
            distance = 0.5 - np.maximum(y, np.abs(x) * np.sqrt(0.75) - y / 2)
        case "bar":
            distance = _box(x, y, 1.0, 0.28)
        case "cross":
            distance = np.maximum(_box(x, y, 1.0, 0.3), _box(x, y, 0.3, 1.0))
        case "crescent":
            distance = np.minimum(1 - np.hypot(x, y), np.hypot(x - 0.45, y) - 0.8)
        case "star":
            distance = _star(x, y)
        case _:
            raise ValueError(f"no shape {shape!r}")
    return distance


def _box(x: np.ndarray, y: np.ndarray, half_width: float, half_height: float) -> np.ndarray:
    distance: np.ndarray = np.minimum(half_width - np.abs(x), half_height - np.abs(y))
    return distance


def _star(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Five points: the plane is folded into the tenth between an outer and an inner corner."""
    tenth, inner = np.pi / 5, 0.45
    angle = np.abs((np.arctan2(y, x) + tenth) % (2 * tenth) - tenth)
    radius = np.hypot(x, y)
    edge_x, edge_y = inner * np.cos(tenth) - 1, inner * np.sin(tenth)
    across = edge_x * radius * np.sin(angle) - edge_y * (radius * np.cos(angle) - 1)
    distance: np.ndarray = across / np.hypot(edge_x, edge_y)
    return distance


def _note(scene: Scene, rate_hz: int) -> np.ndarray:
    """One event's sound: the timbre at the scene's pitch, shaped by its articulation."""
    rng = scene.rng(_NOTE)
    articulation = scene.articulation
    decay_s = _DECAYS_S.get(articulation, _DECAY_S) * rng.uniform(0.9, 1.1)
    t = np.arange(round(5 * decay_s * rate_hz)) / rate_hz
    octaves = np.zeros_like(t)
    if articulation in ("rising", "falling"):
        octaves = np.minimum(t / 0.3, 1.0) * (0.6 if articulation == "rising" else -0.6)
    if articulation == "wobbling":
        octaves = 0.2 * np.sin(2 * np.pi * 8 * t)
    pitch_hz = _PITCHES_HZ[scene.pitch] * rng.uniform(0.97, 1.03)
    envelope: np.ndarray = np.exp(-t / decay_s) * np.minimum(t / _ATTACK_S, 1.0)
    if articulation == "rough":
        envelope *= 0.5 + 0.5 * np.cos(2 * np.pi * 45 * t)
    noise = rng.standard_normal(len(t))
    envelope *= _timbre(scene.timbre, pitch_hz * 2.0**octaves, t, rate_hz, noise)
    return envelope


def _timbre(
    name: str, frequency_hz: np.ndarray, t: np.ndarray, rate_hz: int, noise: np.ndarray
) -> np.ndarray:
    """A steady sound that follows a frequency, about 1 in amplitude; `noise` is white, of std 1."""
    sound: np.ndarray
    if name == "drum":
        frequency_hz = frequency_hz * (1 + np.exp(-t / 0.02))
    phase = 2 * np.pi * np.cumsum(frequency_hz) / rate_hz
    if name == "drum":
        sound = np.sin(phase) + 0.4 * noise * np.exp(-t / 0.015)
    elif name == "gust":
        width = max(1, round(2 * rate_hz / frequency_hz[0]))
        total = np.cumsum(np.concatenate([np.zeros(width), noise]))
        sound = (total[width:] - total[:-width]) / np.sqrt(width) * np.cos(phase)
    else:
        highest = 0.45 * rate_hz / frequency_hz.max()
        sound = np.zeros_like(t)
        for multiple, amplitude in _PARTIALS[name]:
            if multiple < highest:
                sound += amplitude * np.sin(multiple * phase)
    return sound
