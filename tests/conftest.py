"""Fixtures every test may use."""

from pathlib import Path

import pytest

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
def demo_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's three collections and its prompts, made once."""
    from concord.mini.demo import make_demo

    folder = tmp_path_factory.mktemp("demo")
    make_demo(folder, workers=2)
    return folder
