"""CLAP of transformers hears what its own processor and forward pass make of a sound."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
hf = pytest.importorskip("transformers")

import transformers_inputs as inputs  # noqa: E402
from transformers_checkpoints import RATE_HZ  # noqa: E402
from transformers_inputs import direct, ours, samples_of, unit  # noqa: E402

from concord.models import transformers as family  # noqa: E402
from concord.models.transformers import readers  # noqa: E402

checkpoint = inputs.checkpoint
configure = inputs.configure
sounds = inputs.sounds


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
