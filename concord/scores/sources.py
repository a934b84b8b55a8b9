"""Which collections a probe learns from. Light to import, for planning."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from concord.config import Config

ACROSS = "_across"
"""Stands for the collection in the paths of probes of several; no collection can have this name."""


@dataclass(frozen=True)
class Source:
    """The tables of one collection, and the label of all its clips; None: each clip's own."""

    collection: str
    clips: Path
    media: Sequence[Path]
    embeddings: Sequence[Path]
    label: str | None


def scopes(config: Config) -> dict[str, dict[str, str | None]]:
    """What `probes.labels` asks to be told apart: by scope, collections with their label.

    A scope is a collection whose clips have labels of their own, or ACROSS.
    """
    labels = config.probes.labels
    if labels == "label":
        labelled = [name for name, given in config.collections.items() if given.label]
        return {name: {name: None} for name in labelled}
    if labels == "collection":
        return {ACROSS: {name: name for name in config.collections}}
    return {ACROSS: {name: label for label, names in labels.items() for name in names}}
