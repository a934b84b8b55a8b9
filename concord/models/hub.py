"""Weights that a hub has: fetched without a long wait, and named by what was found."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from concord.errors import UserError, shortened
from concord.models.download import cache_folder
from concord.models.weights import cached_sha256

ANSWER_S = 5.0
"""How long a hub may take to answer at all, before only its cache counts."""


@contextmanager
def fetching(name: str, source: str) -> Iterator[None]:
    """Within it a hub's client is used; where that fails, UserError says what to do.

    `name` is the configured model, `source` a repository (`organisation/name@revision`) or a URL. A
    hub that does not answer is not asked again and again: what its cache has is used.
    """
    source = source.rstrip("/")
    silence = None if "://" in source else _silence()
    try:
        with _patience(silence):
            yield
    except (UserError, ImportError):
        raise
    except Exception as error:  # a hub's client raises its own, its HTTP library's and the system's
        raise UserError(
            f"models.{name}: {source} could not be fetched: {silence or shortened(error)}. "
            f"On a machine with network {_by_hand(source)}; or set models.{name}.checkpoint to a "
            "local copy"
        ) from error


@contextmanager
def patience() -> Iterator[None]:
    """Within it a client that a library calls uses its cache alone if the hub is silent."""
    with _patience(_silence()):
        yield


def revision(path: Path) -> str | None:
    """The commit that a file or folder in the hub's cache is of; None for any other place."""
    return next((p.name for p in (path, *path.parents) if p.parent.name == "snapshots"), None)


def fetched_sha256(path: Path) -> str:
    """SHA-256 of a fetched file, which this user's jobs compute once."""
    return cached_sha256(path, cache_folder() / "weights.json")


def cached_files(repository: str) -> list[Path]:
    """The files of a repository that the hub's cache has, of the commit it was last asked for."""
    from huggingface_hub import snapshot_download

    try:
        folder = Path(snapshot_download(repository, local_files_only=True))
    except Exception:  # a hub's client raises its own; then nothing was needed of it
        return []
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _by_hand(source: str) -> str:
    if "://" in source:
        return "download it"
    repository, _, commit = source.partition("@")
    return (
        "run `python -m concord fetch-weights` with this configuration, or `hf download "
        f"{repository}{f' --revision {commit}' if commit else ''}` (both fill the cache, HF_HOME), "
        "then run again, offline with HF_HUB_OFFLINE=1"
    )


def _silence() -> str | None:
    """Why the hub does not answer; None if it does, or if the user has it not asked."""
    from huggingface_hub import constants

    return None if constants.HF_HUB_OFFLINE else _asked(constants.ENDPOINT)


@cache
def _asked(endpoint: str) -> str | None:
    from huggingface_hub import get_session

    try:
        get_session().head(endpoint, timeout=ANSWER_S)
    except Exception as error:  # of its HTTP library, which changes with its version
        return f"{endpoint} does not answer ({shortened(error)}), and the cache lacks it"
    return None


@contextmanager
def _patience(silence: str | None) -> Iterator[None]:
    """Have the client use its cache alone if the hub is silent, and keep its warnings back."""
    from huggingface_hub import constants

    logger = logging.getLogger("huggingface_hub")
    offline, level = constants.HF_HUB_OFFLINE, logger.level
    constants.HF_HUB_OFFLINE = offline or silence is not None
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = offline
        logger.setLevel(level)
