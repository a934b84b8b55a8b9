"""The transformers family equals transformers' own processors and forward passes."""

import json
import pickle
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
hf = pytest.importorskip("transformers")

import soundfile  # noqa: E402
from embedding_inputs import configured  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402
from transformers_checkpoints import MAKERS, RATE_HZ, make  # noqa: E402

from concord.errors import UserError  # noqa: E402
from concord.models import transformers as family  # noqa: E402
from concord.models.base import MediaFile  # noqa: E402
from concord.models.catalogue import entries, spec  # noqa: E402
from concord.models.transformers import readers  # noqa: E402
from concord.models.transformers.architectures import ARCHITECTURES  # noqa: E402
from concord.models.weights import sha256  # noqa: E402

CPU = torch.device("cpu")
TEXTS = ["A red ball", "two dogs bark, 红色的球落在地上 " * 6, "una"]
FRAME_MODELS = ["clip", "siglip", "siglip2", "chinese_clip", "altclip"]
PE_PARTS = {"pe-video-text": ("video", "text"), "pe-audio-text": ("audio", "text")}
LENGTHS_S = (0.6, 0.85, 2.4)
"""Of the sounds: the random CLAP takes 1 s at a time."""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """The folder of an architecture's checkpoint, made when it is first asked for."""
    folder = tmp_path_factory.mktemp("checkpoints")

    def get(architecture: str) -> Path:
        path = folder / architecture
        return path if path.exists() else make(architecture, path)

    return get


@pytest.fixture(scope="module")
def configure(checkpoint):
    def get(kind: str, **options):
        folder = checkpoint(kind)
        given = {"entry": "transformers", "checkpoint": folder, **options}
        return spec(configured(folder.parent, tiny=given), "tiny")

    return get


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Three videos of coloured blocks that drift, each of other colours and another size."""
    folder, made = tmp_path_factory.mktemp("clips"), []
    for seed in range(3):
        blocks = np.random.default_rng(seed).integers(0, 256, (4, 6, 3), dtype=np.uint8)
        picture = np.kron(blocks, np.ones((16, 16 + 2 * seed, 1), np.uint8))
        path = folder / f"{seed}.mp4"
        write_video(path, [np.roll(picture, 3 * i, axis=1) for i in range(20 + seed)])
        made.append(MediaFile(path))
    return made


def write_video(path, pictures):
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=20, options={"crf": "10"})
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    """Three sounds of other pitch, each with noise that no two share."""
    folder, made = tmp_path_factory.mktemp("sounds"), []
    for seed, seconds in enumerate(LENGTHS_S):
        time_s = np.arange(int(RATE_HZ * seconds)) / RATE_HZ
        tone = 0.4 * np.sin(2 * np.pi * 200 * 5**seed * time_s) * (1 + np.sin(9 * time_s))
        noise = np.random.default_rng(seed).normal(0, 0.01 * 4**seed, len(time_s))
        soundfile.write(folder / f"{seed}.wav", (tone + noise).clip(-1, 1), RATE_HZ)
        made.append(MediaFile(folder / f"{seed}.wav"))
    return made


def ours(chosen, modality, files):
    read = family.reader(chosen, modality)
    return family.load(chosen, CPU).embed(modality, [read(file) for file in files])


def direct(chosen):
    """transformers' own network and processor; its loader fails for PE-AV with newer timm."""
    folder = Path(chosen.checkpoint)
    if chosen.architecture == "pe_audio_video":
        model = hf.PeAudioVideoModel(hf.AutoConfig.from_pretrained(folder)).eval()
        tensors = load_file(folder / "model.safetensors")
        assert not model.load_state_dict(tensors, strict=False).unexpected_keys
    else:
        model = hf.AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    return model, hf.AutoProcessor.from_pretrained(folder)


def unit(vectors):
    return torch.nn.functional.normalize(getattr(vectors, "pooler_output", vectors), dim=-1)


def frames_of(file, count):
    """All frames as Pillow has them, of which a model sees some."""
    import av

    with av.open(str(file.path)) as container:
        every = [frame.to_image() for frame in container.decode(video=0)]
    return [every[int((i + 0.5) * len(every) / count)] for i in range(count)]


def samples_of(file):
    return soundfile.read(file.path, dtype="float32")[0]


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


@pytest.mark.parametrize("architecture", [*FRAME_MODELS, "xclip", "clap"])
def test_texts_equal_a_direct_forward(architecture, configure):
    """SigLIP's are read to their full length, without a mask; the others to the longest one's."""
    chosen = configure(architecture)
    model, processor = direct(chosen)
    limit = {"clip": 16, "xclip": 16, "altclip": 28, "clap": 28, "chinese_clip": 52}
    options = {"max_length": limit.get(architecture, 20), "truncation": True}
    siglip = architecture.startswith("siglip")
    texts = [text.lower() if siglip else text for text in TEXTS]
    options["padding"] = "max_length" if siglip else True
    given = processor.tokenizer(texts, return_tensors="pt", **options)
    if siglip:
        given.pop("attention_mask", None)
    with torch.no_grad():
        expected = unit(model.get_text_features(**given)).numpy()
    found = family.load(chosen, CPU)
    np.testing.assert_allclose(found.embed("text", TEXTS), expected, atol=1e-5)
    assert found.truncated(TEXTS) == [False, True, False]
    full = processor.tokenizer(texts[1])["input_ids"]
    assert len(full) > options["max_length"]


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


@pytest.mark.parametrize("kind", ["clap", "clap_fused"])
def test_clap_hears_what_its_processor_gives(kind, configure, sounds):
    """Sounds that the processor takes whole; only the random `is_longer` is set to the truth."""
    chosen = configure(kind)
    assert chosen.reads == "originals"
    model, processor = direct(chosen)
    short = [samples_of(file) for file in sounds[:2]]
    given = processor.feature_extractor(short, sampling_rate=RATE_HZ, return_tensors="pt")
    given["is_longer"] = torch.zeros(2, 1, dtype=torch.bool)
    with torch.no_grad():
        expected = unit(model.get_audio_features(**given)).numpy()
    np.testing.assert_allclose(ours(chosen, "audio", sounds[:2]), expected, atol=1e-5)


def test_a_long_sound_is_heard_in_windows(configure, sounds):
    chosen = configure("clap")
    model, processor = direct(chosen)
    samples = samples_of(sounds[2])
    starts = [0, (len(samples) - RATE_HZ) // 2, len(samples) - RATE_HZ]
    parts = [samples[start : start + RATE_HZ] for start in starts]
    given = processor.feature_extractor(parts, sampling_rate=RATE_HZ, return_tensors="pt")
    with torch.no_grad():
        expected = unit(unit(model.get_audio_features(**given)).mean(0)).numpy()
    read = family.reader(chosen, "audio")(sounds[2])
    assert len(read) == 3
    np.testing.assert_allclose(ours(chosen, "audio", [sounds[2]])[0], expected, atol=1e-5)


def test_a_fused_sound_is_the_same_every_time_and_leaves_the_random_state(configure, sounds):
    read = family.reader(configure("clap_fused"), "audio")
    np.random.seed(7)
    first = read(sounds[2])
    assert first["is_longer"].all()
    drawn = np.random.random()
    np.random.seed(7)
    assert drawn == np.random.random()
    np.random.seed(8)
    np.testing.assert_array_equal(first["input_features"], read(sounds[2])["input_features"])


@pytest.mark.parametrize("length", [1, 9, 10, 11, 20, 21, 35])
def test_windows_cover_everything(length):
    parts = readers.windows(np.arange(length), 10)
    assert len(parts) == max(1, -(-length // 10))
    assert set(np.concatenate(parts)) == set(range(length))
    assert all(len(part) == min(10, length) for part in parts)


@pytest.mark.parametrize("protocol", PE_PARTS)
@pytest.mark.parametrize("branch", [False, True])
def test_pe_av_equals_its_forward_pass(protocol, branch, configure, clips, sounds):
    """Every embedding is compared with that of the whole network's own forward pass."""
    kind, _ = PE_PARTS[protocol]
    chosen = configure(f"pe_{kind}") if branch else configure("pe_audio_video", protocol=protocol)
    assert (chosen.modalities, chosen.reads) == ((kind, "text"), "originals")
    model, processor = direct(chosen)
    embedder = family.load(chosen, CPU)
    found = ours(chosen, kind, clips if kind == "video" else sounds)
    texts = embedder.embed("text", TEXTS)
    for index, text in enumerate(TEXTS):
        given = processor.tokenizer(text, truncation=True, max_length=40, return_tensors="pt")
        for part, file in (("video", clips[index]), ("audio", sounds[index])):
            if not branch or part == kind:
                given |= _pe_inputs(processor, file, part)
        with torch.no_grad():
            output = model(**given)
        expected = unit(getattr(output, f"{kind}_embeds"))[0]
        np.testing.assert_allclose(found[index], expected, atol=1e-5)
        expected = unit(getattr(output, f"text_{kind}_embeds"))[0]
        np.testing.assert_allclose(texts[index], expected, atol=1e-5)
    assert embedder.truncated(TEXTS) == [False, True, False]


def _pe_inputs(processor, file, kind):
    if kind == "audio":
        return processor.feature_extractor(
            samples_of(file), sampling_rate=RATE_HZ, return_tensors="pt"
        )
    import av

    with av.open(str(file.path)) as container:
        every = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
    metadata = [{"total_num_frames": len(every), "fps": 20.0}]
    return processor.video_processor(
        torch.from_numpy(every).permute(0, 3, 1, 2), video_metadata=metadata, return_tensors="pt"
    )


def test_pe_av_by_default_compares_picture_and_sound(configure, clips, sounds):
    """The texts of the two heads are not one embedding, so none is offered without a choice."""
    chosen = configure("pe_audio_video")
    assert chosen.modalities == ("video", "audio")
    assert chosen.frames == 3, "as the processor has it"
    model, processor = direct(chosen)
    given = {
        **_pe_inputs(processor, clips[0], "video"),
        **_pe_inputs(processor, sounds[0], "audio"),
    }
    with torch.no_grad():
        output = model(**given)
    for kind, file in (("video", clips[0]), ("audio", sounds[0])):
        expected = unit(getattr(output, f"{kind}_embeds"))
        np.testing.assert_allclose(ours(chosen, kind, [file]), expected, atol=1e-5)
    heads = [configure("pe_audio_video", protocol=name).protocol("text") for name in PE_PARTS]
    assert heads[0] != heads[1]


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


def test_a_folder_without_its_tokenizer(checkpoint, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(checkpoint("chinese_clip"), folder)
    for path in folder.glob("tokenizer*"):
        path.unlink()
    chosen = spec(configured(tmp_path, m={"entry": "transformers", "checkpoint": folder}), "m")
    with pytest.raises(UserError, match=r"models\.m: .* has no tokenizer .*save processor"):
        family.load(chosen, CPU)


def test_a_folder_without_its_processor_is_no_fault_of_the_clip(checkpoint, clips, tmp_path):
    """A UserError ends a job; anything else would fail every clip."""
    folder = tmp_path / "copy"
    shutil.copytree(checkpoint("clip"), folder)
    (folder / "processor_config.json").unlink()
    chosen = spec(configured(tmp_path, m={"entry": "transformers", "checkpoint": folder}), "m")
    with pytest.raises(UserError, match=r"AutoImageProcessor does not load.*save the processor"):
        family.reader(chosen, "video")(clips[0])


def test_another_networks_tokenizer_is_told(checkpoint, tmp_path):
    """Before the network is asked: on a GPU a token out of range would end the whole job."""
    folder = tmp_path / "copy"
    shutil.copytree(checkpoint("clip"), folder)
    tokenizer = hf.AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(["ball"])
    tokenizer.save_pretrained(folder)
    chosen = spec(configured(tmp_path, m={"entry": "transformers", "checkpoint": folder}), "m")
    embedder = family.load(chosen, CPU)
    assert embedder.embed("text", ["a dog"]).shape == (1, chosen.dim)
    with pytest.raises(ValueError, match=r"token \d+, but the network knows \d+: the tokenizer"):
        embedder.embed("text", ["a ball"])


def test_unreachable_hub_says_what_to_do(tmp_path, monkeypatch):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    chosen = spec(configured(tmp_path, x={"entry": "pe-av-small"}), "x")
    assert (chosen.architecture, chosen.dim, chosen.frames) == ("pe_audio_video", 1024, 16)
    with pytest.raises(UserError, match="hf download facebook/pe-av-small-16-frame"):
        family.reader(chosen, "video")


def test_weights_of_a_hub_are_checked(checkpoint, tmp_path, monkeypatch):
    """A snapshot that stands for a fetched one: its digest is recorded, and another is refused."""
    import huggingface_hub

    asked = []

    def snapshot(repository, *, revision, allow_patterns):
        asked.append((repository, revision))
        return str(checkpoint("clip"))

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    given = {"entry": "transformers", "pretrained": "us/tiny@v1", "architecture": "clip"}
    chosen = spec(configured(tmp_path, hub=given), "hub")
    found = family.load(chosen, CPU)
    assert asked == [("us/tiny", "v1")]
    assert found.weights_sha256 == sha256(checkpoint("clip") / "model.safetensors")
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


def test_every_entry_says_what_its_architecture_does(tmp_path):
    for entry in entries().values():
        if entry.backend == "transformers" and entry.architecture:
            chosen = spec(configured(tmp_path, m={"entry": entry.name}), "m")
            architecture = ARCHITECTURES[entry.architecture]
            assert set(entry.modalities) == set(chosen.modalities), entry.name
            assert (entry.reads, chosen.dim) == (architecture.reads, entry.dim), entry.name


def test_every_architecture_has_a_checkpoint_here():
    assert set(ARCHITECTURES) <= set(MAKERS)
