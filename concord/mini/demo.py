"""The demo data: three collections over held-out combinations, and their prompts."""

import io
import json
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np

from concord.files import atomic_path, write_text_if_changed
from concord.mini.render import render_frames, render_sound
from concord.mini.world import (
    DURATION_S,
    Scene,
    audio_prompt,
    combinations,
    make_scene,
    video_prompt,
)

CLIPS = 48
CARELESS = 12
DELAY_S = 0.8
SEED = 7
COLLECTIONS = ("faithful", "late", "careless")

_WIDTH, _HEIGHT, _FPS = 192, 144, 20
_RATE_HZ = 32000
_TIMES_S = np.arange(round(DURATION_S * _FPS)) / _FPS


@dataclass(frozen=True)
class _Clip:
    """One file: what it shows, what it plays, and how late the sound is."""

    path: Path
    picture: Scene
    sound: Scene
    delay_s: float = 0.0


def demo_scenes() -> list[Scene]:
    """The scenes of the demo in the order of their index, each of another combination."""
    held_out = combinations("demo")
    order = np.random.default_rng(SEED).permutation(len(held_out))[:CLIPS]
    return [make_scene(held_out[j], "demo", SEED, i) for i, j in enumerate(order)]


def make_demo(folder: Path, workers: int) -> None:
    """Write {faithful,late,careless}/sample_%04d.mp4 and prompts.json below `folder`.

    A file that already holds the right content is left untouched; others are replaced atomically.
    """
    scenes = demo_scenes()
    with ThreadPoolExecutor(workers) as pool:
        for _ in pool.map(_write_clips, _by_picture(_clips(folder, scenes))):
            pass
    text = json.dumps(_prompts(scenes), indent=2) + "\n"
    write_text_if_changed(folder / "prompts.json", text)


def _prompts(scenes: list[Scene]) -> list[dict[str, Any]]:
    rng = np.random.default_rng(SEED)
    return [
        {
            "index": i,
            "video_prompt": video_prompt(scene, rng),
            "audio_prompt": audio_prompt(scene, rng),
        }
        for i, scene in enumerate(scenes)
    ]


def careless_indices() -> list[int]:
    """The clips of `careless` that show and play something else than their prompts say."""
    rng = np.random.default_rng(SEED + 1)
    return [int(i) for i in rng.choice(CLIPS, CARELESS, replace=False)]


def _clips(folder: Path, scenes: list[Scene]) -> Iterator[_Clip]:
    wrong = careless_indices()
    pictures, sounds = list(scenes), list(scenes)
    for place, i in enumerate(wrong):
        pictures[i] = scenes[wrong[(place + 1) % CARELESS]]
        sounds[i] = scenes[wrong[(place + 2) % CARELESS]]
    for i, scene in enumerate(scenes):
        name = f"sample_{i:04d}.mp4"
        yield _Clip(folder / "faithful" / name, scene, scene)
        yield _Clip(folder / "late" / name, scene, scene, DELAY_S)
        yield _Clip(folder / "careless" / name, pictures[i], sounds[i])


def _by_picture(clips: Iterable[_Clip]) -> list[list[_Clip]]:
    """Clips that show the same, together, so that it is drawn once."""
    groups: dict[Scene, list[_Clip]] = {}
    for clip in clips:
        groups.setdefault(clip.picture, []).append(clip)
    return list(groups.values())


def _write_clips(clips: list[_Clip]) -> None:
    frames = render_frames(clips[0].picture, _TIMES_S, _WIDTH, _HEIGHT)
    for clip in clips:
        content = encode_clip(frames, render_sound(clip.sound, _RATE_HZ, clip.delay_s))
        if clip.path.exists() and clip.path.read_bytes() == content:
            continue
        with atomic_path(clip.path) as temporary:
            temporary.write_bytes(content)


def encode_clip(frames: np.ndarray, samples: np.ndarray) -> bytes:
    """An MP4 file (H.264 at 20 fps and AAC at 32 kHz), the same bytes every time.

    frames: uint8 [T, H, W, 3] RGB, sizes even; samples: float32 [N], mono.
    """
    # With look-ahead, x264's choices depend on what else the process has done.
    options = {"preset": "veryfast", "crf": "18", "tune": "zerolatency"}
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        video = container.add_stream("libx264", _FPS, options)
        video.height, video.width = frames.shape[1:3]
        video.pix_fmt = "yuv420p"
        video.codec_context.thread_count = 1
        audio = container.add_stream("aac", _RATE_HZ, layout="mono")
        for image in frames:
            container.mux(video.encode(av.VideoFrame.from_ndarray(image)))
        container.mux(video.encode())
        for start in range(0, len(samples), audio.frame_size):
            part = samples[None, start : start + audio.frame_size]
            block = av.AudioFrame.from_ndarray(part, "fltp", "mono")
            block.sample_rate, block.pts = _RATE_HZ, start
            container.mux(audio.encode(block))
        container.mux(audio.encode())
    return buffer.getvalue()
