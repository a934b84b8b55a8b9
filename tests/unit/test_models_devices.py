"""Two jobs get two devices, the CPU does without, and precision follows the device."""

import os
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch")

from concord.errors import UserError  # noqa: E402
from concord.models import devices, leases  # noqa: E402
from concord.models.devices import lease, precision  # noqa: E402


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


@pytest.fixture
def gpus(monkeypatch, tmp_path):
    """A machine on which PyTorch sees two GPUs; gives what it was told to use."""
    chosen = []
    names = [SimpleNamespace(uuid="a"), SimpleNamespace(uuid="b")]
    monkeypatch.setenv(leases.FOLDER, str(tmp_path / "locks"))
    monkeypatch.delenv(leases.VISIBLE, raising=False)
    for name in (*leases.CHOSEN, leases.WITHOUT_GPUS):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(names))
    monkeypatch.setattr(torch.cuda, "get_device_properties", names.__getitem__)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    return chosen


def test_two_jobs_get_two_gpus(gpus, tmp_path):
    with lease("auto", "k") as first, lease("auto", "k") as second:
        assert (first.index, second.index) == (0, 1)
    assert gpus == [0, 1]
    locks = sorted(path.name for path in (tmp_path / "locks").iterdir())
    assert locks == ["GPU-a.lock", "GPU-b.lock"]


def test_auto_is_the_cpu_where_a_cluster_offers_no_gpu(gpus, monkeypatch):
    """A node may have one all the same; other jobs would use it too, or compute in fp32."""
    monkeypatch.setenv(leases.WITHOUT_GPUS, "1")
    with lease("auto", "k") as device:
        assert device.type == "cpu"
    with lease("cuda", "k") as device:
        assert device.type == "cuda"


def test_parts_of_a_gpu_are_chosen_before_cuda_sees_the_first_alone(gpus, monkeypatch):
    monkeypatch.setenv(leases.VISIBLE, "MIG-1,MIG-2")
    with lease("auto", "k") as first:
        assert os.environ[leases.VISIBLE] == "MIG-1"
        monkeypatch.setenv(leases.VISIBLE, "MIG-1,MIG-2")  # as another process has it
        with lease("auto", "k") as second:
            assert os.environ[leases.VISIBLE] == "MIG-2"
            assert (first.index, second.index) == (0, 0)
