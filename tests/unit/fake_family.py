"""A model family made for tests of the embedding jobs, and what runs them."""

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from embedding_inputs import (
    media_row,
    read_name,
    write_media,
)

from concord.media.proxies import Limits
from concord.models.base import ModelSpec
from concord.models.passes import Passes
from concord.models.shard import Means, embed_media
from concord.tables import EMBEDDINGS, read_metadata, read_table

SPEC = ModelSpec("fake", "fake", ("video", "audio", "text"), 3, "", "", precision="fp32")


class Fake:
    """Embeds view x as (x, 1, 0); 13 breaks it, 66 is not a number, `limit` views fill memory."""

    weights_sha256 = "a"

    def __init__(self, limit=None):
        self.limit, self.batches = limit, []

    def embed(self, modality, inputs):
        self.batches.append(len(inputs))
        values = [float(len(x)) if modality == "text" else float(x[0, 0]) for x in inputs]
        if self.limit and sum(map(len, inputs)) > self.limit:
            raise torch.OutOfMemoryError("CUDA out of memory")
        if 13 in values:
            raise RuntimeError("unlucky")
        values = [np.nan if value == 66 else value for value in values]
        return np.array([[value, 1, 0] for value in values], np.float32)

    def views(self, modality, given):
        return len(given)

    def truncated(self, texts):
        return [len(text) > 20 for text in texts]


class FakeInPasses(Fake):
    """The same, whose views go through the network in passes; `limit` is that of one pass."""

    def __init__(self, limit, most=64):
        super().__init__()
        self.most_in_memory, self.passes = limit, Passes(most)

    def embed(self, modality, inputs):
        if min(self.passes.most, sum(map(len, inputs))) > self.most_in_memory:
            self.batches.append(len(inputs))
            raise torch.OutOfMemoryError("CUDA out of memory")
        return super().embed(modality, inputs)


def install(monkeypatch) -> SimpleNamespace:
    """Put the family `fake` in place; gives its embedder, and how often it was loaded."""
    family = SimpleNamespace(embedder=Fake(), loads=0, readers=0)

    def load(spec, device):
        family.loads += 1
        return family.embedder

    def reader(spec, modality):
        family.readers += 1
        return read_name

    family.load, family.reader = load, reader
    monkeypatch.setitem(sys.modules, "concord.models.fake", family)
    return family


def clips(folder: Path, names: list[str], **values) -> Path:
    """A media table whose proxies are empty files with these names."""
    (folder / "video").mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / "video" / f"{name}.mp4").touch()
    return write_media(folder, [media_row(name, **values) for name in names])


def means(batch_size=4, timeout_s=60.0, memory_mb=2000, device="auto"):
    return Means(batch_size, workers=2, limits=Limits(timeout_s, memory_mb), device=device)


def run(media: Path | list[Path], output: Path, chosen=SPEC, modality="video", batch_size=4):
    tables = media if isinstance(media, list) else [media]
    embed_media(tables, output, chosen, modality, means(batch_size), {})
    return {row["id"]: row for row in read_table(output, EMBEDDINGS).to_pylist()}


def counts(output: Path) -> tuple[int, int]:
    note = read_metadata(output)["run"]
    return note["processed"], note["reused"]
