"""Named protocols: each does what its name says, and none passes for another."""

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
open_clip = pytest.importorskip("open_clip")

from embedding_inputs import configured, write_proxy, write_tiny_open_clip  # noqa: E402
from PIL import Image  # noqa: E402

from concord.errors import UserError  # noqa: E402
from concord.models import open_clip as family  # noqa: E402
from concord.models.base import MediaFile, ModelSpec  # noqa: E402
from concord.models.catalogue import entries, protocol_rows, protocols, spec  # noqa: E402
from concord.models.decode import read_frames  # noqa: E402
from concord.protocol import protocol_id  # noqa: E402

CPU = torch.device("cpu")
SIZE = 64
"""Of the tiny network's pictures; CLIP ViT-B/32 has 224."""


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_open_clip(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Clips of 45, 20 and 5 frames: the last has fewer than are asked for."""
    folder = tmp_path_factory.mktemp("clips")
    sizes = enumerate((45, 20, 5))
    return [write_proxy(folder / f"{i}.mp4", n, (96 + 2 * i, 64), seed=i) for i, n in sizes]


def chosen(weights: Path, protocol: str | None, **options: object) -> ModelSpec:
    options |= {"entry": "open_clip", "checkpoint": weights, "protocol": protocol}
    return spec(configured(weights.parent, tiny=options), "tiny")


def embedded(model: ModelSpec, clips: list[Path]) -> np.ndarray:
    read = family.reader(model, "video")
    return family.load(model, CPU).embed("video", [read(MediaFile(path)) for path in clips])


def network(weights: Path):
    return open_clip.create_model_and_transforms(f"local-dir:{weights.parent}")


def all_frames(path: Path) -> list[Image.Image]:
    import av

    with av.open(str(path)) as container:
        return [Image.fromarray(f.to_ndarray(format="rgb24")) for f in container.decode(video=0)]


def test_the_batch_script_recipe_equals_a_transcription_of_it(weights, clips):
    """Frames i*(N//n) of the original, Resize((s, s)), ImageNet, projection, plain mean."""
    from torchvision import transforms

    model = network(weights)[0].eval()
    transform = transforms.Compose(
        [
            transforms.Resize((SIZE, SIZE)),
            transforms.ToTensor(),
            transforms.Normalize(mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225]),
        ]
    )
    found = embedded(chosen(weights, "clip-batch-script"), clips)
    for vector, path in zip(found, clips, strict=True):
        frames = all_frames(path)
        step = len(frames) // 8
        pictures = torch.stack([transform(frames[i * step]) for i in range(8)])
        with torch.no_grad():
            expected = model.visual(pictures).mean(dim=0).numpy()
        np.testing.assert_allclose(vector, expected, atol=1e-5)
        assert abs(np.linalg.norm(vector) - 1) > 1e-3, "not normalised"


@pytest.mark.parametrize(
    ("protocol", "colours", "indices"),
    [
        ("clip-centres", None, lambda n: [int((i + 0.5) * n / 8) for i in range(8)]),
        ("clip-left", None, lambda n: [i * (n // 8) for i in range(8)]),
        (
            "clip-imagenet",
            ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
            lambda n: [int((i + 0.5) * n / 8) for i in range(8)],
        ),
    ],
)
def test_frames_and_normalisation_are_those_of_the_name(weights, clips, protocol, colours, indices):
    from torchvision.transforms import Normalize

    model, _, transform = network(weights)
    if colours:
        transform.transforms[-1] = Normalize(*colours)
    found = embedded(chosen(weights, protocol), clips)
    for vector, path in zip(found, clips, strict=True):
        frames = all_frames(path)
        pictures = torch.stack([transform(frames[i]) for i in indices(len(frames))])
        with torch.no_grad():
            mean = model.eval().encode_image(pictures, normalize=True).mean(dim=0)
        np.testing.assert_allclose(vector, (mean / mean.norm()).numpy(), atol=1e-5)


def test_left_frames(clips):
    frames = read_frames(MediaFile(clips[0]), 3, "left")
    np.testing.assert_array_equal(frames, read_frames(MediaFile(clips[0]), 45)[[0, 15, 30]])


def test_text_does_not_depend_on_the_picture_side(weights):
    texts = ["a red ball", "short"]
    plain, script = (
        family.load(chosen(weights, name), CPU).embed("text", texts)
        for name in (None, "clip-batch-script")
    )
    np.testing.assert_array_equal(plain, script)


def test_the_default_has_a_name_and_its_id_is_as_before(weights):
    """Embeddings made before protocols had names are still good."""
    default = chosen(weights, None)
    assert default.protocol("video") == chosen(weights, "clip-centres").protocol("video")
    assert set(default.options) == {"config_sha256"}
    assert entries()["open_clip"].protocol == "clip-centres"


def test_every_protocol_has_an_id_of_its_own(weights):
    names = [p.name for p in protocols().values() if "open_clip" in p.backends]
    ids = {protocol_id(chosen(weights, name).protocol("video")) for name in names}
    assert len(ids) == len(names) == 4
    assert chosen(weights, "clip-batch-script").reads == "originals"
    assert chosen(weights, "clip-left").reads == "proxies"


def test_a_protocol_of_another_family_is_refused(weights):
    with pytest.raises(UserError, match=r"models\.tiny\.protocol: .*'open_clip' has no protocol"):
        chosen(weights, "imagebind-15view")
    with pytest.raises(UserError, match="did you mean 'clip-left'"):
        chosen(weights, "clip-lefd")


def test_an_image_is_embedded_as_the_model_does_it(weights, tmp_path):
    rng = np.random.default_rng(0)
    picture = Image.fromarray(rng.integers(0, 256, (70, 90, 3), dtype=np.uint8))
    picture.save(tmp_path / "upright.png")
    turned = Image.Exif()
    turned[0x0112] = 6  # Orientation: to be shown turned by 90 degrees
    picture.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.png", exif=turned)
    Image.fromarray(rng.integers(0, 256, (70, 90), dtype=np.uint8)).save(tmp_path / "grey.webp")
    picture.convert("RGBA").save(tmp_path / "alpha.png")
    names = ("upright.png", "turned.png", "grey.webp", "alpha.png")
    tiny = chosen(weights, None)
    read = family.reader(tiny, "image")
    embedder = family.load(tiny, CPU)
    views = [read(MediaFile(tmp_path / name)) for name in names]
    found = embedder.embed("image", views)
    model, _, transform = network(weights)
    with torch.no_grad():
        expected = model.eval().encode_image(transform(picture)[None], normalize=True).numpy()[0]
    assert [embedder.views("image", view) for view in views] == [1, 1, 1, 1]
    for index in (0, 1, 3):
        np.testing.assert_allclose(found[index], expected, atol=1e-5)
    assert abs(found[2] - expected).max() > 1e-3


def test_a_broken_image_is_unreadable(weights, tmp_path):
    read = family.reader(chosen(weights, None), "image")
    whole = tmp_path / "whole.png"
    Image.fromarray(np.zeros((50, 50, 3), dtype=np.uint8)).save(whole)
    for name, content in {"text.png": b"no picture", "cut.png": whole.read_bytes()[:60]}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match="unreadable"):
            read(MediaFile(tmp_path / name))


def test_rows_say_what_decides_a_protocol():
    rows = {row["protocol"]: row for row in protocol_rows()}
    assert list(rows) == list(protocols())
    assert "reads: originals" in rows["clip-batch-script"]["decided by"]
    assert rows["clip-centres"]["default of"] == "open_clip models"
    assert rows["clip-batch-script"]["default of"] == "clip-batch-script"
