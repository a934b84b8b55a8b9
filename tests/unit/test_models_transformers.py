"""The transformers family equals transformers' own processors and forward passes."""

import pickle
import sys
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
hf = pytest.importorskip("transformers")

import transformers_inputs as inputs  # noqa: E402
from embedding_inputs import configured  # noqa: E402
from transformers_checkpoints import MAKERS  # noqa: E402
from transformers_inputs import CPU, FRAME_MODELS, TEXTS, direct, frames_of, ours, unit  # noqa: E402

from concord.models import transformers as family  # noqa: E402
from concord.models.base import MediaFile  # noqa: E402
from concord.models.catalogue import entries, spec  # noqa: E402
from concord.models.sources import prepare  # noqa: E402
from concord.models.transformers import readers  # noqa: E402
from concord.models.transformers.architectures import ARCHITECTURES  # noqa: E402

checkpoint = inputs.checkpoint
clips = inputs.clips
configure = inputs.configure
sounds = inputs.sounds


@pytest.mark.parametrize(
    ("reader", "kind"),
    [
        (readers.VideoReader("folder", 8, "frames"), "AutoImageProcessor"),
        (readers.VideoReader("folder", 8, "video"), "AutoVideoProcessor"),
        (readers.ImageReader("folder"), "AutoImageProcessor"),
        (readers.SoundReader("folder"), "AutoFeatureExtractor"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_decoder_loads_its_processor_before_the_first_clip(reader, kind, monkeypatch):
    loaded = []
    monkeypatch.setattr(readers, "_processor", lambda *asked: loaded.append(asked))
    prepare(reader, None)
    assert loaded == [(kind, "folder")]


@pytest.mark.parametrize("architecture", FRAME_MODELS)
def test_frames_and_pictures_equal_a_direct_forward(architecture, configure, clips, tmp_path):
    chosen = configure(architecture)
    model, processor = direct(chosen)
    expected = []
    for clip in clips:
        given = processor.image_processor(frames_of(clip, 8), return_tensors="pt")
        with torch.no_grad():
            expected.append(unit(unit(model.get_image_features(**given)).mean(0)).numpy())
    found = ours(chosen, "video", clips)
    assert found.dtype == np.float32
    assert found.shape == (3, chosen.dim)
    np.testing.assert_allclose(found, expected, atol=1e-5)

    picture = frames_of(clips[0], 1)[0]
    picture.save(tmp_path / "a.png")
    given = processor.image_processor([picture], return_tensors="pt")
    with torch.no_grad():
        expected = unit(model.get_image_features(**given)).numpy()
    found = ours(chosen, "image", [MediaFile(tmp_path / "a.png")])
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_xclip_sees_all_frames_together(configure, clips):
    chosen = configure("xclip")
    assert (chosen.frames, chosen.modalities) == (4, ("video", "text"))
    model, processor = direct(chosen)
    expected = []
    for clip in clips:
        given = processor(videos=[frames_of(clip, 4)], return_tensors="pt")
        assert given["pixel_values"].shape[:2] == (1, 4)
        with torch.no_grad():
            expected.append(unit(model.get_video_features(**given))[0].numpy())
    np.testing.assert_allclose(ours(chosen, "video", clips), expected, atol=1e-5)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_batches_do_not_change_results(architecture, configure, clips, sounds):
    chosen = configure(architecture)
    embedder = family.load(chosen, CPU)
    for modality in set(chosen.modalities) - {"image"}:
        inputs = TEXTS
        if modality != "text":
            read = family.reader(chosen, modality)
            inputs = [read(file) for file in (sounds if modality == "audio" else clips)]
        together = embedder.embed(modality, inputs)
        alone = np.concatenate([embedder.embed(modality, [given]) for given in inputs])
        np.testing.assert_allclose(together, alone, atol=5e-6)
        embedder.passes.most = 1
        np.testing.assert_allclose(embedder.embed(modality, inputs), alone, atol=5e-6)
        embedder.passes.most = sys.maxsize
        cosines = (together @ together.T)[np.triu_indices(len(inputs), 1)]
        assert cosines.max() < 0.999, "else a mix-up would not show"
        assert np.linalg.norm(together, axis=1) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("architecture", ["siglip2", "xclip", "clap_fused", "pe_audio_video"])
def test_bf16_is_near_fp32(architecture, configure, clips, sounds):
    chosen = configure(architecture)
    modality = "audio" if "audio" in chosen.modalities else "video"
    read = family.reader(chosen, modality)
    inputs = [read(file) for file in (sounds if modality == "audio" else clips)]
    exact = family.load(chosen, CPU).embed(modality, inputs)
    coarse = family.load(replace(chosen, precision="bf16"), CPU).embed(modality, inputs)
    assert not np.array_equal(exact, coarse)
    assert ((exact * coarse).sum(axis=1) > 0.99).all()


@pytest.mark.parametrize("architecture", ["clip", "clap", "pe_audio_video"])
def test_readers_travel_to_other_processes(architecture, configure):
    chosen = configure(architecture)
    for modality in set(chosen.modalities) - {"text"}:
        read = family.reader(chosen, modality)
        assert pickle.loads(pickle.dumps(read)) == read


def test_every_entry_says_what_its_architecture_does(tmp_path):
    for entry in entries().values():
        if entry.backend == "transformers" and entry.architecture:
            chosen = spec(configured(tmp_path, m={"entry": entry.name}), "m")
            architecture = ARCHITECTURES[entry.architecture]
            assert set(entry.modalities) == set(chosen.modalities), entry.name
            assert (entry.reads, chosen.dim) == (architecture.reads, entry.dim), entry.name


def test_every_architecture_has_a_checkpoint_here():
    assert set(ARCHITECTURES) <= set(MAKERS)


NAMED = [e for e in entries().values() if e.backend == "transformers" and e.architecture]


@pytest.mark.parametrize("entry", NAMED, ids=lambda entry: entry.name)
def test_every_entry_runs_under_its_name(entry, checkpoint, clips, sounds, tmp_path):
    """With a small random checkpoint of its architecture: what `tried: small` says."""
    assert entry.tried == "small"
    folder = checkpoint("clap_fused" if entry.name == "clap-htsat-fused" else entry.architecture)
    chosen = spec(configured(tmp_path, m={"entry": entry.name, "checkpoint": folder}), "m")
    assert chosen.modalities == entry.modalities
    embedder = family.load(chosen, CPU)
    for modality in set(entry.modalities) - {"image"}:
        inputs = TEXTS
        if modality != "text":
            read = family.reader(chosen, modality)
            inputs = [read(file) for file in (sounds if modality == "audio" else clips)]
        assert embedder.embed(modality, inputs).shape == (3, chosen.dim)
