"""Jobs hold devices by locks: those of several workflows, users and temporary folders too."""

import os
import re
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from concord import run
from concord.errors import UserError
from concord.models import leases

HOLD = """
import os, sys, time
from concord.models import leases
if user := os.environ.get("AS_USER"):
    os.setuid(int(user))
with leases.take(sys.argv[1:]) as name:
    print(name, flush=True)
    time.sleep(60)
"""
Holder = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the locks of a test lie."""
    monkeypatch.setenv(leases.FOLDER, str(tmp_path / "locks"))
    monkeypatch.setattr(leases, "POLL_S", 0.05)
    for name in leases.CHOSEN:
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "locks"


@pytest.fixture
def hold(folder: Path, tmp_path: Path) -> Iterator[Holder]:
    """Starts a process, as that of a job, that takes one of some devices and keeps it."""
    with ExitStack() as started:

        def start(*devices: str, **environment: str):
            process = started.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", HOLD, *devices],
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                    env=os.environ | environment,
                )
            )
            started.callback(process.kill)
            return process

        yield start


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    return process.stdout.readline().strip()


def test_jobs_of_two_workflows_get_different_devices(hold, tmp_path, folder):
    """Whatever a scheduler or a user sets TMPDIR to, and wherever they were started."""
    first = hold("GPU-a", "GPU-b", TMPDIR=str(tmp_path / "one"))
    second = hold("GPU-a", "GPU-b", TMPDIR=str(tmp_path / "two"))
    assert {said(first), said(second)} == {"GPU-a", "GPU-b"}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o1777
    assert {stat.S_IMODE(f.stat().st_mode) for f in folder.iterdir()} == {0o444}
    assert {f.stat().st_size for f in folder.iterdir()} == {0}


def test_a_third_job_waits_and_says_for_whom(hold):
    first, second = hold("GPU-a", "GPU-b"), hold("GPU-a", "GPU-b")
    names = {said(first): first, said(second): second}
    third = hold("GPU-a", "GPU-b")
    assert third.stderr
    waiting = third.stderr.readline()
    assert waiting.startswith("all 2 GPUs are held by other jobs (")
    assert f"GPU-a by process {names['GPU-a'].pid} of " in waiting
    assert f"GPU-b by process {names['GPU-b'].pid} of " in waiting
    assert "--resources gpu=N" in waiting
    names["GPU-b"].send_signal(signal.SIGKILL)
    assert said(third) == "GPU-b"
    assert re.match(r"took GPU-b after \d+ s", third.stderr.readline())


def test_a_killed_job_gives_its_device_back(hold):
    first = hold("GPU-a")
    assert said(first) == "GPU-a"
    first.kill()
    first.wait()
    with leases.take(["GPU-a"]) as name:
        assert name == "GPU-a"


def test_what_a_job_starts_does_not_keep_its_device(hold, folder):
    with leases.take(["GPU-a"]):
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        assert said(hold("GPU-a")) == "GPU-a"
    finally:
        child.kill()
        child.wait()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be other users")
def test_users_wait_for_the_locks_of_each_other(monkeypatch, hold):
    """Also where Linux protects the files of others in such folders (fs.protected_regular)."""
    with tempfile.TemporaryDirectory(dir="/tmp") as top:
        Path(top).chmod(0o1777)
        monkeypatch.setenv(leases.FOLDER, f"{top}/locks")
        first = hold("GPU-a", AS_USER="65534")
        assert said(first) == "GPU-a"
        second = hold("GPU-a", "GPU-b", AS_USER="65533")
        assert said(second) == "GPU-b"
        third = hold("GPU-a", "GPU-b", AS_USER="65532")
        assert third.stderr
        assert f"process {first.pid} of nobody; " in third.stderr.readline()
        second.kill()
        assert said(third) == "GPU-b"
        assert [f.stat().st_uid for f in sorted(Path(top, "locks").iterdir())] == [65534, 65533]


def test_links_that_others_put_there_are_not_followed(folder, tmp_path, monkeypatch):
    folder.mkdir()
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (folder / "GPU-a.lock").symlink_to(victim)
    with pytest.raises(UserError, match=rf"GPU-a\.lock.*{leases.FOLDER}"), leases.take(["GPU-a"]):
        pass
    assert victim.read_text() == "precious"
    (tmp_path / "link").symlink_to(folder)
    monkeypatch.setenv(leases.FOLDER, str(tmp_path / "link"))
    with pytest.raises(UserError, match="a link to one"), leases.take(["GPU-b"]):
        pass


def test_no_name_of_a_device_leaves_the_folder(folder):
    with leases.take(["MIG-GPU-0/1/../../x"]):
        assert [f.name for f in folder.iterdir()] == ["MIG-GPU-0%2F1%2F..%2F..%2Fx.lock"]


def test_a_lock_file_that_was_removed_counts_no_more(folder):
    with leases.take(["GPU-a"]):
        (folder / "GPU-a.lock").unlink()
        with leases.take(["GPU-a"]) as name:
            assert name == "GPU-a"


def test_on_slurm_the_schedulers_choice_is_used_without_a_lock(folder, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_GPUS", "0")
    with leases.take(["GPU-a"]), leases.take(["GPU-a"]):
        assert not folder.exists()


def test_a_gpu_that_slurm_does_not_manage_is_locked(hold, monkeypatch):
    """Two jobs on one node, which both see its GPU."""
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    assert said(hold("GPU-a")) == "GPU-a"
    second = hold("GPU-a")
    assert second.stderr
    assert second.stderr.readline().startswith("all 1 GPUs are held by other jobs (")


def test_jobs_beside_each_other_in_one_allocation_get_different_devices(hold, monkeypatch):
    """Snakemake without an executor of SLURM, started by hand in an allocation of two GPUs."""
    monkeypatch.setenv("SLURM_JOB_GPUS", "0,1")
    assert {said(hold("GPU-a", "GPU-b")), said(hold("GPU-a", "GPU-b"))} == {"GPU-a", "GPU-b"}


@pytest.mark.parametrize(
    ("visible", "names"),
    [
        ("0,2", ["0", "2"]),
        (" 1 , 0 ", ["1", "0"]),
        ("GPU-1b5a,GPU-77", ["GPU-1b5a", "GPU-77"]),
        ("MIG-9c,MIG-GPU-1b/7/0", ["MIG-9c", "MIG-GPU-1b/7/0"]),
        ("", []),
        ("-1", []),
        ("0,-1,1", ["0"]),
        ("NoDevFiles", []),
        ("1,1", ["1"]),
    ],
)
def test_the_devices_that_a_variable_names(visible, names, monkeypatch):
    assert leases.named(visible) == names
    monkeypatch.setenv(leases.VISIBLE, visible)
    assert run.count_gpus() == len(names)
    assert leases.instances(os.environ) == [name for name in names if name.startswith("MIG")]
