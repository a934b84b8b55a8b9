"""`concord score`: the workflow's numbers for a few files, and clear words where there is none."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from embedding_inputs import write_proxy, write_tiny_open_clip
from imagebind_checkpoint import write_tiny
from PIL import Image
from typer.testing import CliRunner, Result

from concord.cli import app
from concord.clips.plan import plan
from concord.config import Config
from concord.layout import Layout
from concord.media.protocol import media_protocol
from concord.media.shard import process_shard
from concord.mini.demo import demo_scenes, encode_clip
from concord.mini.render import render_frames, render_sound
from concord.models.catalogue import spec
from concord.models.shard import Means, embed_media, embed_texts
from concord.models.weights import sha256
from concord.scores.score import score
from concord.tables import SCORES, read_metadata, read_table

TASKS = ("video_text", "audio_text", "av_consistency")


def call(*words: object) -> Result:
    return CliRunner().invoke(app, ["score", *map(str, words)])


def scored(*words: object) -> dict[str, Any]:
    result = call(*words, "--json")
    assert result.exit_code == 0, result.stderr
    content: dict[str, Any] = json.loads(result.stdout)
    return content


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip with sound, alone in its folder."""
    scene = demo_scenes()[0]
    frames = render_frames(scene, np.arange(60) / 20, 192, 144)
    made = tmp_path_factory.mktemp("clips") / "sample_1.mp4"
    made.write_bytes(encode_clip(frames, render_sound(scene, 32000)))
    return made


def workflow(
    results: Path, clip: Path, text: str, tasks: tuple[str, ...] = TASKS, **keys: object
) -> dict[str, tuple[float, str]]:
    """Value and protocol of each task for one clip, as the workflow's jobs write them.

    `keys` are those of the model, which is mini without any.
    """
    given = {"entry": "mini", **keys}
    prompts = results.parent / "prompts.json"
    prompts.write_text(json.dumps([{"index": 1, "video_prompt": text, "audio_prompt": text}]))
    config = Config.model_validate(
        {
            "results": results,
            "collections": {"c": str(clip.parent)},
            "prompts": str(prompts),
            "models": {"m": given},
        }
    )
    chosen = spec(config, "m")
    plan(config)
    places = Layout(config, {"m": chosen})
    media, means = places.media("c"), Means.of(config, "m")
    made = media_protocol(config, "c")
    shard = f"{media[0].parent.name}.parquet"
    process_shard(
        places.clips("c").parent / "plan" / shard,
        media[0],
        made,
        workers=1,
        timeout_s=60,
        memory_mb=1500,
    )
    found = {}
    for task in tasks:
        needed = {m: files for m, files in places.needed(task, "m", "c").items() if files}
        for modality, (output,) in needed.items():
            if modality == "text":
                texts = results / "prompts" / "prompts" / "plan" / shard
                embed_texts([texts], output, chosen, means)
            else:
                embed_media(media, output, chosen, modality, means, made)
        output = places.score(task, "m", "c")
        score(
            task,
            output,
            collection="c",
            clips=places.clips("c"),
            media=media,
            embeddings=needed,
            audio=config.audio.model_dump(),
            seed=0,
        )
        (row,) = read_table(output, SCORES).to_pylist()
        found[task] = row["value"], read_metadata(output)["protocol_id"]
    return found


def test_numbers_and_protocols_are_the_workflows(clip, tmp_path):
    text = "a red ball bounces"
    expected = workflow(tmp_path / "results", clip, text)
    content = scored("--video", clip, "--audio", clip, "--text", text, "--model", "mini")
    assert content["licence"] == "Concord's own"
    found = {
        (pair["first"]["modality"], pair["second"]["modality"]): pair for pair in content["pairs"]
    }
    assert list(found) == [("video", "audio"), ("video", "text"), ("audio", "text")]
    for task, kinds in zip(
        TASKS, (("video", "text"), ("audio", "text"), ("video", "audio")), strict=True
    ):
        assert found[kinds]["cosine"] == pytest.approx(expected[task][0], abs=1e-6)
        assert found[kinds]["protocol_id"] == expected[task][1]


def test_texts_of_pe_av_go_through_the_head_of_what_they_are_compared_with(clip, tmp_path):
    """One modality at a time is embedded, and that must not choose the head."""
    pytest.importorskip("transformers")
    from transformers_checkpoints import make

    text, task = "a red ball bounces", "audio_text"
    checkpoint = str(make("pe_audio_video", tmp_path / "checkpoint"))
    keys = {"entry": "transformers", "checkpoint": checkpoint, "protocol": "pe-audio-text"}
    expected = workflow(tmp_path / "results", clip, text, (task,), **keys, workers=1)
    words = [word for key, value in keys.items() for word in (f"--{key}", value)]
    words[0] = "--model"
    (pair,) = scored("--audio", clip, "--text", text, *words)["pairs"]
    assert pair["cosine"] == pytest.approx(expected[task][0], abs=1e-6)
    assert pair["protocol_id"] == expected[task][1]


def test_the_digest_of_fetched_weights_is_told(tmp_path, monkeypatch):
    """Which only the job that loaded them knows."""
    pytest.importorskip("transformers")
    import huggingface_hub
    from transformers_checkpoints import make

    folder = make("clip", tmp_path / "snapshots" / "0123abc")
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: str(folder))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    Image.fromarray(np.zeros((40, 40, 3), np.uint8)).save(tmp_path / "a.png")
    content = scored(
        *("--image", tmp_path / "a.png", "--text", "a dog", "--model", "transformers"),
        *("--architecture", "clip", "--pretrained", "us/tiny", "--device", "cpu"),
    )
    assert content["weights_sha256"] == sha256(folder / "model.safetensors")


def test_every_two_inputs_of_different_kinds_are_a_row(clip, tmp_path):
    other = write_proxy(tmp_path / "other.mp4")
    result = call(
        *("--video", clip, "--video", other, "--text", "a ball", "--text", "a bell"),
        *("--text", "a ball", "--model", "mini"),
    )
    assert result.exit_code == 0, result.stderr
    rows = [line for line in result.stdout.splitlines() if line.startswith("video ")]
    assert len(rows) == 4, "two videos by two texts; a text given twice counts once"
    assert "licence Concord's own" in result.stdout


def test_an_image_and_a_text_through_clip(tmp_path):
    torch = pytest.importorskip("torch")
    import open_clip

    weights = write_tiny_open_clip(tmp_path / "tiny")
    picture = np.random.default_rng(0).integers(0, 256, (80, 100, 3), dtype=np.uint8)
    Image.fromarray(picture).save(tmp_path / "a.png")
    content = scored(
        *("--image", tmp_path / "a.png", "--text", "a dog", "--model", "open_clip"),
        *("--checkpoint", weights, "--precision", "fp32"),
    )
    model, _, transform = open_clip.create_model_and_transforms(f"local-dir:{weights.parent}")
    tokens = open_clip.get_tokenizer(f"local-dir:{weights.parent}")(["a dog"])
    with torch.no_grad():
        image = model.eval().encode_image(transform(Image.fromarray(picture))[None], True)
        expected = float((image * model.encode_text(tokens, True)).sum())
    (pair,) = content["pairs"]
    assert pair["cosine"] == pytest.approx(expected, abs=1e-6)


def test_the_batch_script_recipe_reads_the_original(tmp_path):
    """Frames i*(N//n) of the file itself, which is larger than its proxy would be."""
    torch = pytest.importorskip("torch")
    import av
    import open_clip
    from torchvision import transforms

    weights = write_tiny_open_clip(tmp_path / "tiny")
    video = write_proxy(tmp_path / "large.mp4", 30, (640, 480))
    options = ("--video", video, "--text", "a dog", "--model", "open_clip", "--precision", "fp32")
    found, other = (
        scored(*options, "--checkpoint", weights, "--protocol", name)["pairs"][0]["cosine"]
        for name in ("clip-batch-script", "clip-centres")
    )
    transform = transforms.Compose(
        [
            transforms.Resize((64, 64)),
            transforms.ToTensor(),
            transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ]
    )
    with av.open(str(video)) as container:
        frames = [frame.to_image() for frame in container.decode(video=0)]
    pictures = torch.stack([transform(frames[i * (len(frames) // 8)]) for i in range(8)])
    model = open_clip.create_model(f"local-dir:{weights.parent}").eval()
    tokens = open_clip.get_tokenizer(f"local-dir:{weights.parent}")(["a dog"])
    with torch.no_grad():
        features, text = model.visual(pictures).mean(0), model.encode_text(tokens)[0]
        expected = float(torch.nn.functional.cosine_similarity(features, text, 0))
    assert found == pytest.approx(expected, abs=1e-5)
    assert other != pytest.approx(expected, abs=1e-3)


def test_originals_and_long_texts_through_imagebind(clip, tmp_path):
    weights = write_tiny(tmp_path / "tiny.pth")
    options = ("--checkpoint", weights, "--video", clip, "--text", "a dog " * 60)
    kept = call(*options)
    assert kept.exit_code == 0, kept.stderr
    assert "note: longer than the model reads; its end is cut off" in kept.stdout
    assert "not for commercial use" in kept.stdout
    new, old = (
        scored(*options, "--protocol", name)["pairs"][0]
        for name in ("imagebind-15view", "imagebind-legacy-text")
    )
    assert new["protocol_id"] != old["protocol_id"]
    assert new["cosine"] != old["cosine"]


def test_what_cannot_be_used_is_said_and_the_rest_is_scored(clip, tmp_path):
    import soundfile

    mute = write_proxy(tmp_path / "mute.mp4")
    soundfile.write(tmp_path / "silent.wav", np.zeros(16000, np.float32), 16000)
    (tmp_path / "text.mp4").write_text("no video")
    result = call(
        *("--audio", mute, "--audio", tmp_path / "silent.wav", "--audio", clip),
        *("--video", tmp_path / "text.mp4", "--text", "a ball", "--model", "mini", "--json"),
    )
    assert result.exit_code == 1
    for name, reason in {
        "mute.mp4": "no_audio_stream: the file has no sound stream",
        "silent.wav": "silent: the sound is quieter",
        "text.mp4": "unreadable: ",
    }.items():
        assert f"{tmp_path / name}: {reason}" in result.stderr
    values = [pair["cosine"] for pair in json.loads(result.stdout)["pairs"]]
    assert sum(value is not None for value in values) == 1


@pytest.mark.parametrize(
    ("words", "messages"),
    [
        (("--text", "a"), ["fewer than two kinds"]),
        (
            ("--video", "no.mp4", "--audio", "/", "--text", " "),
            ["--video: no.mp4 does not exist", "--audio: / is a folder", "--text: found an empty"],
        ),
        (("--image", __file__, "--text", "a"), ["--image: mini does not take it; it takes video"]),
        (
            ("--video", __file__, "--text", "a", "--precision", "fp8", "--protocol", "clip-left"),
            ["--precision: found", "--protocol: the family 'mini' has no protocol"],
        ),
    ],
)
def test_mistakes_are_named_by_their_option(words, messages):
    result = call(*words, "--model", "mini")
    assert result.exit_code == 1
    assert result.stdout == ""
    for message in messages:
        assert f"error: {message}" in result.stderr or message in result.stderr


def test_an_unknown_model_is_named():
    result = call("--video", __file__, "--text", "a", "--model", "minni")
    assert "--model: no model named 'minni' in the catalogue; did you mean 'mini'?" in result.stderr
