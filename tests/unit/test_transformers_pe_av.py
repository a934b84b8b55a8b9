"""PE-AV of transformers equals its network's own forward pass."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
hf = pytest.importorskip("transformers")

import transformers_inputs as inputs  # noqa: E402
from transformers_inputs import CPU, TEXTS, direct, ours, pe_inputs, unit  # noqa: E402

from concord.errors import UserError  # noqa: E402
from concord.models import transformers as family  # noqa: E402

checkpoint = inputs.checkpoint
clips = inputs.clips
configure = inputs.configure
sounds = inputs.sounds
PARTS = {"pe-video-text": ("video", "text"), "pe-audio-text": ("audio", "text")}


@pytest.mark.parametrize("protocol", PARTS)
@pytest.mark.parametrize("branch", [False, True])
def test_pe_av_equals_its_forward_pass(protocol, branch, configure, clips, sounds):
    """Every embedding is compared with that of the whole network's own forward pass."""
    kind, _ = PARTS[protocol]
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
                given |= pe_inputs(processor, file, part)
        with torch.no_grad():
            output = model(**given)
        expected = unit(getattr(output, f"{kind}_embeds"))[0]
        np.testing.assert_allclose(found[index], expected, atol=1e-5)
        expected = unit(getattr(output, f"text_{kind}_embeds"))[0]
        np.testing.assert_allclose(texts[index], expected, atol=1e-5)
    assert embedder.truncated(TEXTS) == [False, True, False]


def test_a_network_that_is_built_otherwise_is_no_traceback(configure, monkeypatch):
    monkeypatch.delattr(hf.PeAudioVideoModel, "_tied_weights_keys")
    monkeypatch.setattr(hf.PreTrainedModel, "_tied_weights_keys", None, raising=False)
    with pytest.raises(UserError, match=r"builds PE-AV otherwise than 5\.23.*install"):
        family.load(configure("pe_audio_video"), CPU)


def test_pe_av_by_default_compares_picture_and_sound(configure, clips, sounds):
    """The texts of the two heads are not one embedding, so none is offered without a choice."""
    chosen = configure("pe_audio_video")
    assert chosen.modalities == ("video", "audio")
    assert chosen.frames == 3, "as the processor has it"
    model, processor = direct(chosen)
    given = {
        **pe_inputs(processor, clips[0], "video"),
        **pe_inputs(processor, sounds[0], "audio"),
    }
    with torch.no_grad():
        output = model(**given)
    for kind, file in (("video", clips[0]), ("audio", sounds[0])):
        expected = unit(getattr(output, f"{kind}_embeds"))
        np.testing.assert_allclose(ours(chosen, kind, [file]), expected, atol=1e-5)
    heads = [configure("pe_audio_video", protocol=name).protocol("text") for name in PARTS]
    assert heads[0] != heads[1]
