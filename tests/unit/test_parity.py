"""`concord parity imagebind`: equal networks are found equal, and others are not.

The package stands in by our own network, which is tested against golden values elsewhere, under
the package's API: what is tested here is that both see the same, and that differences show. The
last test takes the package itself, where it is installed (envs/imagebind.yaml).
"""

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from embedding_inputs import configured, write_proxy
from imagebind_checkpoint import write_tiny
from PIL import Image
from typer.testing import CliRunner, Result

torch = pytest.importorskip("torch")

from concord.cli import app  # noqa: E402
from concord.commands import parity  # noqa: E402
from concord.errors import UserError  # noqa: E402
from concord.models import imagebind, imagebind_package  # noqa: E402
from concord.models.base import MediaFile  # noqa: E402
from concord.models.catalogue import spec  # noqa: E402
from concord.models.imagebind.config import HUGE, read_config  # noqa: E402
from concord.models.imagebind.parity import difference  # noqa: E402

CPU = torch.device("cpu")
MODEL = """
from concord.models.imagebind.config import HUGE, ImageBindConfig, TrunkConfig
from concord.models.imagebind.network import ImageBind

AUDIO_IS_LOUDER = 1.0


class ImageBindModel(ImageBind):
    def __init__(self, out_embed_dim, **sizes):
        parts = ("embed_dim", "num_blocks", "num_heads")
        trunks = {t: TrunkConfig(*(sizes[f"{t}_{part}"] for part in parts)) for t in HUGE.trunks}
        super().__init__(ImageBindConfig(out_embed_dim, trunks))

    def forward(self, inputs):
        ((trunk, views),) = inputs.items()
        if views.ndim < 5:
            vectors = super().forward(trunk, views)
        else:
            each = super().forward(trunk, views.flatten(0, 1))
            vectors = each.unflatten(0, views.shape[:2]).mean(1)
        return {trunk: vectors * (AUDIO_IS_LOUDER if trunk == "audio" else 1)}
"""
DATA = """
import torch
from concord.models.imagebind.text import tokens


def load_and_transform_text(texts, device):
    return torch.from_numpy(tokens(texts, END_TOKEN)).to(device)


def load_and_transform_video_data(paths, device):
    raise RuntimeError("no decoder")


load_and_transform_audio_data = load_and_transform_vision_data = load_and_transform_video_data
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package `imagebind` that can be imported, whose __init__ cannot run."""
    folder = tmp_path / "site" / "imagebind"
    (folder / "models").mkdir(parents=True)
    (folder / "__init__.py").write_text("import pytorchvideo_that_is_not_there")
    (folder / "models" / "__init__.py").touch()
    (folder / "models" / "imagebind_model.py").write_text(MODEL)
    monkeypatch.syspath_prepend(str(folder.parent))
    yield folder
    forget()


@pytest.fixture
def installed() -> Iterator[None]:
    """The package of ImageBind's authors."""
    try:
        imagebind_package.network_module("imagebind-package")
    except UserError as error:
        pytest.skip(str(error))
    yield
    forget()


def forget() -> None:
    """Have the package imported anew by the next test."""
    for name in [name for name in sys.modules if name.split(".")[0] == "imagebind"]:
        del sys.modules[name]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A video without sound, a sound and an image."""
    import soundfile

    folder = tmp_path_factory.mktemp("files")
    rng = np.random.default_rng(0)
    video = write_proxy(folder / "a.mp4", 50, (320, 240))
    soundfile.write(folder / "b.wav", rng.normal(0, 0.1, 48000).astype(np.float32), 16000)
    Image.fromarray(rng.integers(0, 256, (240, 300, 3), dtype=np.uint8)).save(folder / "c.png")
    return [str(video), str(folder / "b.wav"), str(folder / "c.png")]


def call(*words: str) -> Result:
    return CliRunner().invoke(app, ["parity", "imagebind", *words])


def rows(result: Result) -> dict[tuple[str, str], str]:
    """The verdict by input and what is compared."""
    cells = [line.split() for line in result.stdout.splitlines()]
    return {(c[0], c[1]): c[-1] for c in cells if len(c) == 7 and c[1] in ("network", "files")}


def test_equal_networks_are_equal(package, files):
    result = call(*files, "--random")
    assert result.exit_code == 0, result.stdout + result.stderr
    names = ("video", "audio", "text", "image")
    assert rows(result) == {(name, "network"): "equal" for name in names}
    assert "reading of files was not compared: No module named 'imagebind.data'" in result.stdout
    assert "not compared: --audio" in result.stdout, "the video has no sound"
    assert result.stdout.splitlines()[-1] == "equal"


def test_a_random_network_is_as_wide_as_the_published_one(tmp_path, monkeypatch):
    monkeypatch.setattr(torch, "save", lambda state, path: None)
    trunks = read_config(parity._random_weights(tmp_path)).trunks
    assert trunks == {name: replace(trunk, blocks=2) for name, trunk in HUGE.trunks.items()}


def test_a_network_that_differs_by_a_hundredth_is_found(package, files, tmp_path):
    text = MODEL.replace("LOUDER = 1.0", "LOUDER = 1.01")
    (package / "models" / "imagebind_model.py").write_text(text)
    result = call(files[1], "--checkpoint", str(write_tiny(tmp_path / "tiny.pth")))
    assert result.exit_code == 1
    assert rows(result) == {("audio", "network"): "different", ("text", "network"): "equal"}
    assert result.stdout.splitlines()[-1] == "NOT equal"


@pytest.mark.parametrize(("end_token", "verdict"), [("kept", "equal"), ("lost", "different")])
def test_reading_of_the_package_is_compared_too(package, files, end_token, verdict):
    """A package from before November 2025 loses the end token of long texts."""
    (package / "data.py").write_text(DATA.replace("END_TOKEN", repr(end_token)))
    result = call(files[2], "--random")
    found = rows(result)
    assert found["text", "network"] == "equal"
    assert found["text", "files"] == verdict
    assert result.exit_code == (verdict == "different")
    assert "cannot read image here: no decoder" in result.stdout


def test_reading_is_compared_under_its_own_protocol_alone(package, files):
    (package / "data.py").write_text(DATA.replace("END_TOKEN", repr("lost")))
    result = call(files[2], "--random", "--protocol", "imagebind-legacy-text")
    assert rows(result) == {("text", "network"): "equal", ("image", "network"): "equal"}
    assert "imagebind-15view: its reading was not compared" in result.stdout


def test_the_package_embeds_every_modality_as_we_do(package, files, tmp_path):
    compare_modalities(files, tmp_path)


@pytest.mark.package
def test_the_installed_package_embeds_every_modality_as_we_do(installed, files, tmp_path):
    compare_modalities(files, tmp_path)


def compare_modalities(files: list[str], tmp_path: Path) -> None:
    """Embed as two models of the configuration, views and all."""
    weights = write_tiny(tmp_path / "tiny.pth")
    entries = {"ours": {"entry": "imagebind"}, "theirs": {"entry": "imagebind-package"}}
    config = configured(
        tmp_path, **{name: keys | {"checkpoint": weights} for name, keys in entries.items()}
    )
    ours, theirs = (spec(config, name) for name in entries)
    assert ours.protocol("video") != theirs.protocol("video")
    assert ours.options == theirs.options
    both = imagebind.load(ours, CPU), imagebind_package.load(theirs, CPU)
    np.save(tmp_path / "depth.npy", np.random.default_rng(0).random((240, 260), np.float32))
    np.save(tmp_path / "imu.npy", np.random.default_rng(1).random((6, 2000), np.float32))
    paths = dict(zip(("video", "audio", "image"), map(Path, files), strict=True))
    paths |= {"depth": tmp_path / "depth.npy", "imu": tmp_path / "imu.npy"}
    for modality, path in paths.items():
        given = [imagebind_package.reader(theirs, modality)(MediaFile(path))] * 2
        a, b = (embedder.embed(modality, given) for embedder in both)
        assert a.shape == b.shape == (2, 1024)
        np.testing.assert_allclose(a, b, atol=1e-6, err_msg=modality)
        assert both[0].views(modality, given[0]) == both[1].views(modality, given[0])
    np.testing.assert_allclose(
        *(embedder.embed("text", parity.TEXTS) for embedder in both), atol=1e-6
    )


def test_without_the_package_it_says_how_to_get_it(files, monkeypatch):
    monkeypatch.setattr(imagebind_package.importlib.util, "find_spec", lambda name: None)
    result = call(files[1], "--random")
    assert result.exit_code == 1
    assert "no package named 'imagebind' is installed" in result.stderr
    assert "envs/imagebind.yaml" in result.stderr


def test_a_package_of_another_kind_is_told(package, tmp_path):
    text = MODEL.replace("TrunkConfig(*(", "TrunkConfig(*(2 * ")
    (package / "models" / "imagebind_model.py").write_text(text)
    weights = write_tiny(tmp_path / "tiny.pth")
    config = configured(tmp_path, p={"entry": "imagebind-package", "checkpoint": weights})
    with pytest.raises(UserError, match=r"models\.p: .*does not fit the network of the installed"):
        imagebind_package.load(spec(config, "p"), CPU)


def test_other_models_and_files_are_refused(package, files):
    other = CliRunner().invoke(app, ["parity", "mini", files[0]])
    assert other.exit_code == 1
    assert "expected imagebind" in other.stderr
    assert "found another extension" in call("a.txt").stderr
    wrong = call(files[0], "--checkpoint", "no.pth").stderr
    assert wrong.count("--checkpoint: ") == 1, "said once, though both models have it"


def test_difference_is_relative_to_the_largest_value():
    ours = np.array([[1, 0], [0, 10]], np.float32)
    theirs = np.array([[1, 0.1], [0, 10]], np.float32)
    found = difference("audio", "network", ours, theirs)
    assert (found.n, found.verdict) == (2, "different")
    assert found.largest == pytest.approx(0.1)
    assert found.relative == pytest.approx(0.01)
    assert found.cosine == pytest.approx(1 / np.sqrt(1.01))
    assert difference("audio", "network", ours, ours + np.float32(1e-5)).verdict == "equal"


@pytest.mark.parametrize(
    ("modality", "what", "share", "verdict"),
    [
        ("video", "files", 5e-3, "close"),
        ("video", "files", 5e-2, "different"),
        ("video", "network", 1e-3, "different"),
        ("audio", "files", 2e-3, "close"),
        ("audio", "files", 1e-2, "different"),
        ("image", "files", 1e-4, "different"),
        ("text", "files", 1e-4, "different"),
    ],
)
def test_only_other_decoders_excuse_more_than_rounding(modality, what, share, verdict):
    ours = np.random.default_rng(0).normal(size=(2, 1024)).astype(np.float32)
    theirs = ours.copy()
    theirs[0, 0] += share * abs(ours).max()
    assert difference(modality, what, ours, theirs).verdict == verdict


def test_the_packages_network_is_built_without_weights(package, tmp_path, monkeypatch):
    """They would be made, and thrown away for the loaded ones."""
    text = MODEL + "\n\nBUILT = []\nINIT = ImageBindModel.__init__\n"
    text += (
        "def init(self, *args, **sizes):\n"
        "    import torch\n"
        "    rates = [x.item() for x in torch.linspace(0, 1, 3)]  # as the package does\n"
        "    INIT(self, *args, **sizes)\n"
        "    BUILT.append((rates, {p.device.type for p in self.parameters()}))\n"
        "ImageBindModel.__init__ = init\n"
    )
    (package / "models" / "imagebind_model.py").write_text(text)
    weights = write_tiny(tmp_path / "tiny.pth")
    config = configured(tmp_path, p={"entry": "imagebind-package", "checkpoint": weights})
    model, _ = imagebind_package.load_model(spec(config, "p"), CPU)
    built = imagebind_package.network_module("p").BUILT
    assert built == [([0.0, 0.5, 1.0], {"meta"})]
    assert {p.device.type for p in [*model.parameters(), *model.buffers()]} == {"cpu"}
