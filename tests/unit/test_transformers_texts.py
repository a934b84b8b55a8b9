"""Texts of the transformers family: as the network reads them, by its own tokenizer."""

import shutil
from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
hf = pytest.importorskip("transformers")

import transformers_inputs as inputs  # noqa: E402
from embedding_inputs import configured  # noqa: E402
from transformers_inputs import CPU, FRAME_MODELS, TEXTS, direct, unit  # noqa: E402

from concord.errors import UserError  # noqa: E402
from concord.models import transformers as family  # noqa: E402
from concord.models.catalogue import spec  # noqa: E402
from concord.models.transformers.texts import _mismatch  # noqa: E402

checkpoint = inputs.checkpoint
configure = inputs.configure


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


def test_a_folder_without_its_tokenizer(checkpoint, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(checkpoint("chinese_clip"), folder)
    for path in folder.glob("tokenizer*"):
        path.unlink()
    chosen = spec(configured(tmp_path, m={"entry": "transformers", "checkpoint": folder}), "m")
    with pytest.raises(UserError, match=r"models\.m: .* has no tokenizer .*save processor"):
        family.load(chosen, CPU)


@pytest.mark.parametrize(
    ("architecture", "other"),
    [
        ("clip", "clap"),
        ("clip", "siglip"),
        ("xclip", "altclip"),
        ("siglip", "clip"),
        ("siglip2", "chinese_clip"),
        ("chinese_clip", "siglip"),
        ("altclip", "clip"),
        ("clap", "clip"),
        ("pe_video", "chinese_clip"),
        ("pe_audio_video", "clap"),
    ],
)
def test_another_networks_tokenizer_is_refused(architecture, other, checkpoint, tmp_path):
    """Also where the network knows all of its tokens, and would make scores of them."""
    folder = tmp_path / "copy"
    shutil.copytree(checkpoint(architecture), folder)
    for path in folder.glob("tokenizer*"):
        path.unlink()
    hf.AutoTokenizer.from_pretrained(checkpoint(other)).save_pretrained(folder)
    chosen = spec(configured(tmp_path, m={"entry": "transformers", "checkpoint": folder}), "m")
    with pytest.raises(UserError, match=r"copy/tokenizer\.json is not that of .*copy/config\.json"):
        family.load(chosen, CPU)


def test_a_token_that_was_added_is_refused(checkpoint, tmp_path):
    """On a GPU a token out of range would end the whole job."""
    folder = tmp_path / "copy"
    shutil.copytree(checkpoint("clip"), folder)
    tokenizer = hf.AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(["ball"])
    tokenizer.save_pretrained(folder)
    chosen = spec(configured(tmp_path, m={"entry": "transformers", "checkpoint": folder}), "m")
    with pytest.raises(UserError, match=r"it has \d+ tokens, and text_config\.vocab_size is \d+"):
        family.load(chosen, CPU)


@pytest.mark.parametrize(
    ("architecture", "change", "fault"),
    [
        ("clip", {"eos_token_id": 2}, None),
        ("clip", {"eos_token_id": 7}, "its eos_token_id is 49407, and the network's is 7"),
        ("xclip", {"eos_token_id": 7}, None),
        ("siglip", {"eos_token_id": 7, "pad_token_id": 9}, None),
        ("clap", {"pad_token_id": 9}, "its pad_token_id is 1, and the network's is 9"),
        ("clip", {"vocab_size": 49472}, None),
        ("clip", {"vocab_size": 49413}, "it has 49408 tokens"),
        ("clip", {"vocab_size": 50264}, "it has 49408 tokens"),
    ],
)
def test_what_published_checkpoints_have_is_no_mismatch(architecture, change, fault):
    """Old CLIPs name a wrong end mark, SigLIPs marks of CLIP; vocabularies are rounded up."""
    tokenizer = SimpleNamespace(
        get_vocab=lambda: {"a": 0, "z": 49407}, eos_token_id=49407, pad_token_id=1
    )
    text = {"vocab_size": 49408, "eos_token_id": 49407, "pad_token_id": 1} | change
    found = _mismatch(architecture, tokenizer, SimpleNamespace(**text))
    assert found == fault if fault is None else found.startswith(fault)
