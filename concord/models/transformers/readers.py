"""From files to the network's inputs, by the checkpoint's own processor; in decoder processes.

A reader gives one record a view: a structured array whose fields are the network's arguments.
Loading a processor takes some 5 s in every process, while the main one loads the network; in return
the pictures of many clips are prepared at once.
"""

import multiprocessing
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np

from concord.errors import UserError, shortened
from concord.memory import outside_memory_limit
from concord.models.base import MediaFile
from concord.models.decode import indices
from concord.models.originals import Convert, read_audio, read_video_frames
from concord.models.pictures import read_picture
from concord.models.transformers.architectures import Sees


@dataclass(frozen=True)
class VideoReader:
    """Reads `frames` frames of a clip as records: one a frame, or one of all frames together.

    Frames are those at interval centres; for a video processor, which PE-AV has, they are evenly
    spaced from the first to the last, as its own sampling has it.
    """

    folder: str
    frames: int
    sees: Sees

    def __call__(self, file: MediaFile) -> np.ndarray:
        if self.sees == "video":
            pictures = self._frames(file, _first_to_last, self._prepared)
            return records({"pixel_values_videos": np.stack(pictures)[None]})
        pictures = self._frames(file, partial(indices, "centres"))
        process = self.warm()
        if self.sees == "frames":
            return records(process(images=pictures, **_CHANNELS_LAST))
        pixels = np.asarray(process([pictures], **_CHANNELS_LAST)["pixel_values"])
        return records({"pixel_values": pixels.reshape(1, len(pictures), *pixels.shape[-3:])})

    def warm(self) -> Any:
        """Load the processor, and return it."""
        kind = "AutoVideoProcessor" if self.sees == "video" else "AutoImageProcessor"
        return _processor(kind, self.folder)

    def _frames(
        self,
        file: MediaFile,
        choose: Callable[[int, int], Sequence[int]],
        convert: Convert | None = None,
    ) -> list[np.ndarray]:
        return read_video_frames(file, lambda total, _: choose(self.frames, total), convert)

    def _prepared(self, picture: np.ndarray) -> np.ndarray:
        """One frame of a video for the network, float32 [3, H, W]."""
        process = self.warm()
        given = process(videos=[picture[None]], do_sample_frames=False, **_CHANNELS_LAST)
        pixels: np.ndarray = np.asarray(given["pixel_values_videos"])[0, 0]
        return pixels


@dataclass(frozen=True)
class ImageReader:
    """Reads a picture file as one record."""

    folder: str

    def __call__(self, file: MediaFile) -> np.ndarray:
        process = self.warm()
        return records(process(images=[read_picture(file).copy()], **_CHANNELS_LAST))

    def warm(self) -> Any:
        """Load the processor, and return it."""
        return _processor("AutoImageProcessor", self.folder)


@dataclass(frozen=True)
class SoundReader:
    """Reads a clip's sound, mixed to mono, as records: one for each window that the network takes.

    Where the processor would take a random part of a long sound (CLAP, `rand_trunc`), the sound is
    covered by the fewest windows, evenly spaced. Where it fuses the whole with three random parts
    (`fusion`), the parts are drawn with a fixed seed.
    """

    folder: str

    def __call__(self, file: MediaFile) -> np.ndarray:
        process = self.warm()
        rate_hz: int = process.sampling_rate
        (samples,) = read_audio(file, rate_hz, mono=True)
        parts = [samples]
        if getattr(process, "truncation", None) == "rand_trunc":
            parts = windows(samples, process.nb_max_samples)
        return np.concatenate([_sound(process, part, rate_hz) for part in parts])

    def warm(self) -> Any:
        """Load the processor, and return it."""
        return _processor("AutoFeatureExtractor", self.folder)


def windows(samples: np.ndarray, length: int) -> list[np.ndarray]:
    """The fewest windows of `length` samples that cover a sound, evenly spaced; or all of it."""
    count = max(1, -(-len(samples) // length))
    starts = np.linspace(0, max(0, len(samples) - length), count).round().astype(int)
    return [samples[start : start + length] for start in starts]


def records(fields: Mapping[str, Any]) -> np.ndarray:
    """Arrays [N, ...] by name as one structured array [N]."""
    arrays = {name: np.asarray(value) for name, value in fields.items()}
    kinds = [(name, array.dtype, array.shape[1:]) for name, array in arrays.items()]
    (count,) = {len(array) for array in arrays.values()}
    found = np.empty(count, kinds)
    for name, array in arrays.items():
        found[name] = array
    return found


def _sound(process: Any, samples: np.ndarray, rate_hz: int) -> np.ndarray:
    """One record of one sound."""
    with _seeded():
        given = dict(process(samples, sampling_rate=rate_hz, return_tensors="np"))
    given.pop("padding_mask", None)  # nothing is padded: every sound is processed alone
    if "is_longer" in given:
        # the processor calls a sound of every batch longer at random, for training's sake
        longest, frames = process.nb_max_samples, len(samples) // process.hop_length
        given["is_longer"] = np.array([[frames > longest // process.hop_length]])
    return records(given)


def _first_to_last(count: int, total: int) -> Sequence[int]:
    return [int(i * (total - 1) / max(1, count - 1)) for i in range(count)]


_CHANNELS_LAST = {"input_data_format": "channels_last", "return_tensors": "np"}


@contextmanager
def _seeded() -> Iterator[None]:
    """NumPy's global random numbers, which CLAP's processor draws, from a fixed seed."""
    state = np.random.get_state()
    np.random.seed(0)
    try:
        yield
    finally:
        np.random.set_state(state)


@cache
def _processor(kind: str, folder: str) -> Any:
    """The checkpoint's processor of a kind, loaded once a process."""
    with outside_memory_limit():
        import torch
        import transformers

    if multiprocessing.parent_process():
        torch.set_num_threads(1)  # decoders work beside each other
    try:
        with outside_memory_limit():
            return getattr(transformers, kind).from_pretrained(
                folder, local_files_only=True, trust_remote_code=False
            )
    except Exception as error:  # of the checkpoint, not of the clip
        raise UserError(
            f"{folder}: {kind} does not load: {shortened(error)}; save the "
            "processor beside the network (`save_pretrained`)"
        ) from error
