"""Blocks: runs of shards whose embeddings one job makes, so that it loads its model once.

A block is named by its first and last shard, `0000-0009`, or as its only one, `0000`; the name says
what is in a table, so tables of another `clips.block_size` are told apart, and their rows are
found. Shards that are not planned yet, or no longer, are part of a block all the same.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

PATTERN = r"\d\d\d\d+(?:-\d\d\d\d+)?"
"""What the name of a block looks like; of repetitions, Snakemake takes no `{4,}`."""


@dataclass(frozen=True, order=True)
class Block:
    """The shards from number `first` to number `last`."""

    first: int
    last: int

    @classmethod
    def of(cls, shard: str, shards_a_block: int) -> "Block":
        """The block that a shard falls into."""
        first = int(shard) // shards_a_block * shards_a_block
        return cls(first, first + shards_a_block - 1)

    @classmethod
    def named(cls, name: str) -> "Block | None":
        """The block of that name; None if it is no block's."""
        if not re.fullmatch(PATTERN, name):
            return None
        first, _, last = name.partition("-")
        return cls(int(first), int(last or first))

    @property
    def name(self) -> str:
        """What its files are called."""
        first = f"{self.first:04d}"
        return first if self.first == self.last else f"{first}-{self.last:04d}"

    def overlaps(self, other: "Block") -> bool:
        return self.first <= other.last and other.first <= self.last


def shards_a_block(block_size: int, shard_size: int) -> int:
    """How many whole shards fill a block of `block_size` clips; at least one."""
    return max(1, block_size // shard_size)


def blocks(shards: Iterable[str], shards_a_block: int) -> list[str]:
    """The names of the blocks that hold these shards, in order."""
    return [b.name for b in sorted({Block.of(shard, shards_a_block) for shard in shards})]


def regrouped(output: Path) -> list[Path]:
    """Tables beside a block's, of blocks that share shards with it, finished or not.

    They were made under another `clips.block_size`. None for a file that is no block's.
    """
    own = Block.named(output.stem)
    if own is None:
        return []
    names = {path.name.lstrip(".").partition(".")[0] for path in output.parent.glob("*.parquet*")}
    found = {block for name in names if (block := Block.named(name)) and block.overlaps(own)}
    return [output.with_name(f"{block.name}.parquet") for block in sorted(found - {own})]
