"""A hub that does not answer is asked once, and the user is told what to do."""

import logging
from pathlib import Path

import pytest
from embedding_inputs import configured

hub_client = pytest.importorskip("huggingface_hub")

from concord.errors import UserError  # noqa: E402
from concord.models import hub, open_clip  # noqa: E402
from concord.models.catalogue import spec  # noqa: E402


@pytest.fixture
def silent(monkeypatch, tmp_path):
    """A hub that no connection reaches, and an empty cache; gives what it was asked."""
    asked = []

    class Session:
        def head(self, url: str, timeout: float) -> None:
            asked.append((url, timeout))
            raise ConnectionError("no route")

    monkeypatch.setattr(hub_client.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(hub_client.constants, "ENDPOINT", f"https://{tmp_path.name}.invalid")
    monkeypatch.setattr(hub_client.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(hub_client, "get_session", Session)
    return asked


def test_a_silent_hub_is_asked_once_and_its_cache_is_used(silent):
    for _ in range(2):
        with hub.fetching("m", "us/tiny"):
            assert hub_client.constants.HF_HUB_OFFLINE
            logging.getLogger("huggingface_hub.utils").warning("not to be seen")
    assert not hub_client.constants.HF_HUB_OFFLINE
    assert [timeout for _, timeout in silent] == [hub.ANSWER_S]


def test_what_to_do_is_said_without_waiting_or_warnings(silent, tmp_path, caplog):
    """The client alone tries for most of a minute, with a warning at every try."""
    chosen = spec(configured(tmp_path, x={"entry": "clip-vit-b-32"}), "x")
    with pytest.raises(UserError) as caught:
        open_clip._fetch(chosen)
    message = str(caught.value)
    assert message.startswith("models.x: timm/vit_base_patch32_clip_224.openai could not be")
    assert "does not answer (no route), and the cache lacks it" in message
    assert "hf download timm/vit_base_patch32_clip_224.openai`" in message
    assert len(silent) == 1
    assert not caplog.records


def test_a_revision_is_part_of_the_advice(silent):
    with (
        pytest.raises(UserError, match=r"`hf download us/tiny --revision v1` .*m\.checkpoint"),
        hub.fetching("m", "us/tiny@v1"),
    ):
        raise OSError("none")


def test_another_address_than_the_hubs_is_asked_as_it_is(silent):
    with (
        pytest.raises(UserError, match=r"fetched: gone\. On a machine with network download it"),
        hub.fetching("m", "https://elsewhere.invalid/w.pt"),
    ):
        raise OSError("gone")
    assert not silent


@pytest.mark.parametrize(
    ("path", "commit"),
    [
        ("/c/models--a--b/snapshots/0123abc/w.safetensors", "0123abc"),
        ("/c/models--a--b/snapshots/0123abc", "0123abc"),
        ("/weights/w.pt", None),
    ],
)
def test_the_commit_of_a_fetched_file(path, commit):
    assert hub.revision(Path(path)) == commit
