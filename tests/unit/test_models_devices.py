"""Two jobs get two devices, a killed job leaves none behind, and precision follows the device."""

import subprocess
import sys
import threading
import time

import pytest

torch = pytest.importorskip("torch")

from concord.errors import UserError  # noqa: E402
from concord.models import devices  # noqa: E402
from concord.models.devices import lease, precision  # noqa: E402

HOLD = """
import sys, time
from pathlib import Path
from concord.models.devices import _take
index, lock = _take(sys.argv[2:], Path(sys.argv[1]))
print(index, flush=True)
time.sleep(60)
"""


def test_without_a_gpu_the_cpu_is_used(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with lease("auto", "models.m.device") as device:
        assert device.type == "cpu"
        assert precision("auto", device) == "fp32"
        assert precision("bf16", device) == "bf16"
        assert devices.describe(device) == "cpu"


def test_cuda_without_a_gpu_is_the_users_mistake(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    with (
        pytest.raises(UserError, match=r"models\.m\.device: found cuda.*'-1'.*auto"),
        lease("cuda", "models.m.device"),
    ):
        pass


def test_the_cpu_is_used_where_it_is_asked_for(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with lease("cpu", "models.m.device") as device:
        assert device.type == "cpu"


def test_auto_is_bf16_where_the_gpu_has_it(monkeypatch):
    for has, expected in ((True, "bf16"), (False, "fp32")):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda has=has: has)
        assert precision("auto", torch.device("cuda", 0)) == expected


def test_float32_is_never_tf32(monkeypatch):
    """PyTorch's own default is TF32 in convolutions, such as a vision transformer's first."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    torch.set_float32_matmul_precision("high")
    with lease("cpu", "models.m.device"):
        assert not torch.backends.cudnn.allow_tf32
        assert torch.get_float32_matmul_precision() == "highest"


def test_jobs_get_different_gpus_and_wait_for_one(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(devices, "POLL_S", 0.05)
    first, lock = devices._take(["a", "b"], tmp_path)
    second, other = devices._take(["a", "b"], tmp_path)
    assert (first, second) == (0, 1)
    taken = []
    waiter = threading.Thread(target=lambda: taken.append(devices._take(["a", "b"], tmp_path)))
    waiter.start()
    time.sleep(0.3)
    assert not taken
    other.close()
    waiter.join(timeout=10)
    assert taken[0][0] == 1
    assert "all 2 GPUs are held" in capsys.readouterr().err
    lock.close()


def test_a_killed_job_gives_its_gpu_back(tmp_path):
    command = [sys.executable, "-c", HOLD, str(tmp_path), "a"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "0\n"
        holder.kill()
    index, lock = devices._take(["a"], tmp_path)
    assert index == 0
    lock.close()
