"""Fixtures every test may use."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from storage import Bucket

pytest.register_assert_rewrite("tests.slurm.fixtures")

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with real clips, oracles and golden values beside the checkout."""
    folder = ROOT.parent / "shared"
    if not (folder / "README.md").exists():
        pytest.skip(f"needs real clips in {folder}, which is not there")
    return folder


@pytest.fixture(scope="session")
def s3_address() -> Iterator[str]:
    """The address of an S3 server on this machine."""
    from storage import s3_server

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    with s3_server() as address:
        yield address


@pytest.fixture
def bucket(s3_address: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> "Bucket":
    """A new bucket; the environment has credentials for it, and no other."""
    from storage import CREDENTIALS, make_bucket

    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "CONCORD_REMOTE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "no-such-file"))
    return make_bucket(s3_address)
