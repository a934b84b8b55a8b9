"""`concord fetch-weights`: bring everything the models need here, for jobs without a network."""

import importlib
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from concord.commands.terminal import say
from concord.errors import UserError
from concord.load import load
from concord.models import catalogue
from concord.models.base import Fetched, ModelSpec
from concord.models.download import cache_folder
from concord.models.families import FAMILIES
from concord.models.hub import fetched_sha256
from concord.models.weights import joint_sha256

if TYPE_CHECKING:
    from concord.config import Config

TICK_S = 0.02
"""How far the clock of a file system may lag."""


@dataclass(frozen=True)
class Brought:
    """A model whose files are here: the digest of its weights, and which came just now."""

    spec: ModelSpec
    files: Fetched
    sha256: str
    new: frozenset[Path]


def run(path: Path) -> None:
    """Fetch what is not here yet, and say where everything lies.

    Raises UserError with what every model lacks that could not be had.
    """
    found, problems = fetch_all(load(path))
    for model in found:
        _tell(model)
    if problems:
        raise UserError(*problems)
    if any(model.spec.checkpoint is None for model in found):
        say(f"Jobs find it in {_caches()}, which have to be the same folders there")
        say("On machines without a network set HF_HUB_OFFLINE=1, so that no hub is asked.")


def fetch_all(config: "Config") -> tuple[list[Brought], list[str]]:
    """The configured models whose files are here now, and why those of others are not."""
    found, problems = [], list[str]()
    for name in config.models:
        try:
            found.append(_fetch(catalogue.spec(config, name)))
        except UserError as error:
            problems += map(str, error.args)
    return found, list(dict.fromkeys(problems))


def _fetch(spec: ModelSpec) -> Brought:
    began = time.time()
    family = importlib.import_module(f"concord.models.{spec.backend}")
    if fetch := getattr(family, "fetch", None):
        files: Fetched = fetch(spec)
    else:
        files = Fetched(FAMILIES[spec.backend].weight_files(Path(str(spec.checkpoint))))
    digest = joint_sha256({path.name: fetched_sha256(path) for path in files.weights})
    if spec.sha256 and digest != spec.sha256.lower():
        raise UserError(
            f"models.{spec.name}.sha256: {_places(files.weights)} has the digest {digest}, "
            f"expected {spec.sha256}; correct the key, or delete the file and fetch it again"
        )
    every = {path: path.resolve().stat() for path in (*files.weights, *files.others)}
    new = (path for path, state in every.items() if state.st_ctime > began - TICK_S)
    return Brought(spec, files, digest, frozenset(new))


def _tell(model: Brought) -> None:
    spec = model.spec
    use = "" if spec.commercial else ", not cleared for commercial use"
    say(f"{spec.name}: licence {spec.licence}{use}", "bold")
    for what, files in (("weights", model.files.weights), ("settings", model.files.others)):
        if files:
            came = "fetched" if model.new.intersection(files) else "here already"
            digest = f", sha256 {model.sha256}" if what == "weights" else ""
            say(f"  {what}, {came}: {_size(files)}{digest}, {_places(files)}")


def _size(files: Iterable[Path]) -> str:
    size = sum(path.stat().st_size for path in files)
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


def _places(files: Iterable[Path]) -> str:
    """The file, or the folders of several."""
    paths = list(files)
    if len(paths) == 1:
        return str(paths[0])
    return ", ".join(dict.fromkeys(str(path.parent) for path in paths))


def _caches() -> str:
    from huggingface_hub import constants

    return f"{constants.HF_HUB_CACHE} (HF_HOME) and {cache_folder()} (XDG_CACHE_HOME)"
