"""concord-mini: its inputs, its network, its weights and the family `mini`."""

import csv
import json
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from concord.errors import UserError
from concord.mini import network as mini
from concord.mini.inputs import FRAME_SIZE, MAX_WINDOWS, RATE_HZ, WINDOW_S, audio_windows
from concord.models.base import MediaFile, ModelSpec
from concord.models.mini import WEIGHTS, MiniEmbedder, load, read_audio, reader
from concord.training.mini import augment_waves, contrastive_loss, evaluate, train

SPEC = ModelSpec("mini", "mini", ("video", "audio", "text"), mini.DIM, "own", "this project")
CPU = torch.device("cpu")
SIZE = round(WINDOW_S * RATE_HZ)


@pytest.fixture(scope="module")
def embedder() -> MiniEmbedder:
    torch.set_num_threads(2)
    return load(SPEC, CPU)


def random_views(rng: np.random.Generator, count: int) -> np.ndarray:
    return rng.standard_normal((count, SIZE), dtype=np.float32)


@pytest.mark.parametrize(
    ("seconds", "windows"),
    [(0.01, 1), (2.9, 1), (3.0, 1), (5.9, 1), (6.0, 2), (600.0, MAX_WINDOWS)],
)
def test_windows_cover_a_sound_of_any_length(seconds: float, windows: int) -> None:
    samples = np.arange(1, round(seconds * RATE_HZ) + 1, dtype=np.float32)
    views = audio_windows(samples)
    assert views.shape == (windows, SIZE)
    assert views[0, 0] == 1
    if windows > 1:
        assert views[-1, -1] == samples[-1]


def test_a_short_sound_is_padded_with_silence() -> None:
    views = audio_windows(np.ones(10, np.float32))
    assert views[0, :10].tolist() == [1] * 10
    assert not views[0, 10:].any()


def test_known_parts_of_unknown_words_are_kept() -> None:
    assert mini.tokenize("Red!") == mini.tokenize("red")
    assert set(mini.tokenize("squared")) & set(mini.tokenize("square"))
    assert mini.tokenize("") == mini.tokenize("!?") == []
    assert max(mini.tokenize("Ein rotes Quadrat 红色方块 مربع أحمر")) < mini.BUCKETS


def test_log_mel_ignores_the_level_and_survives_silence() -> None:
    encoder = mini.AudioEncoder()
    wave = torch.from_numpy(random_views(np.random.default_rng(0), 1))
    assert torch.allclose(encoder.log_mel(wave), encoder.log_mel(wave * 0.1), atol=1e-4)
    assert torch.isfinite(encoder.log_mel(torch.zeros(1, SIZE))).all()


def test_log_mel_puts_a_tone_at_its_place_on_the_mel_scale() -> None:
    t = torch.arange(SIZE) / RATE_HZ
    tone = mini.AudioEncoder().log_mel(torch.sin(2 * np.pi * 1000 * t)[None])[0]
    low, here, high = (2595 * np.log10(1 + hz / 700) for hz in (50, 1000, 8000))
    expected = (here - low) / (high - low) * 65 - 1
    assert tone.mean(1).argmax().item() == pytest.approx(expected, abs=1)


def test_reader_gives_frames_at_interval_centres(tmp_path: Path) -> None:
    import av

    path = tmp_path / "grey.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", 20, {"crf": "1"})
        stream.width, stream.height, stream.pix_fmt = 224, 398, "yuv420p"
        for level in range(40, 200, 4):
            image = np.full((398, 224, 3), level, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image)))
        container.mux(stream.encode())
    views = pickle.loads(pickle.dumps(reader(SPEC, "video")))(MediaFile(path))
    assert views.shape == (1, 8, 3, FRAME_SIZE, FRAME_SIZE)
    assert views.dtype == np.uint8
    expected = [40 + 4 * i for i in (2, 7, 12, 17, 22, 27, 32, 37)]
    assert np.allclose(views.mean((0, 2, 3, 4)), expected, atol=2)


def test_reader_gives_windows_of_a_wave(tmp_path: Path) -> None:
    path = tmp_path / "wave.wav"
    samples = np.random.default_rng(0).uniform(-1, 1, 2 * SIZE).astype(np.float32)
    soundfile.write(path, samples, RATE_HZ, subtype="FLOAT")
    views = pickle.loads(pickle.dumps(reader(SPEC, "audio")))(MediaFile(path))
    assert np.array_equal(views, samples.reshape(2, SIZE))


def test_waves_that_cannot_be_used_say_why(tmp_path: Path) -> None:
    cases = {"no_samples": np.zeros(0, np.float32), "not_finite": np.array([0, np.nan], np.float32)}
    for reason, samples in cases.items():
        soundfile.write(tmp_path / f"{reason}.wav", samples, RATE_HZ, subtype="FLOAT")
        with pytest.raises(ValueError, match=reason):
            read_audio(MediaFile(tmp_path / f"{reason}.wav"))
    (tmp_path / "text.wav").write_text("no sound")
    soundfile.write(tmp_path / "other.wav", np.zeros(100), 8000)
    for name in ("text.wav", "other.wav", "absent.wav"):
        with pytest.raises(ValueError, match="unreadable"):
            read_audio(MediaFile(tmp_path / name))


def test_there_is_no_reader_of_texts() -> None:
    with pytest.raises(ValueError, match="text"):
        reader(SPEC, "text")


def test_decoder_processes_do_not_import_torch() -> None:
    code = "import concord.models.mini, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_embeddings_are_unit_vectors_of_anything(embedder: MiniEmbedder) -> None:
    rng = np.random.default_rng(1)
    clips = [rng.integers(0, 255, (1, t, 3, 64, 64), dtype=np.uint8) for t in (8, 8)]
    one_frame = [np.zeros((1, 1, 3, 64, 64), np.uint8)]
    sounds = [random_views(rng, 1), np.zeros((2, SIZE), np.float32)]
    texts = ["a small red square", "", "word " * 5000, "한국어 🙂", "zxqv"]
    for vectors, count in (
        (embedder.embed("video", clips), 2),
        (embedder.embed("video", one_frame), 1),
        (embedder.embed("audio", sounds), 2),
        (embedder.embed("text", texts), 5),
    ):
        assert vectors.shape == (count, mini.DIM)
        assert vectors.dtype == np.float32
        assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert embedder.truncated(texts) == [False] * 5


def test_a_clip_is_the_mean_of_its_views_whatever_else_is_in_the_batch(
    embedder: MiniEmbedder,
) -> None:
    rng = np.random.default_rng(2)
    clips = [random_views(rng, count) for count in (3, 1, 70)]
    together = embedder.embed("audio", clips)
    alone = np.concatenate([embedder.embed("audio", [clip]) for clip in clips])
    assert np.allclose(together, alone, atol=1e-5)
    mean = embedder.embed("audio", [view[None] for view in clips[0]]).mean(0)
    assert np.allclose(together[0], mean / np.linalg.norm(mean), atol=1e-5)


@pytest.mark.parametrize("most", [1, 5])
def test_the_size_of_a_pass_changes_nothing(
    embedder: MiniEmbedder, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    rng = np.random.default_rng(2)
    clips = [random_views(rng, count) for count in (3, 1, 7)]
    together = embedder.embed("audio", clips)
    monkeypatch.setattr(embedder.passes, "most", most)
    assert np.allclose(embedder.embed("audio", clips), together, atol=1e-5)


def test_packaged_weights_find_held_out_clips_far_over_chance(embedder: MiniEmbedder) -> None:
    for row in evaluate(embedder.network, seed=5):
        assert row["recall_at_1"] >= 20 * row["chance"], row
        assert row["shuffled"] <= 6 * row["chance"], row


def test_packaged_weights_are_small_and_say_how_they_were_made() -> None:
    assert WEIGHTS.stat().st_size < 4_000_000
    with safe_open(WEIGHTS, "np") as file:
        provenance = json.loads(file.metadata()["concord"])
    assert provenance["seed"] == 0
    assert {"steps", "torch", "training_version"} <= provenance.keys()


def test_saved_weights_load_again(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = mini.MiniNetwork()
    mini.save(network, tmp_path / "w.safetensors", {"seed": 1})
    again = mini.load(tmp_path / "w.safetensors")
    for name, values in network.state_dict().items():
        assert torch.allclose(values, again.state_dict()[name], rtol=1e-3, atol=1e-6)


def test_another_models_weights_are_refused_in_words(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    save_file({"a": torch.zeros(1)}, path)
    (tmp_path / "text.safetensors").write_text("hello")
    for checkpoint in (path, tmp_path / "text.safetensors", tmp_path / "absent.safetensors"):
        spec = ModelSpec(**{**SPEC.__dict__, "checkpoint": str(checkpoint)})
        with pytest.raises(UserError, match=checkpoint.name):
            load(spec, CPU)


def test_contrastive_loss_is_small_only_for_the_right_pairs() -> None:
    vectors = torch.eye(4)
    scale = torch.tensor(20.0)
    assert contrastive_loss(vectors, vectors, scale) < 1e-6
    assert contrastive_loss(vectors, vectors.roll(1, 0), scale) > 19
    uniform = contrastive_loss(vectors, torch.ones(4, 4) / 2, scale)
    assert uniform.item() == pytest.approx(np.log(4))


def test_augmented_waves_keep_their_sound() -> None:
    wave = torch.sin(torch.arange(4000.0))[None]
    changed = augment_waves(wave, np.random.default_rng(0))
    assert changed.shape == wave.shape
    assert changed.norm().item() == pytest.approx(wave.norm().item(), rel=0.02)
    assert not torch.allclose(changed, wave, atol=0.1)


def test_training_is_the_same_for_the_same_seed(tmp_path: Path) -> None:
    paths = [tmp_path / f"{name}.safetensors" for name in "abc"]
    metrics = tmp_path / "metrics.csv"
    for path, seed in zip(paths, (0, 1, 0), strict=True):
        train(path, seed=seed, steps=2, variants=1, threads=1, metrics=metrics if seed else None)
    first, other, again = (path.read_bytes() for path in paths)
    assert first == again != other
    rows = list(csv.DictReader(metrics.open()))
    assert len(rows) == 6
    assert {row["n"] for row in rows} == {"61"}
