"""What the catalogue asks of families: which settings decide which numbers, and broken settings."""

from pathlib import Path

import pytest
from embedding_inputs import configured

from concord.errors import UserError
from concord.models.base import MODALITIES
from concord.models.catalogue import entries, spec
from concord.protocol import protocol_id

IMAGEBIND = ("imagebind-15view", "avbench-9view", "imagebind-legacy-text", "imagebind-clip-mean")


@pytest.fixture
def ids(tmp_path):
    """The protocol ids of a model's modalities."""

    def get(**keys: object) -> dict[str, str]:
        chosen = spec(configured(tmp_path, m=keys), "m")
        return {m: protocol_id(chosen.protocol(m)) for m in chosen.modalities}

    return get


def changed(before: dict[str, str], after: dict[str, str]) -> set[str]:
    return {modality for modality, found in before.items() if after[modality] != found}


def test_an_id_differs_only_where_numbers_do(ids):
    usual, views, text, mean = (ids(entry="imagebind", protocol=name) for name in IMAGEBIND)
    assert changed(usual, views) == {"video"}
    assert changed(usual, text) == {"text"}
    assert changed(usual, mean) == {"audio"}
    assert changed(usual, ids(entry="imagebind-proxy")) == {"video", "audio"}
    usual = ids(entry="clip-vit-b-32")
    assert changed(usual, ids(entry="clip-vit-b-32", frames=4)) == {"video"}
    assert changed(usual, ids(entry="clip-vit-b-32", protocol="clip-left")) == {"video"}
    for name in ("clip-imagenet", "clip-batch-script"):
        assert changed(usual, ids(entry="clip-vit-b-32", protocol=name)) == {"video", "image"}
    assert changed(usual, ids(entry="clip-vit-b-32", precision="bf16")) == set(usual)
    audio = ids(entry="pe-av-base", protocol="pe-audio-text")
    assert changed(audio, ids(entry="pe-av-base") | {"text": ""}) == {"text"}


def test_frames_are_named_where_a_model_takes_them(tmp_path):
    for entry in entries().values():
        if entry.name not in ("open_clip", "transformers"):
            chosen = spec(configured(tmp_path, m={"entry": entry.name}), "m")
            named = {m for m in MODALITIES if "frames" in chosen.protocol(m)}
            assert named == (set() if "imagebind" in entry.name else {"video"})


def folder(tmp_path: Path, backend: str, content: str) -> dict[str, object]:
    """The keys of a model whose description has this content."""
    names = {
        "transformers": ("config.json", "model.safetensors"),
        "open_clip": ("open_clip_config.json", "a.pt"),
        "imagebind": ("imagebind_config.json", "a.pth"),
    }
    description, weights = names[backend]
    (tmp_path / weights).write_bytes(b"x")
    (tmp_path / description).write_text(content)
    return {"entry": backend, "checkpoint": tmp_path}


@pytest.mark.parametrize("backend", ["transformers", "open_clip", "imagebind"])
@pytest.mark.parametrize("content", ["{", "[]", "{}", "3", ""])
def test_a_broken_description_is_named(backend, content, tmp_path):
    """While the configuration is read, so that a dry run says it too."""
    given = folder(tmp_path, backend, content)
    with pytest.raises(UserError, match=str(tmp_path)):
        spec(configured(tmp_path, m=given), "m")


@pytest.mark.parametrize(
    ("backend", "content", "message"),
    [
        ("open_clip", '{"model_cfg": []}', r"model_cfg\.embed_dim has to be, expected an object"),
        ("open_clip", '{"model_cfg": {"embed_dim": "x"}}', r"embed_dim is 'x', expected a whole"),
        ("transformers", '{"model_type": 3}', r"checkpoint: .*config\.json names no model_type"),
        ("transformers", '{"model_type": "clip", "projection_dim": -1}', r"projection_dim is -1"),
        ("transformers", '{"model_type": "siglip", "text_config": 3}', r"found 3 where text_con"),
        (
            "transformers",
            '{"model_type": "xclip", "vision_config": {"num_frames": true}}',
            r"vision_config\.num_frames is True",
        ),
    ],
)
def test_a_wrong_setting_is_named(backend, content, message, tmp_path):
    given = folder(tmp_path, backend, content)
    with pytest.raises(UserError, match=message):
        spec(configured(tmp_path, m=given), "m")


def test_a_note_in_a_folder_does_not_change_its_id(tmp_path, ids):
    given = folder(tmp_path, "transformers", '{"model_type": "clip"}')
    usual = ids(**given)
    for name in ("trainer_state.json", "all_results.json", "notes.txt", "training_args.json"):
        (tmp_path / name).write_text("{}")
    assert ids(**given) == usual
    for name in (
        *("preprocessor_config.json", "tokenizer_config.json", "vocab.txt", "merges.txt"),
        *("tokenizer.model", "spiece.model", "special_tokens_map.json"),
    ):
        before = ids(**given)
        (tmp_path / name).write_text("{}")
        assert changed(before, ids(**given)) == set(before), name
