"""The open_clip family equals open_clip's own API, and says what to do when weights are amiss."""

import pickle
import sys
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
open_clip = pytest.importorskip("open_clip")

from embedding_inputs import configured, write_proxy, write_tiny_open_clip  # noqa: E402
from PIL import Image  # noqa: E402

from concord.errors import UserError  # noqa: E402
from concord.models import open_clip as family  # noqa: E402
from concord.models.base import MediaFile  # noqa: E402
from concord.models.catalogue import spec  # noqa: E402
from concord.models.decode import read_frames  # noqa: E402
from concord.models.pictures import Preprocessing  # noqa: E402

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return write_tiny_open_clip(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def tiny(weights):
    config = configured(weights.parent, tiny={"entry": "open_clip", "checkpoint": weights})
    return spec(config, "tiny")


@pytest.fixture(scope="module")
def proxies(tmp_path_factory):
    folder = tmp_path_factory.mktemp("proxies")
    return [write_proxy(folder / f"{i}.mp4", 20 + i, (96 + 2 * i, 64), seed=i) for i in range(3)]


def reference(weights: Path):
    """open_clip's own model and transform."""
    model, _, transform = open_clip.create_model_and_transforms(f"local-dir:{weights.parent}")
    return model.eval(), transform


def test_video_equals_a_direct_forward_pass(weights, tiny, proxies):
    model, transform = reference(weights)
    read = family.reader(tiny, "video")
    found = family.load(tiny, CPU).embed("video", [read(MediaFile(path)) for path in proxies])
    for vector, path in zip(found, proxies, strict=True):
        frames = [transform(Image.fromarray(frame)) for frame in read_frames(MediaFile(path), 8)]
        with torch.no_grad():
            each = model.encode_image(torch.stack(frames), normalize=True)
        mean = each.mean(dim=0)
        np.testing.assert_allclose(vector, (mean / mean.norm()).numpy(), atol=1e-5)


def test_text_equals_a_direct_forward_pass(weights, tiny):
    texts = ["a red ball", "una pelota", "红色的球", "short"]
    model, _ = reference(weights)
    tokens = open_clip.get_tokenizer(f"local-dir:{weights.parent}")(texts)
    with torch.no_grad():
        expected = model.encode_text(tokens, normalize=True)
    found = family.load(tiny, CPU).embed("text", texts)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-6)


@pytest.mark.parametrize(
    ("mode", "interpolation", "size", "shape"),
    [
        *product(
            ("shortest", "longest", "squash"),
            ("bicubic", "bilinear"),
            [(64, 64), (48, 80)],
            [(96, 128), (225, 127), (64, 64)],
        ),
        ("shortest", "bicubic", (64, 64), (64, 113)),
        ("longest", "bicubic", (64, 64), (20, 31)),
    ],
)
def test_preprocessing_equals_open_clip_own(mode, interpolation, size, shape):
    frame = np.random.default_rng(1).integers(0, 256, (*shape, 3), dtype=np.uint8)
    transform = open_clip.image_transform(
        size, is_train=False, mean=(0, 0, 0), std=(1, 1, 1),
        resize_mode=mode, interpolation=interpolation, fill_color=7,
    )  # fmt: skip
    ours = Preprocessing(*size, interpolation, mode, 7)(frame)
    expected = (transform(Image.fromarray(frame)) * 255).round().byte().permute(1, 2, 0)
    np.testing.assert_array_equal(ours, expected.numpy())


def test_the_tag_decides_preprocessing_and_activation(tmp_path):
    """ViT-L-14 laion2b uses other means than CLIP; SigLIP squashes; openai has QuickGELU."""
    models = {
        "a": {"entry": "openclip-vit-l-14-laion2b"},
        "b": {"entry": "siglip-vit-b-16"},
        "c": {"entry": "clip-vit-b-32"},
    }
    config = configured(tmp_path, **models)
    settings = {name: family._preprocessing(spec(config, name)) for name in models}
    assert tuple(settings["a"]["mean"]) == (0.5, 0.5, 0.5)
    assert settings["b"]["resize_mode"] == "squash"
    assert settings["c"]["mean"][0] == pytest.approx(0.48145466)
    assert family._tag(spec(config, "c"))["quick_gelu"]


def test_bf16_is_near_fp32(tiny, proxies):
    views = [family.reader(tiny, "video")(MediaFile(path)) for path in proxies]
    exact = family.load(tiny, CPU).embed("video", views)
    coarse = family.load(replace(tiny, precision="bf16"), CPU).embed("video", views)
    assert not np.array_equal(exact, coarse)
    assert ((exact * coarse).sum(axis=1) > 0.999).all()


def test_long_texts_are_told(tiny):
    """The tiny model reads 16 tokens, two of which mark start and end."""
    texts = ["ball " * 14, "ball " * 15, "", "红" * 40]
    assert family.load(tiny, CPU).truncated(texts) == [False, True, False, True]


def test_architecture_and_bare_weights(weights, tmp_path):
    """A state dict without a folder needs the architecture's name, and gets CLIP's settings."""
    torch.manual_seed(1)
    state = open_clip.create_model("RN50", pretrained_image=False).state_dict()
    path = tmp_path / "rn50.pt"
    torch.save(state, path)
    options = {"entry": "open_clip", "architecture": "RN50", "checkpoint": path}
    chosen = spec(configured(tmp_path, rn=options), "rn")
    assert chosen.dim == 1024
    vectors = family.load(chosen, CPU).embed("text", ["one", "two"])
    assert vectors.shape == (2, 1024)


def test_pickled_code_is_refused(tiny, tmp_path):
    ran = tmp_path / "ran"

    class Malicious:
        def __reduce__(self):
            return Path.touch, (ran,)

    path = tmp_path / "weights.pt"
    path.write_bytes(pickle.dumps({"state_dict": Malicious()}, protocol=2))
    with pytest.raises(UserError, match=r"holds pickled code.*safetensors"):
        family.load(replace(tiny, architecture="RN50", checkpoint=str(path)), CPU)
    assert not ran.exists()


def test_weights_of_another_architecture(tiny):
    with pytest.raises(UserError, match=r"models\.tiny: .*does not load as RN50: .*architecture"):
        family.load(replace(tiny, architecture="RN50"), CPU)


def test_unknown_tag_names_the_known_ones(tmp_path):
    options = {"entry": "open_clip", "architecture": "ViT-B-32", "pretrained": "opnai"}
    with pytest.raises(UserError, match=r"models\.x\.pretrained: .*did you mean 'openai'"):
        family.reader(spec(configured(tmp_path, x=options), "x"), "video")


def test_unreachable_hub_says_what_to_do(tmp_path, monkeypatch):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    chosen = spec(configured(tmp_path, x={"entry": "openclip-vit-b-32-laion2b"}), "x")
    with pytest.raises(UserError, match="hf download laion/CLIP-ViT-B-32-laion2B-s34B-b79K"):
        family.load(chosen, CPU)


def test_missing_package_of_the_text_side_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    chosen = spec(configured(tmp_path, x={"entry": "siglip-vit-b-16"}), "x")
    with pytest.raises(UserError, match=r"models\.x: .*transformers.*needs this package"):
        family.load(chosen, CPU)


def test_downloaded_weights_with_another_digest_are_refused(weights, tmp_path, monkeypatch):
    options = {"entry": "clip-vit-b-32", "sha256": "0" * 64}
    chosen = spec(configured(tmp_path, x=options), "x")
    with pytest.raises(UserError, match=r"models\.x\.sha256: .*expected 000"):
        family._fetched_sha256(chosen, weights)


def test_many_frames_go_through_in_parts(tiny):
    """The result does not depend on how many frames go through the network at once."""
    embedder = family.load(tiny, CPU)
    shape = (2, 64, 64, 3)
    rng = np.random.default_rng(0)
    views = [rng.integers(0, 256, shape, dtype=np.uint8) for _ in range(5)]
    whole = embedder.embed("video", views)
    embedder.passes.most = 3
    np.testing.assert_allclose(embedder.embed("video", views), whole, atol=1e-6)


def test_no_device_gets_all_frames_at_once(monkeypatch):
    embedder, sizes = family.OpenClipEmbedder.__new__(family.OpenClipEmbedder), []
    embedder.device, embedder.kind, embedder.aggregate = CPU, "fp32", "unit"

    def vectors(frames):
        sizes.append(len(frames))
        return torch.ones(len(frames), 2)

    monkeypatch.setattr(embedder, "_frames", vectors)
    embedder.passes = family.Passes(3)
    clips = [np.zeros((5, 1, 1, 3), np.uint8)] * 2
    assert embedder.embed("video", clips).shape == (2, 2)
    assert sizes == [3, 3, 3, 1]
