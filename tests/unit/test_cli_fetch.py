"""`concord fetch-weights`, with a hub's own client and a server that speaks as a hub does."""

import hashlib
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from embedding_inputs import write_texts, write_tiny_open_clip
from hub_server import HubServer
from transformers_checkpoints import NARROW, make, roberta_tokenizer
from typer.testing import CliRunner, Result

hub_client = pytest.importorskip("huggingface_hub")

from concord.cli import app  # noqa: E402
from concord.errors import UserError  # noqa: E402
from concord.load import load  # noqa: E402
from concord.media.proxies import Limits  # noqa: E402
from concord.models import hub  # noqa: E402
from concord.models.catalogue import spec  # noqa: E402
from concord.models.shard import Means, embed_texts  # noqa: E402
from concord.models.transformers import checkpoint  # noqa: E402
from concord.tables import EMBEDDINGS, read_table  # noqa: E402

MODELS = {
    "mini": {},
    "tiny": {"entry": "transformers", "architecture": "clip", "pretrained": "us/clip"},
    "open": {"entry": "open_clip", "architecture": "hf-hub:us/open", "pretrained": "hub"},
    "borrows": {"entry": "open_clip", "architecture": "hf-hub:us/borrows", "pretrained": "hub"},
}


@pytest.fixture(scope="module")
def repositories(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small models, in a hub's layouts; one brings a file that no job needs."""
    root = tmp_path_factory.mktemp("hub")
    make("clip", root / "us" / "clip")
    (root / "us" / "clip" / "training.log").write_text("long")
    write_tiny_open_clip(root / "us" / "open").rename(
        root / "us" / "open" / "open_clip_model.safetensors"
    )
    _write_borrowing(root / "us" / "borrows", root / "us" / "text")
    return root


def _write_borrowing(folder: Path, text: Path) -> None:
    """An OpenCLIP whose text side is another repository's, as those for many languages are."""
    import transformers as hf

    tokenizer = roberta_tokenizer()
    tokenizer.save_pretrained(text)
    sizes = {**NARROW, "vocab_size": len(tokenizer), "max_position_embeddings": 90}
    hf.RobertaConfig(**sizes, pad_token_id=tokenizer.pad_token_id).save_pretrained(text)
    own = {"hf_pooler_type": "mean_pooler", "hf_proj_type": "mlp", "context_length": 16}
    here, there = ({"hf_model_name": n, "hf_tokenizer_name": n} for n in (str(text), "us/text"))
    weights = write_tiny_open_clip(folder, text_cfg=own | here)
    weights.rename(folder / "open_clip_model.safetensors")
    described = folder / "open_clip_config.json"
    content = json.loads(described.read_text())
    content["model_cfg"]["text_cfg"] = own | there
    described.write_text(json.dumps(content))


@pytest.fixture(scope="module")
def hub_here(repositories: Path) -> Iterator[HubServer]:
    """A hub for all tests: parts of its client remember the first address that they were given."""
    with HubServer(repositories) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def server(hub_here: HubServer, tmp_path: Path, monkeypatch) -> Iterator[HubServer]:
    """The hub, which was asked nothing yet, and empty caches of this user."""
    hub_here.asked.clear()
    _ask(hub_here.url, monkeypatch)
    monkeypatch.setattr(hub_client.constants, "HF_HUB_CACHE", str(tmp_path / "hf"))
    monkeypatch.setattr(hub_client.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    _forget()
    yield hub_here
    _forget()


def _ask(url: str, monkeypatch) -> None:
    """Have the hub's client ask at an address."""
    constants = hub_client.constants
    template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "ENDPOINT", url)


@pytest.fixture
def config(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "own.yaml"
    path.write_text(yaml.safe_dump({"collections": {"c": "clips"}, "models": MODELS}))
    return path


def _forget() -> None:
    """What this process knows of hubs, as a new one does not."""
    hub._asked.cache_clear()
    checkpoint._fetched.cache_clear()


def fetch(config: Path) -> Result:
    _forget()
    return CliRunner().invoke(app, ["fetch-weights", "--config", str(config)])


def test_weights_are_fetched_once_and_used_without_a_hub(
    server, config, repositories, tmp_path, monkeypatch
):
    said = fetch(config).output
    for name, repository in (("tiny", "clip"), ("open", "open"), ("borrows", "borrows")):
        [weights] = (repositories / "us" / repository).glob("*.safetensors")
        assert f"sha256 {hashlib.sha256(weights.read_bytes()).hexdigest()}, {tmp_path}/hf" in said
        assert f"{name}: licence as the weights say, not cleared for commercial use" in said
    assert said.count("weights, fetched: ") == 3
    assert "/hf/models--us--text/snapshots/" in said
    assert "mini: licence Concord's own\n  weights, here already: " in said
    assert "HF_HUB_OFFLINE=1" in said
    assert "training.log" not in server.sent
    assert {"model.safetensors", "tokenizer.json", "open_clip_config.json"} <= {*server.sent}

    sent = list(server.sent)
    again = fetch(config)
    assert again.exit_code == 0, again.output
    assert server.sent == sent, "what is there is not sent again"
    assert "fetched:" not in again.output

    server.asked.clear()
    monkeypatch.setattr(hub_client.constants, "HF_HUB_OFFLINE", True)
    for name in MODELS:
        rows = _job(load(config), name, tmp_path)
        assert [row["status"] for row in rows] == ["ok"]
    assert server.asked == []


def _job(loaded, name: str, folder: Path):
    """The rows of the rule embed_texts' job."""
    _forget()
    texts, output = write_texts(folder / "t.parquet", ["a red ball"]), folder / f"{name}.parquet"
    means = Means(batch_size=2, workers=1, limits=Limits(60, 4000), device="cpu")
    embed_texts([texts], output, spec(loaded, name), means)
    return read_table(output, EMBEDDINGS).to_pylist()


def test_a_job_without_weights_or_a_hub_says_how_to_fetch_them(
    server, config, tmp_path, monkeypatch
):
    """With the hub forbidden, and with one that no connection reaches."""
    _ask("http://127.0.0.1:9", monkeypatch)
    for offline in (True, False):
        monkeypatch.setattr(hub_client.constants, "HF_HUB_OFFLINE", offline)
        for name in ("tiny", "open", "borrows"):
            with pytest.raises(
                UserError, match=rf"models\.{name}: us/.*`python -m concord fetch-w"
            ):
                _job(load(config), name, tmp_path)


def test_every_model_that_cannot_be_fetched_is_told(server, config):
    models = MODELS | {"gone": MODELS["tiny"] | {"pretrained": "us/gone"}}
    models["pinned"] = MODELS["tiny"] | {"sha256": "0" * 64}
    config.write_text(yaml.safe_dump({"collections": {"c": "clips"}, "models": models}))
    result = fetch(config)
    assert result.exit_code == 1
    assert "mini: licence" in result.output
    assert "error: models.gone: us/gone could not be fetched" in result.output
    assert "error: models.pinned.sha256: " in result.output
    assert "2 problems" in result.output


def test_imagebind_asks_nobody_where_that_is_forbidden(config, tmp_path, monkeypatch):
    """As a job on a node without a route, which would wait for an answer."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    config.write_text(yaml.safe_dump({"collections": {"c": "clips"}, "models": ["imagebind"]}))
    result = fetch(config)
    assert result.exit_code == 1
    expected = f"{tmp_path}/concord/imagebind_huge.pth is not there, and HF_HUB_OFFLINE says"
    assert expected in result.output
    assert "`python -m concord fetch-weights` on a machine with network" in result.output
