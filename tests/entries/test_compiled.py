"""What `compile: true` makes of ImageBind; a compiler is at work for a minute."""

import numpy as np
import pytest
from imagebind_checkpoint import write_tiny

torch = pytest.importorskip("torch")

from concord.models import imagebind  # noqa: E402
from concord.models.base import ModelSpec  # noqa: E402


def test_compiled_gives_the_same(monkeypatch, tmp_path):
    """For batches of any size."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))
    checkpoint = str(write_tiny(tmp_path / "tiny.pth"))

    def load(compiled: bool):
        spec = ModelSpec(
            name="ib",
            backend="imagebind",
            modalities=("imu",),
            dim=1024,
            licence="",
            citation="",
            checkpoint=checkpoint,
            compiled=compiled,
            options={"views": "15view", "end_token": "kept"},
        )
        return imagebind.load(spec, torch.device("cpu"))

    plain, compiled = load(compiled=False), load(compiled=True)
    clips = list(np.random.default_rng(0).normal(size=(5, 1, 6, 2000)).astype(np.float32))
    for count in (2, 5):
        found, expected = (e.embed("imu", clips[:count]) for e in (compiled, plain))
        np.testing.assert_allclose(found, expected, atol=1e-4)
