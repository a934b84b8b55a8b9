"""ImageBind's network, its weights and its embedder, against golden values of the reference."""

import json
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from imagebind_checkpoint import tiny, write_tiny
from safetensors.torch import load_file
from torch.nn.functional import cosine_similarity

from concord.errors import UserError
from concord.models import imagebind
from concord.models.base import ModelSpec
from concord.models.imagebind import views
from concord.models.imagebind.config import (
    CONFIG_FILE,
    HUGE,
    ImageBindConfig,
    TrunkConfig,
    read_config,
)
from concord.models.imagebind.embedder import Placed
from concord.models.imagebind.network import ImageBind
from concord.models.imagebind.weights import load_network
from concord.models.weights import sha256

CPU = torch.device("cpu")
INPUTS = {
    "vision": (3, 2, 224, 224),
    "audio": (1, 128, 204),
    "depth": (1, 224, 224),
    "thermal": (1, 224, 224),
    "imu": (6, 2000),
}
GOLDEN = {
    "vision_img": "vision",
    "vision_vid": "vision",
    "text": "text",
    "audio": "audio",
    "depth": "depth",
    "thermal": "thermal",
    "imu": "imu",
}


def inputs(trunk: str, count: int, seed: int = 0) -> torch.Tensor:
    """Random views, or token ids of texts of different lengths."""
    random = torch.Generator().manual_seed(seed)
    if trunk != "text":
        return torch.randn(count, *INPUTS[trunk], generator=random)
    ids = torch.randint(1, 49000, (count, 77), generator=random)
    ids[:, 0] = 49406
    for row in range(count):
        ids[row, 5 + 3 * row] = 49407
        ids[row, 6 + 3 * row :] = 0
    return ids


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("imagebind") / "tiny.pth")


def spec(checkpoint: Path, *modalities: str, **values) -> ModelSpec:
    """A configured ImageBind; all modalities by default."""
    return ModelSpec(
        name="ib",
        backend="imagebind",
        modalities=modalities or ("video", "audio", "text", "image", "depth", "thermal", "imu"),
        dim=1024,
        licence="",
        citation="",
        checkpoint=str(checkpoint),
        options={"views": "15view", "end_token": "kept"},
        **values,
    )


@pytest.mark.shared
@pytest.mark.parametrize("name", GOLDEN)
def test_equals_the_reference(name, shared):
    """The golden network was run through the public reference implementation."""
    golden = np.load(shared / "golden" / "imagebind_tiny.npz")
    network = ImageBind(tiny(16)).eval()
    network.load_state_dict(
        {k.removeprefix("sd/"): torch.from_numpy(golden[k]) for k in golden if k[:3] == "sd/"}
    )
    given, expected = torch.from_numpy(golden[f"in/{name}"]), golden[f"out/{name}"]
    views = given.flatten(0, 1) if name in ("vision_vid", "audio") else given
    with torch.inference_mode():
        found = network(GOLDEN[name], views)
    found = found.unflatten(0, (len(given), -1)).mean(1).numpy()
    assert np.abs(found - expected).max() < 2e-5 * np.abs(expected).max()


def published_shapes() -> dict[str, tuple[int, ...]]:
    """Names and shapes in imagebind_huge.pth, written down from its description."""
    stems = {
        "vision": ("rgbt_stem.proj.1.weight", (3, 2, 14, 14), 257),
        "audio": ("rgbt_stem.proj.weight", (1, 16, 16), 229),
        "depth": ("depth_stem.proj.weight", (1, 16, 16), 197),
        "thermal": ("rgbt_stem.proj.weight", (1, 16, 16), 197),
        "imu": ("imu_stem.proj.weight", (48,), 251),
    }
    shapes: dict[str, tuple[int, ...]] = {
        "modality_preprocessors.text.pos_embed": (1, 77, 1024),
        "modality_preprocessors.text.mask": (77, 77),
        "modality_preprocessors.text.token_embedding.weight": (49408, 1024),
        "modality_heads.text.proj.0.weight": (1024,),
        "modality_heads.text.proj.0.bias": (1024,),
        "modality_heads.text.proj.1.weight": (1024, 1024),
        "modality_trunks.vision.pre_transformer_layer.0.weight": (1280,),
        "modality_trunks.vision.pre_transformer_layer.0.bias": (1280,),
    }
    for name, (width, blocks) in {
        "vision": (1280, 32),
        "text": (1024, 24),
        "audio": (768, 12),
        "depth": (384, 12),
        "thermal": (768, 12),
        "imu": (512, 6),
    }.items():
        if name in stems:
            projection, kernel, tokens = stems[name]
            prefix = f"modality_preprocessors.{name}."
            helper = "" if name == "imu" else "pos_embedding_helper."
            shapes[f"{prefix}cls_token"] = (1, 1, width)
            shapes[f"{prefix}{projection}"] = (width, *kernel)
            shapes[f"{prefix}{helper}pos_embed"] = (1, tokens, width)
            if name != "vision":
                for part in ("weight", "bias"):
                    shapes[f"{prefix}{projection.split('.')[0]}.norm_layer.{part}"] = (width,)
            shapes[f"modality_heads.{name}.0.weight"] = (width,)
            shapes[f"modality_heads.{name}.0.bias"] = (width,)
            last = 3 if name == "imu" else 2
            shapes[f"modality_heads.{name}.{last}.weight"] = (1024, width)
        if name != "vision":
            shapes[f"modality_postprocessors.{name}.1.log_logit_scale"] = ()
        block = {
            "attn.in_proj_weight": (3 * width, width),
            "attn.in_proj_bias": (3 * width,),
            "attn.out_proj.weight": (width, width),
            "attn.out_proj.bias": (width,),
            "mlp.fc1.weight": (4 * width, width),
            "mlp.fc1.bias": (4 * width,),
            "mlp.fc2.weight": (width, 4 * width),
            "mlp.fc2.bias": (width,),
            **{f"norm_{i}.{part}": (width,) for i in (1, 2) for part in ("weight", "bias")},
        }
        if name not in ("vision", "text"):
            block |= {"attn.bias_k": (1, 1, width), "attn.bias_v": (1, 1, width)}
        for i in range(blocks):
            shapes |= {f"modality_trunks.{name}.blocks.{i}.{k}": v for k, v in block.items()}
    return shapes


def test_the_published_network_has_its_names_shapes_and_size():
    with torch.device("meta"):
        network = ImageBind(HUGE)
    found = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    assert found == published_shapes()
    assert len(found) == 1311
    assert sum(p.numel() for p in network.parameters()) == 1_200_781_057
    buffers = {name for name, _ in network.named_buffers()}
    others = {f"modality_postprocessors.{m}.1.log_logit_scale" for m in INPUTS if m != "vision"}
    assert buffers == {"modality_preprocessors.text.mask", *others}


@pytest.mark.parametrize("trunk", HUGE.trunks)
def test_half_precision_stays_close(trunk):
    """At the published widths, with two blocks: cosine to float32 at least 0.999."""
    wide = {n: replace(t, blocks=2 if n == trunk else 1) for n, t in HUGE.trunks.items()}
    torch.manual_seed(0)
    network = ImageBind(ImageBindConfig(1024, wide), [trunk]).requires_grad_(False).eval()
    given = inputs(trunk, 2)
    with torch.inference_mode():
        exact = network(trunk, given)
        close = network.place(trunk, CPU, torch.bfloat16)(trunk, given)
    assert exact.dtype == close.dtype == torch.float32
    assert (exact - close).abs().max() > 0, "nothing was computed in bf16"
    assert cosine_similarity(exact, close).min() > 0.999
    assert cosine_similarity(exact[:1], exact[1:]) < 0.999, "inputs that look alike prove nothing"


def test_a_text_is_the_same_in_any_company():
    """What stands after the end, and how long the others are, has no effect."""
    torch.manual_seed(0)
    network = ImageBind(tiny(), ["text"]).eval()
    ids = inputs("text", 4)
    with torch.inference_mode():
        together = network("text", ids)
        alone = torch.cat([network("text", row[None]) for row in ids])
        ids[0, 20:] = 17
        changed = network("text", ids)
    torch.testing.assert_close(alone, together, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(changed, together, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("trunk", INPUTS)
def test_views_of_another_size_are_refused(trunk):
    network = ImageBind(tiny(), [trunk])
    with pytest.raises(ValueError, match="a view has the shape"):
        network(trunk, inputs(trunk, 1)[..., :-1])


@pytest.mark.parametrize("modality", ["video", "audio", "image", "imu", "text"])
def test_size_of_a_pass_and_of_a_batch_change_nothing(modality, checkpoint):
    random = np.random.default_rng(0)
    given = {
        "video": [random.random((n, 2, 224, 256, 3), np.float32) * 255 for n in (5, 2, 1)],
        "audio": [random.random((n, 1, 128, 204), np.float32) for n in (3, 1, 2)],
        "image": [random.random((224, 224, 3), np.float32) * 255 for _ in range(3)],
        "imu": [random.random((1, 6, 2000), np.float32) for _ in range(3)],
        "text": ["a dog", "a cat that sleeps", ""],
    }[modality]
    embedder = imagebind.load(spec(checkpoint, modality), CPU)
    embedder.passes.most = 100
    together = embedder.embed(modality, given)
    assert together.shape == (3, 1024)
    assert together.dtype == np.float32
    for size in (1, 4):
        embedder.passes.most = size
        np.testing.assert_allclose(embedder.embed(modality, given), together, atol=1e-4)
    alone = np.concatenate([embedder.embed(modality, [clip]) for clip in given])
    np.testing.assert_allclose(alone, together, atol=1e-4)


def test_a_long_video_is_cut_into_views_little_by_little(checkpoint, monkeypatch):
    """The mean over them is the same: 40 slices, 120 views, never more than 9 at once."""
    clip = np.random.default_rng(0).integers(0, 256, (40, 2, 224, 256, 3), dtype=np.uint8)
    embedder, made, cut = imagebind.load(spec(checkpoint, "video"), CPU), [], views.expand

    def expand(*given):
        made.append(cut(*given))
        return made[-1]

    monkeypatch.setattr(views, "expand", expand)
    (found,) = embedder.embed("video", [clip])
    assert embedder.views("video", clip) == sum(map(len, made)) == 120
    assert max(map(len, made)) <= 9
    with torch.inference_mode():
        each = torch.cat([embedder.network("vision", part) for part in made])
    np.testing.assert_allclose(found, each.mean(0), atol=1e-6)


def test_an_embedding_is_the_plain_mean_over_views(checkpoint):
    """Each view of a sound has length 20; their mean is left shorter."""
    embedder = imagebind.load(spec(checkpoint, "audio"), CPU)
    views = inputs("audio", 3).numpy()
    each = embedder.embed("audio", [view[None] for view in views])
    np.testing.assert_allclose(np.linalg.norm(each, axis=1), 20, rtol=1e-5)
    (clip,) = embedder.embed("audio", [views])
    np.testing.assert_allclose(clip, each.mean(0), atol=1e-4)
    assert np.linalg.norm(clip) < 19.99
    assert embedder.views("audio", views) == 3


def test_only_the_trunks_that_are_used_are_read(checkpoint):
    """A job embeds one modality: no other trunk is converted, or moved to its device."""
    embedder = imagebind.load(spec(checkpoint, "video", "image", "text", precision="bf16"), CPU)
    assert isinstance(embedder.network, Placed)
    network = embedder.network.network
    assert set(network.modality_trunks) == {"vision", "text"}
    embedder.embed("text", ["a dog"])
    types = {t: network.blocks(t)[0].mlp.fc1.weight.dtype for t in network.modality_trunks}
    assert types == {"text": torch.bfloat16, "vision": torch.float32}
    assert embedder.weights_sha256 == sha256(checkpoint)
    assert embedder.truncated(["short", "word " * 100]) == [False, True]


def test_without_a_compiler_it_says_so(checkpoint, monkeypatch):
    def broken(function):
        raise RuntimeError("no C++ compiler")

    monkeypatch.setattr(torch, "compile", broken)
    with pytest.raises(UserError, match=r"models\.ib\.compile: .*no C\+\+ compiler.*false"):
        imagebind.load(spec(checkpoint, "imu", compiled=True), CPU)


def test_every_format_gives_the_same(checkpoint, tmp_path):
    """What torch saves, what it saved long ago (not mappable), and safetensors."""
    state = torch.load(checkpoint)
    old = tmp_path / "old.pth"
    torch.save(state, old, _use_new_zipfile_serialization=False)
    (tmp_path / CONFIG_FILE).write_text(checkpoint.with_name(CONFIG_FILE).read_text())
    safe = write_tiny(tmp_path / "tiny.safetensors")
    assert load_file(safe).keys() == state.keys()
    for path in (checkpoint, old, safe):
        found = load_network(path, ["imu", "text"]).state_dict()
        assert 0 < len(found) < len(state)
        assert all(torch.equal(value, state[name]) for name, value in found.items()), path


def refusal(path: Path, content: object) -> str:
    """What is said of a checkpoint with this content, beside the tiny description."""
    torch.save(content, path)
    path.with_name(CONFIG_FILE).write_text(json.dumps(as_json()))
    with pytest.raises(UserError) as caught:
        load_network(path, ["imu"])
    assert str(path) in str(caught.value)
    return str(caught.value)


def as_json() -> dict[str, object]:
    return {"dim": 1024, "trunks": {n: vars(t) for n, t in tiny().trunks.items()}}


def test_weights_that_do_not_fit_are_named(checkpoint, tmp_path):
    """Also those of trunks that are not wanted."""
    path, key = tmp_path / "w.pth", "modality_heads.text.proj.1.weight"
    state = dict(torch.load(checkpoint))
    value = state.pop(key)
    assert f"1 missing ({key})" in refusal(path, state)
    assert "1 unexpected (logit_scale)" in refusal(path, state | {key: value, "logit_scale": value})
    said = refusal(path, state | {key: value[:, :5]})
    assert f"{key} (1024, 5) instead of (1024, 32)" in said
    assert "missing" not in said
    said = refusal(path, {"state_dict": {}})
    assert "missing" in said
    assert said.count("modality_") == 3, "a thousand names help nobody"
    assert "expected a state dict" in refusal(path, [value])


def test_the_published_shape_is_expected_without_a_description(checkpoint, tmp_path):
    path = tmp_path / "alone.pth"
    path.write_bytes(checkpoint.read_bytes())
    with pytest.raises(UserError, match=r"missing .* of another shape .*imagebind_config\.json"):
        load_network(path, ["imu"])


class Harmful:
    """Code that would run if a checkpoint were unpickled."""

    def __reduce__(self):
        return print, ("this must never be seen",)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_pickled_code_is_never_run(tmp_path, capsys):
    assert "pickled code" in refusal(tmp_path / "w.pth", {"x": Harmful()})
    (tmp_path / "w.bin").write_bytes(pickle.dumps(Harmful()))
    with pytest.raises(UserError):
        load_network(tmp_path / "w.bin", ["imu"])
    assert "never be seen" not in capsys.readouterr().out


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
def test_a_file_of_another_kind_is_refused(name, tmp_path):
    (tmp_path / name).write_text("version https://git-lfs.github.com/spec/v1")
    with pytest.raises(UserError, match=f"{name} (cannot be read|holds pickled code)"):
        load_network(tmp_path / name, ["imu"])


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"dim": 0}, "above 0"),
        ({"dim": "1024"}, "whole numbers"),
        ({"trunks": {}}, "vision"),
        ({"trunks": None}, "TypeError"),
    ],
)
def test_a_wrong_description_is_refused(change, fault, tmp_path):
    (tmp_path / CONFIG_FILE).write_text(json.dumps(as_json() | change))
    with pytest.raises(UserError, match=fault):
        read_config(tmp_path / "w.pth")


def test_heads_must_divide_the_width(tmp_path):
    description = as_json()
    description["trunks"]["imu"] = vars(TrunkConfig(32, 2, 5))
    (tmp_path / CONFIG_FILE).write_text(json.dumps(description))
    with pytest.raises(UserError, match="multiple of heads in imu"):
        read_config(tmp_path / "w.pth")
