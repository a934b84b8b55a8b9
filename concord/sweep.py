"""Removal of what shards left behind that no longer exist."""

import re
import shutil
from pathlib import Path

from concord.clips import shards
from concord.config import Config
from concord.media.paths import Written
from concord.models.base import MODALITIES

_SHARD = re.compile(r"\.?(\d{4,})(?:\.[a-z]+)*")


def sweep(config: Config) -> None:
    """Delete media, embeddings, synchrony and tree files of shards that are no longer planned.

    Only in folders of the configuration's collections that lie inside the results folder.
    """
    root = config.results.resolve()
    for collection in config.collections:
        if not (config.results / "clips" / collection / "shards.json").exists():
            continue
        planned = set(shards(config, collection))
        folders = [config.results / room / collection for room in ("media", "synchrony", "tree")]
        for modality in MODALITIES:
            if modality != "text":  # whose folders are of prompt sets
                folders += config.results.glob(f"embeddings/*/{modality}/{collection}")
        for folder in folders:
            if folder.is_dir() and folder.resolve().is_relative_to(root):
                _sweep(folder, planned)


def _sweep(folder: Path, planned: set[str]) -> None:
    for path in list(folder.iterdir()):
        match = _SHARD.fullmatch(path.name)
        if not match or match[1] in planned:
            continue
        if path.suffix == ".list":
            Written(folder, match[1]).remove()
        elif path.is_symlink() or not path.is_dir():
            path.unlink(missing_ok=True)
        elif folder.parent.name == "media":
            shutil.rmtree(path)
