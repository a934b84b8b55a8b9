"""Checkpoints of the transformers family: what is checked of folders, and of those of a hub."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
hf = pytest.importorskip("transformers")

import transformers_inputs as inputs  # noqa: E402
from embedding_inputs import configured  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402
from transformers_inputs import CPU, TEXTS  # noqa: E402

from concord.errors import UserError  # noqa: E402
from concord.models import transformers as family  # noqa: E402
from concord.models import weights  # noqa: E402
from concord.models.catalogue import spec  # noqa: E402

checkpoint = inputs.checkpoint
clips = inputs.clips
configure = inputs.configure


def test_settings_of_the_processor_are_part_of_the_protocol(configure, checkpoint, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(checkpoint("clip"), folder)
    same = spec(configured(tmp_path, m={"entry": "transformers", "checkpoint": folder}), "m")
    assert same.protocol("video") == configure("clip").protocol("video")
    path = folder / "processor_config.json"
    path.write_text(path.read_text().replace("0.25", "0.26"))
    other = spec(configured(tmp_path, m={"entry": "transformers", "checkpoint": folder}), "m")
    assert other.protocol("video") != same.protocol("video")


@pytest.mark.parametrize(
    ("architecture", "options", "message"),
    [
        ("clip", {"entry": "altclip"}, r"checkpoint: .*'clip', expected 'altclip'"),
        ("clip", {"protocol": "pe-video-text"}, r"protocol: it is for PE-AV only"),
        ("clip", {"architecture": "clip"}, r"architecture: the folder says it"),
        ("xclip", {"frames": 8}, r"frames: 8, but this checkpoint takes exactly 4"),
    ],
)
def test_mistakes_name_the_key(architecture, options, message, configure):
    with pytest.raises(UserError, match=r"models\.tiny\." + message):
        configure(architecture, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pretrained": "a/b"}, r"architecture: needed .* one of clip, siglip"),
        ({"pretrained": "a/b", "architecture": "blip"}, r"architecture: no support .*'blip'.*clip"),
        ({"checkpoint": "/no/such"}, r"checkpoint: expected a folder with config\.json"),
    ],
)
def test_what_is_missing_is_told(options, message, tmp_path):
    given = {"entry": "transformers", **options}
    with pytest.raises(UserError, match=r"models\.m\." + message):
        spec(configured(tmp_path, m=given), "m")


@pytest.mark.parametrize(
    "change", [{"model_type": "vit"}, {"architectures": ["PeAudioFrameLevelModel"]}]
)
def test_folders_of_other_networks_are_refused(change, checkpoint, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(checkpoint("pe_audio"), folder)
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(UserError, match=r"models\.m\.checkpoint: (no support|.* every frame)"):
        spec(configured(tmp_path, m={"entry": "transformers", "checkpoint": folder}), "m")


def test_incomplete_weights_are_refused(checkpoint, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(checkpoint("clip"), folder)
    tensors = load_file(folder / "model.safetensors")
    del tensors["visual_projection.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    chosen = spec(configured(tmp_path, m={"entry": "transformers", "checkpoint": folder}), "m")
    with pytest.raises(UserError, match=r"lack 1 tensors of clip, such as visual_projection"):
        family.load(chosen, CPU)


def test_pickled_code_is_refused(checkpoint, tmp_path):
    folder, ran = tmp_path / "copy", tmp_path / "ran"
    shutil.copytree(checkpoint("clip"), folder)
    (folder / "model.safetensors").unlink()

    class Malicious:
        def __reduce__(self):
            return Path.touch, (ran,)

    torch.save({"visual_projection.weight": Malicious()}, folder / "pytorch_model.bin")
    chosen = spec(configured(tmp_path, m={"entry": "transformers", "checkpoint": folder}), "m")
    with pytest.raises(UserError, match=r"models\.m: "):
        family.load(chosen, CPU)
    assert not ran.exists()


def test_a_folder_without_its_processor_is_no_fault_of_the_clip(checkpoint, clips, tmp_path):
    """A UserError ends a job; anything else would fail every clip."""
    folder = tmp_path / "copy"
    shutil.copytree(checkpoint("clip"), folder)
    (folder / "processor_config.json").unlink()
    chosen = spec(configured(tmp_path, m={"entry": "transformers", "checkpoint": folder}), "m")
    with pytest.raises(UserError, match=r"AutoImageProcessor does not load.*save the processor"):
        family.reader(chosen, "video")(clips[0])


def test_unreachable_hub_says_what_to_do(tmp_path, monkeypatch):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    chosen = spec(configured(tmp_path, x={"entry": "pe-av-small"}), "x")
    assert (chosen.architecture, chosen.dim, chosen.frames) == ("pe_audio_video", 1024, 16)
    with pytest.raises(UserError, match="hf download facebook/pe-av-small-16-frame"):
        family.reader(chosen, "video")


def test_weights_of_a_hub_are_checked(checkpoint, configure, tmp_path, monkeypatch):
    """A snapshot that stands for a fetched one: its digest is recorded, and another is refused."""
    import huggingface_hub

    asked, folder = [], tmp_path / "snapshots" / "0123abc"
    shutil.copytree(checkpoint("clip"), folder)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def snapshot(repository, *, revision, allow_patterns):
        asked.append((repository, revision))
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    given = {"entry": "transformers", "pretrained": "us/tiny@v1", "architecture": "clip"}
    chosen = spec(configured(tmp_path, hub=given), "hub")
    found = family.load(chosen, CPU)
    assert asked == [("us/tiny", "v1")]
    assert found.weights_sha256 == weights.sha256(folder / "model.safetensors")
    local = configure("clip")
    assert family.load(local, CPU).provenance == {}, "its protocol says it"
    settings = local.options["config_sha256"]
    assert found.provenance == {"config_sha256": settings, "revision": "0123abc"}
    monkeypatch.setattr(weights, "sha256", lambda path: pytest.fail(f"{path} is read again"))
    assert family.load(chosen, CPU).weights_sha256 == found.weights_sha256
    with pytest.raises(UserError, match=r"models\.hub\.sha256: .*expected 000"):
        family.load(replace(chosen, sha256="0" * 64), CPU)


def test_what_only_a_hub_knows_is_not_taken_from_the_entry(checkpoint, tmp_path, monkeypatch):
    """Another repository than the entry's: its size is unknown, its number of frames is checked."""
    import huggingface_hub

    def snapshot(repository, *, revision, allow_patterns):
        return str(checkpoint("xclip"))

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    given = {"entry": "xclip-base-patch32", "pretrained": "us/frames4"}
    chosen = spec(configured(tmp_path, x=given), "x")
    assert (chosen.dim, chosen.frames) == (0, 8)
    with pytest.raises(UserError, match=r"models\.x\.frames: 8, .* exactly 4; set `frames: 4`"):
        family.load(chosen, CPU)
    family.load(spec(configured(tmp_path, x=given | {"frames": 4}), "x"), CPU)


def test_weights_of_a_hub_may_be_pytorchs_where_there_are_no_others(
    configure, checkpoint, tmp_path, monkeypatch
):
    import huggingface_hub

    folder, kept = tmp_path / "snapshot", checkpoint("chinese_clip")
    shutil.copytree(kept, folder, ignore=shutil.ignore_patterns("*.safetensors"))

    def snapshot(repository, *, revision, allow_patterns):
        if allow_patterns == "pytorch_model*.bin":
            assert revision == folder.name, "the same state of the repository"
            torch.save(load_file(kept / "model.safetensors"), folder / "pytorch_model.bin")
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    given = {"entry": "transformers", "pretrained": "us/old", "architecture": "chinese_clip"}
    found = family.load(spec(configured(tmp_path, old=given), "old"), CPU).embed("text", TEXTS)
    expected = family.load(configure("chinese_clip"), CPU).embed("text", TEXTS)
    np.testing.assert_array_equal(found, expected)
