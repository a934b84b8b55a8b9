"""Where a checkpoint lies: a local folder, or a hub's repository, fetched into the cache."""

from functools import cache
from pathlib import Path

from concord.errors import UserError
from concord.models.base import ModelSpec
from concord.models.families import Transformers
from concord.models.hub import fetched_sha256, fetching, revision
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
    found = joint_sha256({path.name: fetched_sha256(path) for path in FAMILY.weight_files(folder)})
    if spec.sha256 and found != spec.sha256.lower():
        raise UserError(
            f"models.{spec.name}.sha256: the weights of {spec.pretrained} in {folder} have the "
            f"digest {found}, expected {spec.sha256}; correct the key, or name a revision: "
            "`pretrained: organisation/name@revision`"
        )
    return found


def provenance(spec: ModelSpec, folder: Path) -> dict[str, str]:
    """What else of a hub's repository decides numbers; nothing of a folder, whose spec says it."""
    if spec.checkpoint:
        return {}
    digests = {path.name: sha256(path) for path in FAMILY.settings(folder)}
    found = {"config_sha256": joint_sha256(digests), "revision": revision(folder)}
    return {key: value for key, value in found.items() if value}


@cache
def _fetched(name: str, source: str) -> Path:
    """The snapshot of `organisation/name` or `organisation/name@revision`."""
    from huggingface_hub import snapshot_download

    repository, _, wanted = source.partition("@")
    safe, pickled = FAMILY.weights
    files = [*FAMILY.settings_files, FAMILY.indices, safe]
    with fetching(name, source):
        folder = Path(snapshot_download(repository, revision=wanted or None, allow_patterns=files))
        if not FAMILY.weight_files(folder):
            snapshot_download(repository, revision=folder.name, allow_patterns=pickled)
    return FAMILY.checkpoint(folder, f"models.{name}: {source}, fetched to {folder}")
