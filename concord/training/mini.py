"""Training of concord-mini on its own world, and how well it then finds what belongs together."""

import logging
import platform
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, cross_entropy, normalize

from concord.mini.inputs import FRAME_SIZE, RATE_HZ
from concord.mini.network import MiniNetwork, load, save
from concord.mini.render import render_frames, render_sound
from concord.mini.world import (
    DURATION_S,
    Scene,
    Split,
    audio_prompt,
    combinations,
    make_scene,
    video_prompt,
)
from concord.report.spreadsheet import write_rows
from concord.training import MINI_VERSION

FRAMES = 8
BATCH = 72
STEPS = 600
VARIANTS = 24
LEARNING_RATE = 2e-3
WEIGHT_DECAY = 0.01
LARGEST_SCALE = 50.0
PAIRS = (("video", "video_text"), ("audio", "audio_text"), ("video", "audio"))

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Clips:
    """Rendered scenes as inputs of the network.

    frames: uint8 [N, FRAMES, 3, FRAME_SIZE, FRAME_SIZE] RGB; waves: float16 [N, samples].
    """

    scenes: Sequence[Scene]
    frames: np.ndarray
    waves: np.ndarray

    @classmethod
    def render(cls, scenes: Sequence[Scene]) -> "Clips":
        """Render scenes as the readers of the family `mini` would see and hear them."""
        times_s = (np.arange(FRAMES) + 0.5) * DURATION_S / FRAMES
        frames = [render_frames(scene, times_s, FRAME_SIZE, FRAME_SIZE) for scene in scenes]
        waves = [render_sound(scene, RATE_HZ).astype(np.float16) for scene in scenes]
        return cls(scenes, np.stack(frames).transpose(0, 1, 4, 2, 3), np.stack(waves))

    def take(self, rows: np.ndarray) -> "Clips":
        """The clips of these rows."""
        return Clips([self.scenes[row] for row in rows], self.frames[rows], self.waves[rows])


def train(
    output: Path,
    *,
    seed: int = 0,
    metrics: Path | None = None,
    steps: int = STEPS,
    variants: int = VARIANTS,
    threads: int | None = None,
) -> None:
    """Train concord-mini from nothing on the CPU and write its weights to `output`.

    `variants` clips of every training combination are rendered once and augmented at every step.
    `metrics` becomes the CSV of `evaluate` on held-out combinations. Equal seeds and thread counts
    on one machine give equal weights; elsewhere sums are rounded in another order.
    """
    torch.manual_seed(seed)
    if threads:
        torch.set_num_threads(threads)
    rng = np.random.default_rng(seed)
    clips = Clips.render(
        [
            make_scene(combination, "train", seed, number)
            for combination in combinations("train")
            for number in range(variants)
        ]
    )
    logger.info("rendered %d clips", len(clips.scenes))
    network = MiniNetwork()
    for step, loss in enumerate(_steps(network, clips, steps, variants, rng)):
        if step % 50 == 0 or step == steps - 1:
            logger.info("step %d of %d: loss %.4f", step, steps, loss)
    save(network, output, _provenance(seed, steps, variants))
    if metrics:
        rows = evaluate(load(output), seed=seed)
        write_rows(metrics, list(rows[0]), rows)


def evaluate(
    network: MiniNetwork, *, split: Split = "validation", seed: int = 0
) -> list[dict[str, str | int | float]]:
    """Recall at 1 in every direction over one clip for each combination of a split.

    `shuffled` is the same measure with the targets permuted: a control that shows chance.
    """
    scenes = [make_scene(c, split, seed, i) for i, c in enumerate(combinations(split))]
    network.eval()
    with torch.inference_mode():
        embeddings = _embed(network, Clips.render(scenes), np.random.default_rng(seed))
    order = torch.from_numpy(np.random.default_rng(seed).permutation(len(scenes)))
    return [
        {
            "query": query,
            "target": target,
            "n": len(scenes),
            "recall_at_1": _recall_at_1(embeddings[query], embeddings[target]),
            "shuffled": _recall_at_1(embeddings[query], embeddings[target][order]),
            "chance": 1 / len(scenes),
        }
        for pair in PAIRS
        for query, target in permutations(pair)
    ]


def contrastive_loss(a: Tensor, b: Tensor, scale: Tensor) -> Tensor:
    """Symmetric InfoNCE of unit vectors [B, dim]; row i of `a` belongs to row i of `b`.

    Source: Radford et al., 2021, arXiv:2103.00020, figure 3.
    """
    logits = scale * a @ b.T
    target = torch.arange(len(a))
    return (cross_entropy(logits, target) + cross_entropy(logits.T, target)) / 2


def augment_frames(frames: Tensor, rng: np.random.Generator) -> Tensor:
    """Frames [B, T, 3, S, S] in [0, 1], blurred and with other levels, as video coding does it."""
    shape = (len(frames), 1, 1, 1, 1)
    blurred = avg_pool2d(frames.flatten(0, 1), 3, 1, 1, count_include_pad=False).view_as(frames)
    frames = torch.lerp(frames, blurred, _uniform(rng, 0, 0.7, shape))
    contrast, level = _uniform(rng, 0.85, 1.15, shape), _uniform(rng, -0.08, 0.08, shape)
    return ((frames - 0.5) * contrast + 0.5 + level).clamp(0, 1)


def augment_waves(waves: Tensor, rng: np.random.Generator) -> Tensor:
    """Waves [B, samples] turned in time, with white noise 35 to 75 dB below full scale."""
    shifts = rng.integers(0, waves.shape[1], len(waves))
    turned = torch.stack([wave.roll(int(by)) for wave, by in zip(waves, shifts, strict=True)])
    level = 10 ** (_uniform(rng, -75, -35, (len(waves), 1)) / 20)
    return turned + level * torch.from_numpy(rng.standard_normal(waves.shape, dtype=np.float32))


def _steps(
    network: MiniNetwork, clips: Clips, steps: int, variants: int, rng: np.random.Generator
) -> Iterator[float]:
    """Train; yields the loss of every step.

    A batch holds no combination twice, so that no negative is a positive in disguise.
    """
    optimizer = torch.optim.AdamW(network.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, LEARNING_RATE, total_steps=steps, pct_start=0.1
    )
    network.train()
    for _ in range(steps):
        chosen = rng.choice(len(clips.scenes) // variants, BATCH, replace=False)
        batch = clips.take(chosen * variants + rng.integers(0, variants, BATCH))
        vectors = _embed(network, batch, rng, augmented=True)
        scale = network.log_scale.exp().clamp(max=LARGEST_SCALE)
        losses = [contrastive_loss(vectors[a], vectors[b], scale) for a, b in PAIRS]
        loss = torch.stack(losses).mean()
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        schedule.step()
        yield float(loss.detach())


def _embed(
    network: MiniNetwork, clips: Clips, rng: np.random.Generator, *, augmented: bool = False
) -> dict[str, Tensor]:
    """Unit vectors [N, dim] of the pictures, the sounds, and a prompt for each."""
    frames = torch.from_numpy(clips.frames).float() / 255
    waves = torch.from_numpy(clips.waves.astype(np.float32))
    if augmented:
        frames, waves = augment_frames(frames, rng), augment_waves(waves, rng)
    vectors = {
        "video": network.video(frames),
        "audio": network.audio(network.audio.log_mel(waves)),
        "video_text": network.text([video_prompt(scene, rng) for scene in clips.scenes]),
        "audio_text": network.text([audio_prompt(scene, rng) for scene in clips.scenes]),
    }
    return {name: normalize(values, dim=1) for name, values in vectors.items()}


def _uniform(rng: np.random.Generator, low: float, high: float, shape: tuple[int, ...]) -> Tensor:
    return torch.from_numpy(rng.uniform(low, high, shape).astype(np.float32))


def _recall_at_1(queries: Tensor, targets: Tensor) -> float:
    best = (queries @ targets.T).argmax(1)
    return float((best == torch.arange(len(queries))).float().mean())


def _provenance(seed: int, steps: int, variants: int) -> dict[str, str | int]:
    return {
        "training_version": MINI_VERSION,
        "seed": seed,
        "steps": steps,
        "variants": variants,
        "batch": BATCH,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "machine": platform.machine(),
    }
