"""The family `imagebind_package`: ImageBind's own package, for users who have installed it.

Reading, views and token ids are those of the family imagebind; the network is the package's. So
the two families differ by their networks alone, and `concord parity imagebind` compares them.
"""

import importlib
import importlib.util
import sys
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from concord.errors import UserError, shortened
from concord.models.base import Fetched, Modality, ModelSpec, Reader
from concord.models.devices import dtype as dtype_of
from concord.models.devices import precision
from concord.models.imagebind import fetch as imagebind_fetch
from concord.models.imagebind import reader as imagebind_reader
from concord.models.imagebind.config import HUGE, ImageBindConfig, read_config
from concord.models.imagebind.embedder import ImageBindEmbedder
from concord.models.imagebind.weights import load_network, weights_file

PACKAGE = "imagebind"
INSTALL = (
    "install it into the environment as envs/imagebind.yaml says, or use the model `imagebind`, "
    "which needs no package"
)


def reader(spec: ModelSpec, modality: Modality) -> Reader:
    """How a file becomes what the network's views are cut from: as in the family imagebind."""
    return imagebind_reader(spec, modality)


def fetch(spec: ModelSpec) -> Fetched:
    """Bring the published weights to this machine: as in the family imagebind."""
    return imagebind_fetch(spec)


def load(spec: ModelSpec, device: torch.device) -> ImageBindEmbedder:
    """The package's network with the spec's weights on a device.

    Raises UserError as load_model does.
    """
    model, digest = load_model(spec, device)
    dtype = dtype_of(precision(spec.precision, device))
    return ImageBindEmbedder(_one_view_each(model, device, dtype), spec.options, device, digest)


def load_model(spec: ModelSpec, device: torch.device) -> tuple[Any, str]:
    """The package's ImageBindModel with the spec's weights on a device, and their SHA-256.

    Raises UserError where the package is missing or too different, and for weights that cannot be
    fetched or are not ImageBind's.
    """
    build = network_module(spec.name).ImageBindModel
    path, digest = weights_file(spec)
    model = _build(build, read_config(path))
    try:
        model.load_state_dict(load_network(path, HUGE.trunks).state_dict(), assign=True)
    except RuntimeError as error:
        said = shortened(error)
        raise UserError(
            f"models.{spec.name}: {path} does not fit the network of the installed package "
            f"{PACKAGE} ({said}); {INSTALL}"
        ) from error
    return model.requires_grad_(False).eval().to(device), digest


def network_module(name: str) -> ModuleType:
    """The package's module with the network; its reading of files is not loaded.

    That needs pytorchvideo and decord, which do not run beside every torchvision. `name` is the
    configured model. Raises UserError where the package, or what it needs, is missing.
    """
    try:
        if PACKAGE not in sys.modules:
            sys.modules[PACKAGE] = _bare_package()
        return importlib.import_module(f"{PACKAGE}.models.imagebind_model")
    except ImportError as error:
        raise UserError(
            f"models.{name}: the package {PACKAGE} cannot be loaded ({error}); {INSTALL}"
        ) from error


def _bare_package() -> ModuleType:
    """The installed package without what its __init__ imports."""
    found = importlib.util.find_spec(PACKAGE)
    if found is None:
        raise ImportError(f"no package named {PACKAGE!r} is installed")
    return importlib.util.module_from_spec(found)


def _build(build: Callable[..., Any], config: ImageBindConfig) -> Any:
    """The package's network of a size, without memory for weights: the loaded ones are put in."""
    sizes: dict[str, Any] = {"out_embed_dim": config.dim}
    for name, trunk in config.trunks.items():
        sizes[f"{name}_embed_dim"] = trunk.width
        sizes[f"{name}_num_blocks"] = trunk.blocks
        sizes[f"{name}_num_heads"] = trunk.heads
    with torch.device("meta"), _Readable():
        return build(**sizes)


class _Readable(TorchFunctionMode):
    """Gives the drop-path rates, which the package reads back, values on the device `meta`."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        options = dict(kwargs or {})
        if func is torch.linspace:
            options["device"] = "cpu"
        return func(*args, **options)


def _one_view_each(
    model: Any, device: torch.device, dtype: torch.dtype
) -> Callable[[str, torch.Tensor], torch.Tensor]:
    """The network as (trunk, views [V, ...]) -> embeddings [V, dim], float32.

    The package takes five dimensions for clips of several views, and means over the second.
    """

    def embed(trunk: str, given: torch.Tensor) -> torch.Tensor:
        views = given[:, None] if given.ndim >= 5 else given
        with torch.autocast(device.type, dtype, enabled=dtype is not torch.float32):
            vectors: torch.Tensor = model({trunk: views})[trunk]
        return vectors.float()

    return embed
