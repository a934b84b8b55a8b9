"""The family `mini`: concord-mini, the embedded default, trained by this project on its own world.

Its three encoders take 8 frames squeezed to 64 x 64, log-mel windows of 3 s, and words.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from concord.errors import UserError
from concord.mini.inputs import FRAME_SIZE, RATE_HZ, audio_windows
from concord.models.base import MediaFile, Modality, ModelSpec, Reader
from concord.models.decode import read_frames
from concord.models.devices import autocast, precision
from concord.models.passes import Passes
from concord.models.vectors import unit

if TYPE_CHECKING:
    import torch

    from concord.mini.network import MiniNetwork

WEIGHTS = Path(__file__).parent / "weights" / "mini.safetensors"
VIEWS_AT_ONCE = 64
"""Views in one pass."""


def reader(spec: ModelSpec, modality: Modality) -> Reader:
    """How a proxy or a wave becomes views; ValueError for a modality that has none."""
    if modality == "video":
        return partial(read_video, frames=spec.frames)
    if modality == "audio":
        return read_audio
    raise ValueError(f"mini reads no files for {modality}")


def read_video(file: MediaFile, frames: int) -> np.ndarray:
    """One view: frames at interval centres, [1, T, 3, FRAME_SIZE, FRAME_SIZE] RGB.

    Raises ValueError as concord.models.decode.read_frames does.
    """
    small = [
        Image.fromarray(frame).resize((FRAME_SIZE, FRAME_SIZE), Image.Resampling.BOX)
        for frame in read_frames(file, frames)
    ]
    return np.stack([np.asarray(image) for image in small]).transpose(0, 3, 1, 2)[None]


def read_audio(file: MediaFile) -> np.ndarray:
    """Windows of a wave, [V, samples], mono.

    Raises ValueError with `unreadable`, `no_samples` or `not_finite`; and with `unreadable` for
    another sample rate than RATE_HZ, which a wave of the media stage never has.
    """
    import soundfile

    try:
        samples, rate_hz = soundfile.read(file.source(), dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, OSError) as error:
        raise ValueError("unreadable", str(error)) from error
    if rate_hz != RATE_HZ:
        raise ValueError("unreadable", f"{rate_hz} Hz, expected {RATE_HZ} Hz")
    if not len(samples):
        raise ValueError("no_samples")
    if not np.isfinite(samples).all():
        raise ValueError("not_finite")
    return audio_windows(samples.mean(axis=1))


def load(spec: ModelSpec, device: "torch.device") -> "MiniEmbedder":
    """The network of the spec's checkpoint, the packaged one by default, on a device.

    Raises UserError for a file that is not concord-mini's.
    """
    from safetensors import SafetensorError

    from concord.mini import network

    path = Path(spec.checkpoint) if spec.checkpoint else WEIGHTS
    try:
        loaded = network.load(path)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise UserError(
            f"models.{spec.name}: {path} does not load as concord-mini's weights ({error}); use "
            "the packaged file, or one that `snakemake train_mini` made"
        ) from error
    return MiniEmbedder(loaded.to(device), device, precision(spec.precision, device))


class MiniEmbedder:
    """The loaded network; see concord.models.base.Embedder."""

    def __init__(self, network: "MiniNetwork", device: "torch.device", kind: str) -> None:
        self.network, self.device, self.kind = network, device, kind
        self.passes = Passes(VIEWS_AT_ONCE)

    def embed(self, modality: Modality, inputs: Sequence[np.ndarray] | Sequence[str]) -> np.ndarray:
        """Unit vectors [N, DIM], float32: of texts, or the mean over the unit vectors of views."""
        import torch

        with torch.inference_mode():
            if modality == "text":
                vectors = self._unit(self.network.text, [str(text) for text in inputs])
            else:
                views = torch.split(torch.from_numpy(np.concatenate(inputs)), self.passes.most)
                each = torch.cat([self._embed_views(modality, part) for part in views])
                parts = torch.split(each, [len(clip) for clip in inputs])
                means = torch.stack([part.mean(0) for part in parts])
                vectors = unit(means)
        result: np.ndarray = vectors.cpu().numpy()
        return result

    def views(self, modality: Modality, given: np.ndarray) -> int:
        """A view a window of sound; one of a video's frames together."""
        return len(given)

    def truncated(self, texts: Sequence[str]) -> list[bool]:
        """Which texts are cut off: none, whatever their length."""
        return [False] * len(texts)

    def _embed_views(self, modality: Modality, views: "torch.Tensor") -> "torch.Tensor":
        views = views.to(self.device)
        if modality == "video":
            return self._unit(self.network.video, views.float() / 255)
        return self._unit(self.network.audio, self.network.audio.log_mel(views))

    def _unit(self, encoder: "torch.nn.Module", inputs: Any) -> "torch.Tensor":
        with autocast(self.device, self.kind):
            vectors = encoder(inputs)
        return unit(vectors)
