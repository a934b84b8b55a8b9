"""ImageBind's sounds, texts, pictures, maps and motion: equal to the reference's."""

import pickle
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from exact_media import noise, write_sound
from PIL import Image
from torch.nn import functional as F
from torchaudio.compliance.kaldi import fbank
from torchvision import transforms

from concord.models.base import MediaFile, ModelSpec
from concord.models.catalogue import protocols
from concord.models.imagebind import text, views
from concord.models.imagebind.audio import AudioReader, clip_bounds, mel_clips
from concord.models.imagebind.pictures import read_image, read_imu, read_map
from concord.models.imagebind.readers import reader
from concord.models.imagebind.video import VIDEO_READERS

MEAN = torch.tensor([0.48145466, 0.4578275, 0.40821073]).reshape(3, 1, 1, 1)
STD = torch.tensor([0.26862954, 0.26130258, 0.27577711]).reshape(3, 1, 1, 1)
PADDING = 0.46706


def spec(**options: str) -> ModelSpec:
    modalities = ("video", "audio", "text", "image", "depth", "thermal", "imu")
    return ModelSpec("i", "imagebind", modalities, 1024, "", "", options=options)


def expand(given: np.ndarray) -> torch.Tensor:
    return views.expand("image", {}, torch.from_numpy(np.array(given)))


# The reference's values


@pytest.mark.shared
@pytest.mark.parametrize(
    "name", ["imagebind_dog_audio.wav", "clapscore_train.wav", "languagebind_1.wav"]
)
def test_real_sounds_give_the_reference_features(shared: Path, name: str) -> None:
    golden = np.load(shared / "golden/imagebind_preprocess.npz")[f"audio/{name}"]
    found = AudioReader("running")(MediaFile(shared / "media/audio" / name))
    np.testing.assert_allclose(found, golden, atol=1e-4)


@pytest.mark.shared
def test_texts_give_the_reference_ids(shared: Path) -> None:
    golden = np.load(shared / "golden/imagebind_tiny.npz")["in/text"]
    found = text.tokens(["A dog.", "A car", "a very long " + "word " * 100], "kept")
    np.testing.assert_array_equal(found, golden)


# Sound


def reference_features(samples: np.ndarray, in_place: bool) -> np.ndarray:
    """The reference's steps, in numpy but for Kaldi's features."""
    wave, features = samples.copy(), []
    room = Fraction(max(wave.shape[1] / 16000 - 2, 0)) / 2
    for start in (0 * room, room, 2 * room):
        part = wave[:, int(start * 16000) : int((start + 2) * 16000)]
        part = part if in_place else part.copy()
        part -= torch.from_numpy(part).mean().numpy()
        mel = fbank(
            torch.from_numpy(part.copy()),
            htk_compat=True,
            sample_frequency=16000,
            use_energy=False,
            window_type="hanning",
            num_mel_bins=128,
            dither=0.0,
            frame_length=25,
            frame_shift=10,
        ).T
        features.append(F.pad(mel, (0, 204 - mel.shape[1]))[None])
    return ((torch.stack(features) + 4.268) / 9.138).numpy()


@pytest.mark.parametrize("seconds", [0.025, 0.4, 1.99, 2, 2.6, 5.3, 6, 11.7])
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_features_are_the_reference_arithmetic(seconds: float, channels: int) -> None:
    samples = noise(channels, seconds)
    before = samples.copy()
    found = mel_clips(samples, "running")
    assert found.shape == (3, 1, 128, 204)
    np.testing.assert_allclose(found, reference_features(samples, in_place=True), atol=1e-5)
    np.testing.assert_array_equal(samples, before)
    alone = mel_clips(samples, "clip")
    np.testing.assert_allclose(alone, reference_features(samples, in_place=False), atol=1e-5)


def test_overlapping_clips_see_what_was_subtracted() -> None:
    """Below 6 s the clips overlap, and the reference's subtraction in place shows."""
    short, long = noise(2, 3), noise(2, 6)
    assert np.abs(mel_clips(short, "running") - mel_clips(short, "clip")).max() > 1e-3
    np.testing.assert_allclose(mel_clips(long, "running"), mel_clips(long, "clip"), atol=1e-4)


@pytest.mark.parametrize("mean", ["running", "clip"])
def test_a_long_sound_is_not_copied(mean) -> None:
    """This one of 4 TB, which repeats a sample, could not be."""
    samples = np.lib.stride_tricks.as_strided(np.zeros(1, np.float32), (1, 10**12), (0, 0))
    assert mel_clips(samples, mean).shape == (3, 1, 128, 204)


def test_two_seconds_are_198_frames_and_padding() -> None:
    features = mel_clips(noise(1, 9), "running")
    np.testing.assert_allclose(features[..., 198:], PADDING, atol=1e-5)
    assert (np.abs(features[..., :198] - PADDING) > 1e-3).any(axis=2).all()


def test_a_second_of_sound_is_heard_three_times() -> None:
    features = mel_clips(noise(1, 1), "running")
    np.testing.assert_allclose(features[1], features[0], atol=1e-3)
    np.testing.assert_allclose(features[..., 98:], PADDING, atol=1e-5)


def test_clips_are_spread_evenly() -> None:
    assert clip_bounds(160_000) == [(0, 32_000), (64_000, 96_000), (128_000, 160_000)]
    assert clip_bounds(16_000) == [(0, 32_000)] * 3


def test_less_than_one_frame_is_too_short() -> None:
    with pytest.raises(ValueError, match="too_short"):
        mel_clips(noise(1, 0.02), "running")


def test_other_rates_are_resampled_like_the_reference(tmp_path: Path) -> None:
    from torchaudio.functional import resample

    samples = noise(2, 2.5, 44_100)
    path = write_sound(tmp_path / "a.wav", samples, 44_100)
    at_16k = resample(torch.from_numpy(samples), 44_100, 16_000).numpy()
    found = AudioReader("running")(MediaFile(path))
    np.testing.assert_allclose(found, reference_features(at_16k, in_place=True), atol=1e-5)


# Text


def test_long_text_keeps_or_loses_its_end() -> None:
    texts = ["word " * 75, "word " * 76, "word " * 200]
    kept, lost = text.tokens(texts, "kept"), text.tokens(texts, "lost")
    assert text.truncated(texts) == [False, True, True]
    assert list(kept[:, -1]) == [text.END] * 3
    assert lost[0, -1] == text.END
    assert text.END not in lost[1:]
    np.testing.assert_array_equal(kept[:, :-1], lost[:, :-1])
    with pytest.raises(ValueError, match="end_token 'gone'"):
        text.tokens(texts, "gone")


def test_text_is_repaired_unescaped_and_lowered() -> None:
    found = text.tokens(["caf\u00c3\u00a9 &amp;amp; A  DOG", "caf\u00e9 & a dog", ""], "kept")
    np.testing.assert_array_equal(found[0], found[1])
    assert list(found[2, :3]) == [text.START, text.END, 0]


def test_special_tokens_are_spelt_as_published() -> None:
    found = text.tokens(["a <|endoftext|> b", "a <end_of_text> b"], "kept")
    assert (found == text.END).sum(axis=1).tolist() == [2, 1]


# Pictures, maps, motion


@pytest.mark.parametrize("size", [(300, 200), (201, 333), (224, 224), (50, 40)])
@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P"])
def test_images_are_the_reference_transform(
    tmp_path: Path, size: tuple[int, int], mode: str
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    path = tmp_path / "a.png"
    Image.fromarray(pixels).convert(mode).save(path)
    expected = transforms.Compose(
        [
            transforms.Resize(224, interpolation=transforms.InterpolationMode.BICUBIC),
            transforms.CenterCrop(224),
            transforms.ToTensor(),
            transforms.Normalize(MEAN.flatten().tolist(), STD.flatten().tolist()),
        ]
    )(Image.open(path).convert("RGB"))
    given = read_image(MediaFile(path))
    assert views.count("image", {}, given) == 1
    torch.testing.assert_close(expand(given), expected[None], atol=1e-6, rtol=0)


@pytest.mark.parametrize(("mode", "top"), [("L", 255), ("I;16", 65535)])
def test_maps_of_integers_are_scaled_by_their_range(tmp_path: Path, mode: str, top: int) -> None:
    ramp = np.linspace(0, top, 448).round().astype(np.uint8 if top == 255 else np.uint16)
    path = tmp_path / "a.png"
    Image.fromarray(np.tile(ramp, (448, 1))).save(path)
    found = read_map(MediaFile(path))
    assert found.shape == (1, 1, 224, 224)
    expected = ramp.reshape(224, 2).mean(1) / top
    np.testing.assert_allclose(found[0, 0, 100], expected, atol=1.5 / 255)


def test_maps_of_numbers_are_used_as_they_are(tmp_path: Path) -> None:
    path, values = tmp_path / "a.npy", np.full((300, 500), 17.25, np.float64)
    np.save(path, values)
    np.testing.assert_allclose(read_map(MediaFile(path)), 17.25, rtol=1e-6)
    values[150, 250] = np.nan
    np.save(path, values)
    with pytest.raises(ValueError, match="not_finite"):
        read_map(MediaFile(path))


@pytest.mark.parametrize("steps", [6, 100, 2000, 2500])
def test_motion_is_cut_or_padded(tmp_path: Path, steps: int) -> None:
    readings = np.random.default_rng(0).normal(size=(6, steps)).astype(np.float32)
    found = []
    for name, array in (("a.npy", readings), ("b.npy", readings.T)):
        np.save(tmp_path / name, array)
        found.append(read_imu(MediaFile(tmp_path / name)))
    assert found[0].shape == (1, 6, 2000)
    np.testing.assert_array_equal(found[0][0, :, :steps], readings[:, :2000])
    assert not found[0][0, :, steps:].any()
    if steps != 6:
        np.testing.assert_array_equal(found[0], found[1])


@pytest.mark.parametrize("shape", [(5, 100), (6,), (0, 6)])
def test_other_shapes_are_no_motion(tmp_path: Path, shape: tuple[int, ...]) -> None:
    np.save(tmp_path / "a.npy", np.zeros(shape))
    with pytest.raises(ValueError, match=r"unreadable|no_samples"):
        read_imu(MediaFile(tmp_path / "a.npy"))


def test_pickled_numbers_are_not_run(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([[{}]], object), allow_pickle=True)
    with pytest.raises(ValueError, match="unreadable"):
        read_imu(MediaFile(tmp_path / "a.npy"))


@pytest.mark.parametrize("read", [read_image, read_map])
@pytest.mark.parametrize("content", [b"", b"no picture" * 50])
def test_what_is_no_picture_is_unreadable(tmp_path: Path, read, content: bytes) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="unreadable"):
        read(MediaFile(path))


# Readers


@pytest.mark.parametrize("modality", ["video", "audio", "image", "depth", "thermal", "imu"])
def test_readers_travel_to_other_processes(modality) -> None:
    read = reader(spec(views="avbench-9view", audio_mean="clip"), modality)
    assert pickle.loads(pickle.dumps(read)) == read


def test_options_choose_the_reader() -> None:
    assert reader(spec(), "video") == VIDEO_READERS["15view"]
    assert reader(spec(views="avbench-9view"), "video") == VIDEO_READERS["avbench-9view"]
    assert reader(spec(audio_mean="clip"), "audio") == AudioReader("clip")
    for protocol, mean in (("imagebind-15view", "running"), ("imagebind-clip-mean", "clip")):
        options = protocols()[protocol].options
        assert reader(spec(**options), "audio") == AudioReader(mean)
        assert reader(spec(**options), "video") == VIDEO_READERS["15view"]
    with pytest.raises(ValueError, match="views '3view', expected one of 15view, avbench-9view"):
        reader(spec(views="3view"), "video")
    with pytest.raises(ValueError, match="no files for text"):
        reader(spec(), "text")
