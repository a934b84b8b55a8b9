"""Every named model of open_clip that is said to have run with random weights: it runs so here."""

import gc
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
open_clip = pytest.importorskip("open_clip")

from open_clip.constants import IMAGENET_MEAN, IMAGENET_STD  # noqa: E402
from open_clip.transform import (  # noqa: E402
    PreprocessCfg,
    image_transform_v2,
    merge_preprocess_dict,
)
from PIL import Image  # noqa: E402
from safetensors.torch import save_file  # noqa: E402
from tried_models import RANDOM  # noqa: E402

from concord.config import Config  # noqa: E402
from concord.models import open_clip as family  # noqa: E402
from concord.models.base import MediaFile, ModelSpec  # noqa: E402
from concord.models.catalogue import Entry, entries, spec  # noqa: E402

TEXT = "two dogs bark"


@pytest.fixture
def weights(tmp_path: Path) -> Iterator[Path]:
    """Where gigabytes of weights are; pytest would keep them."""
    path = tmp_path / "weights.safetensors"
    yield path
    path.unlink(missing_ok=True)
    gc.collect()


def configured(name: str, weights: Path) -> ModelSpec:
    given = {"entry": name, "checkpoint": str(weights), "precision": "fp32"}
    content = {"collections": {"c": str(weights.parent)}, "models": {"m": given}}
    return spec(Config.model_validate({"results": weights.parent / "results"} | content), "m")


def transform_of(entry: Entry) -> Any:
    """open_clip's own preprocessing of an entry's tag."""
    known = open_clip.get_pretrained_cfg(entry.architecture, entry.pretrained)
    if entry.protocol == "clip-batch-script":
        known |= {"mean": IMAGENET_MEAN, "std": IMAGENET_STD}
        known |= {"resize_mode": "squash", "interpolation": "bilinear"}
    settings = PreprocessCfg(**merge_preprocess_dict(PreprocessCfg(), known))
    return image_transform_v2(settings, is_train=False)


@pytest.mark.parametrize("name", RANDOM)
def test_a_picture_and_a_text_equal_a_direct_forward(name: str, weights: Path) -> None:
    entry = entries()[name]
    torch.manual_seed(zlib.crc32(name.encode()))
    network = open_clip.create_model(entry.architecture, load_weights=False).eval()
    save_file({k: v.contiguous() for k, v in network.state_dict().items()}, weights)
    noise = np.random.default_rng(0).integers(0, 256, (240, 300, 3), dtype=np.uint8)
    picture, path = Image.fromarray(noise), weights.parent / "a.png"
    picture.save(path)
    with torch.inference_mode():
        seen = network.encode_image(transform_of(entry)(picture)[None])
        read = network.encode_text(open_clip.get_tokenizer(entry.architecture)([TEXT]))
    del network

    chosen = configured(name, weights)
    loaded = family.load(chosen, torch.device("cpu"))
    view = family.reader(chosen, "image")(MediaFile(path))
    found = loaded.embed("image", [view]), loaded.embed("text", [TEXT])
    for ours, theirs in zip(found, (seen, read), strict=True):
        assert ours.shape == (1, entry.dim)
        expected = torch.nn.functional.normalize(theirs).numpy()
        np.testing.assert_allclose(ours / np.linalg.norm(ours), expected, atol=1e-5)
