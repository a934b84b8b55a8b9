"""ImageBind's weights: the published file, fetched when it is first needed, or a local one."""

import pickle
import zipfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch

from concord.errors import UserError, shortened
from concord.models.base import ModelSpec
from concord.models.download import cache_folder, fetch
from concord.models.imagebind.config import CONFIG_FILE, ImageBindConfig, read_config
from concord.models.imagebind.network import ImageBind
from concord.models.weights import cached_sha256, sha256

PUBLISHED = "https://dl.fbaipublicfiles.com/imagebind/imagebind_huge.pth"
SHOWN = 3
"""How many names of each kind an error lists."""


def weights_file(spec: ModelSpec) -> tuple[Path, str]:
    """The file of a model's weights, and its SHA-256.

    Without `checkpoint` it is the published one, in the user's cache, fetched if it is not there.
    Raises UserError when it cannot be fetched or has another digest than configured.
    """
    if spec.checkpoint:
        path = Path(spec.checkpoint)
        return path, spec.sha256 or sha256(path)
    path = cache_folder() / PUBLISHED.rsplit("/", 1)[-1]
    hint = (
        f"models.{spec.name} needs this file: run `python -m concord fetch-weights` on a machine "
        f"with network and the same home, or copy it to {path}, or set "
        f"models.{spec.name}.checkpoint to where it is"
    )
    fetch(PUBLISHED, path, sha256=spec.sha256, check=_whole, hint=hint)
    found = cached_sha256(path, cache_folder() / "weights.json")
    if spec.sha256 and found != spec.sha256.lower():
        raise UserError(
            f"models.{spec.name}.sha256: {path} has the digest {found}, expected {spec.sha256}; "
            "correct the key, or delete the file so that it is fetched again"
        )
    return path, found


def load_network(path: Path, trunks: Collection[str]) -> ImageBind:
    """The trunks with the weights of a .pth or .safetensors file, float32, for inference.

    Names and shapes must be those of the whole network, and nothing else may be in the file. The
    file is mapped into memory, so that only the weights that are used are read, once. Raises
    UserError, with the names at fault, for any other file, and for one with pickled code.
    """
    config = read_config(path)
    state = _read(path)
    _check(path, config, state)
    with torch.device("meta"):
        network = ImageBind(config, trunks)
    wanted = {name: state[name] for name in network.state_dict()}
    network.load_state_dict(wanted, strict=True, assign=True)
    return network.float().requires_grad_(False).eval()


def _read(path: Path) -> Mapping[str, Any]:
    """What a file holds, mapped into memory where its format allows."""
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return dict(load_file(path))
        content = torch.load(path, "cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        raise UserError(
            f"{path} holds pickled code, which is never run; save its state dict as safetensors"
        ) from error
    except Exception as error:
        said = shortened(error, 200)
        raise UserError(
            f"{path} cannot be read ({type(error).__name__}: {said}); "
            "expected a state dict that torch.save or safetensors wrote; copy the file again"
        ) from error
    if not isinstance(content, dict):
        raise UserError(f"{path} holds a {type(content).__name__}, expected a state dict")
    return content


def _check(path: Path, config: ImageBindConfig, state: Mapping[str, Any]) -> None:
    """Raise UserError unless names and shapes are those of the network."""
    with torch.device("meta"):
        expected = {name: tuple(t.shape) for name, t in ImageBind(config).state_dict().items()}
    found = {name: tuple(getattr(value, "shape", ())) for name, value in state.items()}
    shapes = [
        f"{name} {found[name]} instead of {shape}"
        for name, shape in expected.items()
        if name in found and found[name] != shape
    ]
    faults = {
        "missing": [name for name in expected if name not in found],
        "unexpected": [str(name) for name in found if name not in expected],
        "of another shape": shapes,
    }
    if any(faults.values()):
        raise UserError(
            f"{path} does not hold ImageBind's weights: "
            + "; ".join(
                f"{len(names)} {kind} ({_first(names)})" for kind, names in faults.items() if names
            )
            + f"; expected are the {len(expected)} of imagebind_huge.pth, or of the network that "
            f"a {CONFIG_FILE} beside the file describes"
        )


def _first(names: list[str]) -> str:
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")


def _whole(path: Path) -> bool:
    """Whether an archive that torch.save wrote matches the checksums inside it."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except zipfile.BadZipFile:
        return False
