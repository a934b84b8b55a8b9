"""Where a checkpoint lies: a local folder, or a hub's repository, fetched into the cache."""

from functools import cache
from pathlib import Path

from concord.errors import UserError
from concord.models.base import ModelSpec
from concord.models.families import Transformers
from concord.models.weights import joint_sha256, sha256

FAMILY = Transformers()


def local_folder(spec: ModelSpec) -> Path:
    """The folder with configuration, weights, processor and tokenizer.

    Raises UserError, with what to do, for a repository that cannot be fetched.
    """
    if spec.checkpoint:
        return Path(spec.checkpoint)
    return _fetched(spec.name, str(spec.pretrained))


def weights_sha256(spec: ModelSpec, folder: Path) -> str:
    """Digest of the weights. Raises UserError if another one is configured for a hub's."""
    if spec.checkpoint and spec.sha256:
        return spec.sha256
    found = joint_sha256({path.name: sha256(path) for path in FAMILY.weight_files(folder)})
    if spec.sha256 and found != spec.sha256.lower():
        raise UserError(
            f"models.{spec.name}.sha256: the weights of {spec.pretrained} in {folder} have the "
            f"digest {found}, expected {spec.sha256}; correct the key, or name a revision: "
            "`pretrained: organisation/name@revision`"
        )
    return found


@cache
def _fetched(name: str, source: str) -> Path:
    """The snapshot of `organisation/name` or `organisation/name@revision`."""
    from huggingface_hub import snapshot_download

    repository, _, revision = source.partition("@")
    safe, pickled = FAMILY.weights
    wanted = [*FAMILY.settings_files, safe]
    try:
        folder = Path(
            snapshot_download(repository, revision=revision or None, allow_patterns=wanted)
        )
        if not FAMILY.weight_files(folder):
            snapshot_download(repository, revision=folder.name, allow_patterns=pickled)
    except Exception as error:  # a hub's client raises its own, its HTTP library's and the system's
        raise UserError(
            f"models.{name}: {source} could not be fetched: {' '.join(str(error).split())[:300]}. "
            f"On a machine with network run `hf download {repository}"
            f"{f' --revision {revision}' if revision else ''}` (it fills the cache, HF_HOME), then "
            f"run again, offline with HF_HUB_OFFLINE=1; or set models.{name}.checkpoint to a "
            "local folder"
        ) from error
    return FAMILY.checkpoint(folder, f"models.{name}: {source}, fetched to {folder}")
