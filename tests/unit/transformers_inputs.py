"""Checkpoints, clips and sounds for the tests of the transformers family, and its own results.

A test module takes the fixtures that it needs: `clips = inputs.clips`.
"""

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
hf = pytest.importorskip("transformers")

import soundfile  # noqa: E402
from embedding_inputs import configured  # noqa: E402
from safetensors.torch import load_file  # noqa: E402
from transformers_checkpoints import RATE_HZ, make  # noqa: E402

from concord.models import transformers as family  # noqa: E402
from concord.models.base import MediaFile  # noqa: E402
from concord.models.catalogue import spec  # noqa: E402

CPU = torch.device("cpu")
TEXTS = ["A red ball", "two dogs bark, 红色的球落在地上 " * 6, "una"]
FRAME_MODELS = ["clip", "siglip", "siglip2", "chinese_clip", "altclip"]
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


def pe_inputs(processor, file, kind):
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
