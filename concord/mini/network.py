"""The network of concord-mini: three small encoders into one space, and its weights file."""

import json
import re
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from concord.files import atomic_path
from concord.mini.inputs import RATE_HZ

DIM = 96
BUCKETS = 4096
FORMAT = "concord-mini-1"
METADATA = "concord"

_FFT, _HOP, _MELS = 512, 160, 64
_LOWEST_HZ = 50.0
_RANGE_DECADES = 6.0
_SMALLEST_POWER = 1e-10


def tokenize(text: str) -> list[int]:
    """Buckets of the words and their letter trigrams; an unknown word still has known trigrams."""
    pieces = []
    for word in re.findall(r"\w+", text.lower()):
        marked = f"<{word}>"
        pieces += [marked, *(marked[i : i + 3] for i in range(len(marked) - 2))]
    return [zlib.crc32(piece.encode()) % BUCKETS for piece in pieces]


def _mel_filters() -> Tensor:
    """[mels, frequencies]: triangles, evenly spaced on the HTK mel scale."""
    lowest, highest = (2595 * np.log10(1 + hz / 700) for hz in (_LOWEST_HZ, RATE_HZ / 2))
    edges_hz = 700 * (10 ** (np.linspace(lowest, highest, _MELS + 2) / 2595) - 1)
    frequencies = np.linspace(0, RATE_HZ / 2, _FFT // 2 + 1)
    rise = (frequencies - edges_hz[:-2, None]) / np.diff(edges_hz)[:-1, None]
    fall = (edges_hz[2:, None] - frequencies) / np.diff(edges_hz)[1:, None]
    return torch.from_numpy(np.minimum(rise, fall).clip(0).astype(np.float32))


def _down(channels_in: int, channels_out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(),
    )


def _head(features: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(features, 192), nn.LayerNorm(192), nn.GELU(), nn.Linear(192, DIM)
    )


class VideoEncoder(nn.Module):
    """Frames one by one, then what stays the same and what changes between them."""

    def __init__(self) -> None:
        super().__init__()
        self.frames = nn.Sequential(_down(3, 16), _down(16, 32), _down(32, 64), _down(64, 64))
        self.place = nn.Sequential(nn.Flatten(), nn.Linear(64 * 16, 128), nn.ReLU())
        self.head = _head(3 * 128)

    def forward(self, frames: Tensor) -> Tensor:
        """[B, T, 3, 64, 64] in [0, 1] to [B, DIM], any T from 1."""
        batch, count = frames.shape[:2]
        features = self.place(self.frames(frames.flatten(0, 1) * 2 - 1)).view(batch, count, -1)
        mean = features.mean(1)
        spread = (features - mean[:, None]).abs().mean(1)
        vectors: Tensor = self.head(torch.cat([mean, features.amax(1), spread], 1))
        return vectors


class AudioEncoder(nn.Module):
    """Log-mel pictures through a convolutional network, pooled over time."""

    filters: Tensor
    window: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("filters", _mel_filters(), persistent=False)
        self.register_buffer("window", torch.hann_window(_FFT), persistent=False)
        self.layers = nn.Sequential(_down(1, 16), _down(16, 32), _down(32, 64), _down(64, 64))
        self.head = _head(2 * 64 * (_MELS // 16))

    def log_mel(self, waves: Tensor) -> Tensor:
        """[B, samples] at RATE_HZ to [B, mels, hops] in [-1, 1], 0 to -60 dB below the loudest."""
        spectrum = torch.stft(waves, _FFT, _HOP, window=self.window, return_complex=True)
        power = (self.filters @ spectrum.abs().square()).clamp(min=_SMALLEST_POWER).log10()
        loudest = power.amax((1, 2), keepdim=True)
        return (power - loudest).clamp(min=-_RANGE_DECADES) / (_RANGE_DECADES / 2) + 1

    def forward(self, log_mel: Tensor) -> Tensor:
        """[B, mels, hops] to [B, DIM]."""
        features = self.layers(log_mel[:, None]).flatten(1, 2)
        vectors: Tensor = self.head(torch.cat([features.mean(2), features.amax(2)], 1))
        return vectors


class TextEncoder(nn.Module):
    """The mean of learned vectors of words and trigrams; those never trained are zero."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces = nn.EmbeddingBag(BUCKETS, 64, mode="mean")
        nn.init.zeros_(self.pieces.weight)
        self.head = _head(64)

    def forward(self, texts: Sequence[str]) -> Tensor:
        """N texts to [N, DIM]."""
        tokens = [tokenize(text) for text in texts]
        starts = np.cumsum([0] + [len(t) for t in tokens[:-1]])
        device = self.pieces.weight.device
        flat = torch.tensor([i for t in tokens for i in t], dtype=torch.long, device=device)
        vectors: Tensor = self.head(self.pieces(flat, torch.from_numpy(starts).to(device)))
        return vectors


class MiniNetwork(nn.Module):
    """The three encoders and the temperature they were trained with."""

    def __init__(self) -> None:
        super().__init__()
        self.video = VideoEncoder()
        self.audio = AudioEncoder()
        self.text = TextEncoder()
        self.log_scale = nn.Parameter(torch.tensor(np.log(10.0)))


def save(network: MiniNetwork, path: Path, provenance: dict[str, Any]) -> None:
    """Write the weights as float16 safetensors, atomically, with how they were made as metadata."""
    state = {
        k: v.half().contiguous() if v.is_floating_point() else v
        for k, v in network.state_dict().items()
    }
    # One entry, because safetensors writes several in random order.
    metadata = {METADATA: json.dumps({"format": FORMAT, **provenance}, sort_keys=True)}
    with atomic_path(path) as temporary:
        save_file(state, temporary, metadata)


def load(path: Path) -> MiniNetwork:
    """The network with the weights of a file, in evaluation mode, on the CPU.

    Raises ValueError when the file is not one of concord-mini's.
    """
    with safe_open(path, "pt") as file:
        found = json.loads((file.metadata() or {}).get(METADATA, "{}")).get("format")
        if found != FORMAT:
            raise ValueError(f"{path}: format {found!r}, expected {FORMAT!r}")
        state = {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118
    network = MiniNetwork()
    network.load_state_dict(state)
    return network.eval()
