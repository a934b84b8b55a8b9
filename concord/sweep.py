"""Removal of what shards and blocks left behind that no longer exist."""

import re
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from concord.blocks import PATTERN, Block, blocks
from concord.clips.plan import shards, text_shards
from concord.config import Config
from concord.media.paths import Written
from concord.models.base import COMPANIONS

_SHARD = re.compile(r"\.?(\d{4,})(?:\.[a-z]+)*")
_BLOCK = re.compile(rf"\.?({PATTERN})(?:\.[a-z]+)*")


def sweep(config: Config) -> None:
    """Delete media, embeddings, synchrony and tree files of what is no longer planned.

    Only in folders of the configuration's collections that lie inside the results folder.
    """
    results, size = config.results, config.clips.shards_a_block
    for collection in config.collections:
        if (results / "clips" / collection / "shards.json").exists():
            planned = shards(config, collection)
            for room in ("media", "synchrony", "tree"):
                _sweep(results, [results / room / collection], set(planned))
            kinds = ("video", "audio", *COMPANIONS)
            found = (f for m in kinds for f in results.glob(f"embeddings/*/{m}/{collection}"))
            _sweep_blocks(results, found, blocks(planned, size))
    for prompts in config.prompts:
        if (results / "prompts" / prompts / "shards.json").exists():
            planned = blocks(text_shards(config, prompts), size)
            _sweep_blocks(results, results.glob(f"embeddings/*/text/{prompts}"), planned)


def _inside(results: Path, folders: Iterable[Path]) -> Iterator[Path]:
    """Those of the folders that are there and lie inside the results folder."""
    root = results.resolve()
    return (f for f in folders if f.is_dir() and f.resolve().is_relative_to(root))


def _sweep(results: Path, folders: Iterable[Path], planned: set[str]) -> None:
    for folder in _inside(results, folders):
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


def _sweep_blocks(results: Path, folders: Iterable[Path], planned: list[str]) -> None:
    """Delete the files of other blocks, unless a planned one has yet to take their rows over."""
    known = [block for name in planned if (block := Block.named(name))]
    for folder in _inside(results, folders):
        waiting = [block for block in known if not (folder / f"{block.name}.parquet").exists()]
        for path in list(folder.iterdir()):
            match = _BLOCK.fullmatch(path.name)
            if not match or match[1] in planned or path.is_dir():
                continue
            block = Block.named(match[1])
            if block and not any(map(block.overlaps, waiting)):
                path.unlink()
