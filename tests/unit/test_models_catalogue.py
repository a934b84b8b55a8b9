"""The catalogue is complete, light to import, and configured models are what they say."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from embedding_inputs import configured

from concord.errors import UserError
from concord.models import weights
from concord.models.base import MODALITIES
from concord.models.catalogue import backend_sources, backend_version, entries, rows, spec
from concord.models.families import FAMILIES
from concord.models.reference import reference
from concord.protocol import protocol_id

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("entry", entries().values(), ids=lambda entry: entry.name)
def test_entries_are_complete(entry):
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", entry.name), "not safe in a path"
    assert entry.modalities
    assert set(entry.modalities) <= set(MODALITIES)
    assert all((entry.title, entry.licence, entry.citation, entry.verified))
    assert isinstance(entry.commercial, bool)
    assert entry.memory_mb >= 1000
    assert entry.frames >= 1
    assert backend_version(entry.backend) >= 1
    assert all(path.is_file() for path in backend_sources(entry.backend))
    if entry.name not in ("open_clip", "transformers"):
        assert entry.dim
        assert entry.checkpoint or entry.pretrained or FAMILIES[entry.backend].published


def test_open_clip_entries_are_known_to_open_clip(tmp_path):
    """Architecture, tag, dimension and activation agree with the installed package."""
    open_clip = pytest.importorskip("open_clip")
    for entry in entries().values():
        if entry.backend == "open_clip" and entry.architecture:
            tag = open_clip.get_pretrained_cfg(entry.architecture, entry.pretrained)
            config = open_clip.get_model_config(entry.architecture)
            assert tag, entry.name
            assert config["embed_dim"] == entry.dim
            assert bool(tag.get("quick_gelu")) == config.get("quick_gelu", False)
            needs = ("transformers",) if "hf_tokenizer_name" in config["text_cfg"] else ()
            assert entry.packages == needs


def test_parsing_loads_no_heavy_package(tmp_path):
    code = (
        "import sys; sys.path.insert(0, 'tests/unit')\n"
        "from pathlib import Path\n"
        "from embedding_inputs import configured\n"
        "from concord.models.catalogue import spec\n"
        f"config = configured(Path({str(tmp_path)!r}), **{{'clip-vit-b-32': {{}}}})\n"
        "assert spec(config, 'clip-vit-b-32').dim == 512\n"
        "print(sorted({'torch', 'open_clip', 'av', 'pandas'} & set(sys.modules)))\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, text=True, check=True, stdout=subprocess.PIPE
    )
    assert run.stdout.strip() == "[]"


def test_overrides_reach_the_spec(tmp_path):
    options = {"entry": "clip-vit-b-32", "frames": 16, "precision": "bf16", "memory_mb": 9}
    plain, changed = (
        spec(configured(tmp_path, m=values), "m")
        for values in ({"entry": "clip-vit-b-32"}, options)
    )
    assert (changed.name, changed.frames, changed.precision) == ("m", 16, "bf16")
    assert changed.memory_mb == 9
    assert plain.frames == 8
    assert plain.protocol("text") != changed.protocol("text")


def test_frames_are_part_of_the_picture_protocol_only(tmp_path):
    eight, four = (
        spec(configured(tmp_path, m={"entry": "clip-vit-b-32", "frames": n}), "m") for n in (8, 4)
    )
    assert eight.protocol("video") != four.protocol("video")
    assert eight.protocol("text") == four.protocol("text")


def test_name_batch_size_and_path_are_not_part_of_the_protocol(tmp_path):
    paths = [tmp_path / name for name in ("a.pt", "b.pt", "c.pt")]
    for path, content in zip(paths, (b"x", b"x", b"y"), strict=True):
        path.write_bytes(content)
    ids = []
    for number, path in enumerate(paths, start=1):
        options = {"architecture": "RN50", "checkpoint": path, "batch_size": number}
        config = configured(tmp_path, **{f"m{number}": options | {"entry": "open_clip"}})
        ids.append(protocol_id(spec(config, f"m{number}").protocol("video")))
    assert ids[0] == ids[1] != ids[2]


def test_the_tag_beside_a_checkpoint_is_part_of_the_protocol(tmp_path):
    path = tmp_path / "a.pt"
    path.write_bytes(b"x")
    with_tag, without = (
        spec(configured(tmp_path, m={"checkpoint": path, **options}), "m").protocol("video")
        for options in (
            {"entry": "openclip-vit-l-14-laion2b"},
            {"entry": "open_clip", "architecture": "ViT-L-14"},
        )
    )
    assert with_tag != without


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"entry": "clip-vit-b32"}, r"models\.m\.entry: .*did you mean 'clip-vit-b-32'"),
        ({}, r"models\.m\.entry: no model named 'm'"),
        ({"entry": "open_clip"}, r"models\.m: .*`checkpoint` or `pretrained`"),
        ({"entry": "open_clip", "pretrained": "openai"}, r"models\.m\.architecture: needed"),
        (
            {"entry": "open_clip", "architecture": "ViT-B32", "pretrained": "openai"},
            r"models\.m\.architecture: .*did you mean 'ViT-B-32'",
        ),
        ({"entry": "mini", "pretrained": "openai"}, r"models\.m\.pretrained: .*open_clip"),
        *(
            (
                {"entry": name, "compile": True},
                rf"models\.m\.compile: .*family imagebind .*{name!r}",
            )
            for name in ("mini", "clip-vit-b-32", "hf-clip-vit-b-32", "imagebind-package")
        ),
        ({"entry": "mini", "checkpoint": ROOT}, r"models\.m\.checkpoint: .* is a folder"),
        ({"entry": "mini", "protocol": "clip-left"}, r"models\.m\.protocol: .*it has: none"),
        ({"entry": "clip-vit-b-32", "checkpoint": "/no/such.pt"}, r"models\.m\.checkpoint: /no"),
    ],
)
def test_mistakes_name_the_key(tmp_path, options, message):
    with pytest.raises(UserError, match=message):
        spec(configured(tmp_path, m=options), "m")


def test_compiling_is_for_those_who_can(tmp_path):
    for entry, wanted in (("imagebind", True), ("imagebind-proxy", True), ("mini", False)):
        found = spec(configured(tmp_path, m={"entry": entry, "compile": wanted}), "m")
        assert found.compiled is wanted


def test_folder_needs_exactly_one_weight_file(tmp_path):
    options = {"entry": "open_clip", "checkpoint": tmp_path}
    for name in ("a.safetensors", "b.pt"):
        (tmp_path / name).write_bytes(b"x")
    described = tmp_path / "open_clip_config.json"
    described.write_text('{"model_cfg": {"embed_dim": 7}}')
    with pytest.raises(UserError, match=r"holds a\.safetensors, b\.pt; .*exactly one"):
        spec(configured(tmp_path, m=options), "m")
    (tmp_path / "b.pt").unlink()
    found = spec(configured(tmp_path, m=options), "m")
    assert (found.dim, found.checkpoint) == (7, str(tmp_path / "a.safetensors"))
    changed = found.protocol("video")
    described.write_text('{"model_cfg": {"embed_dim": 7}, "x": 1}')
    assert spec(configured(tmp_path, m=options), "m").protocol("video") != changed


def test_wrong_digest_is_refused(tmp_path):
    path = tmp_path / "a.pt"
    path.write_bytes(b"x")
    options = {"entry": "clip-vit-b-32", "checkpoint": path, "sha256": "0" * 64}
    with pytest.raises(UserError, match=r"models\.m\.sha256: .*expected 0000"):
        spec(configured(tmp_path, m=options), "m")
    options["sha256"] = weights.sha256(path).upper()
    assert spec(configured(tmp_path, m=options), "m").sha256 == weights.sha256(path)


def test_a_checkpoint_of_your_own_is_not_held_to_the_catalogue_digest(tmp_path, monkeypatch):
    path = tmp_path / "tuned.safetensors"
    path.write_bytes(b"tuned")
    found = spec(configured(tmp_path, m={"entry": "mini", "checkpoint": path}), "m")
    assert found.sha256 == weights.sha256(path)


def test_packaged_weights_are_those_of_the_catalogue(tmp_path):
    """After new weights are trained, their digest goes into catalogue.yaml."""
    found = spec(configured(tmp_path, mini={}), "mini")
    assert found.sha256 == entries()["mini"].sha256 == weights.sha256(Path(found.checkpoint))


def test_weights_are_read_again_only_when_they_changed(tmp_path, monkeypatch):
    path, cache = tmp_path / "a.pt", tmp_path / "results" / "weights.json"
    path.write_bytes(b"x")
    first = weights.cached_sha256(path, cache)
    monkeypatch.setattr(weights, "sha256", lambda path: pytest.fail("read again"))
    assert weights.cached_sha256(path, cache) == first
    monkeypatch.undo()
    path.write_bytes(b"y")
    assert weights.cached_sha256(path, cache) == weights.sha256(path) != first
    cache.write_text("damaged")
    assert weights.cached_sha256(path, cache) == weights.sha256(path)


def test_rows_for_the_command_line():
    found = {row["name"]: row for row in rows()}
    assert list(found) == list(entries())
    assert found["metaclip-vit-b-32"]["commercial"] is False
    assert found["mini"]["tried"] == "published weights"
    assert found["siglip2-base"]["tried"] == "its architecture, small, random"
    assert found["siglip2-vit-b-16"]["tried"] == "NEVER RAN HERE"
    assert found["clip-vit-b-32"]["weights"] == "ViT-B-32-quickgelu:openai"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("clip-vit-b-32", "protocol: `clip-centres`; frames: 8; reads proxies"),
        ("clip-batch-script", "protocol: `clip-batch-script`; frames: 8; reads originals"),
        ("imagebind", "protocol: `imagebind-15view`; reads originals"),
        ("clap-htsat-fused", "reads originals"),
        ("pe-av-base", "frames: 16; reads originals"),
        ("siglip2-base", "frames: 8; reads proxies"),
        ("transformers", "frames: 8; reads proxies, or originals where its architecture needs"),
    ],
)
def test_the_page_says_what_an_entry_reads(name, expected):
    (line,) = re.findall(rf"### {re.escape(name)}\n\n(.*)", reference())
    assert expected in line
    assert ("frames" in line) == ("frames" in expected)


def test_page_is_generated():
    """`python -m concord docs` writes it."""
    assert (ROOT / "docs/models.md").read_text(encoding="utf-8") == reference()
