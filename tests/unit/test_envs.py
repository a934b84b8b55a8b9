"""The conda environments and the lock name the same versions, and the lock names no host."""

import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

ENVS = Path(__file__).resolve().parents[2] / "envs"
LOCK = (ENVS / "requirements.lock").read_text()
UNLOCKED = {"imagebind": {"decord", "einops", "fvcore", "iopath", "jj-pytorchvideo", "torchcodec"}}
"""What an environment has beside the lock, since only a package that users install needs it."""
PIN = re.compile(r"^([a-z0-9-]+)==([^ ;\\\n]+)", re.MULTILINE)


@pytest.mark.parametrize("path", sorted(ENVS.glob("*.yaml")), ids=lambda p: p.name)
def test_conda_pins_are_the_locks(path: Path) -> None:
    packages = yaml.safe_load(path.read_text())["dependencies"]
    (pip,) = (package["pip"] for package in packages if isinstance(package, dict))
    locked = set(PIN.findall(LOCK))
    pins = {tuple(pin.split("==")) for pin in pip}
    outside = UNLOCKED.get(path.stem, set())
    assert {name for name, _ in pins - locked} == outside


def test_the_lock_has_hashes_and_no_hosts() -> None:
    assert "://" not in LOCK
    assert len(PIN.findall(LOCK)) <= LOCK.count("--hash=sha256:")


def test_every_direct_requirement_is_locked() -> None:
    wanted = re.findall(r"^([a-z0-9_-]+)", (ENVS / "requirements.in").read_text(), re.MULTILINE)
    assert {name.replace("_", "-") for name in wanted} <= {name for name, _ in PIN.findall(LOCK)}


@pytest.mark.parametrize("asked", [None, "main"])
def test_the_package_of_imagebind_is_pinned_unless_asked_otherwise(
    tmp_path: Path, asked: str | None
) -> None:
    pip = tmp_path / "pip"
    pip.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    pip.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    environment |= {"IMAGEBIND_REVISION": asked} if asked else {}
    script = ["bash", str(ENVS / "imagebind.post-deploy.sh")]
    said = subprocess.run(script, env=environment, check=True, capture_output=True, text=True)
    revision = said.stdout.strip().rsplit("@", 1)[-1]
    assert revision == asked or (not asked and re.fullmatch("[0-9a-f]{40}", revision))
