"""Which collections a probe learns from. Light to import, for planning."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from concord.config import Config

ACROSS = "_across"
"""Stands for the collection in the paths of probes of several; no collection can have this name."""
ALL_COLLECTIONS = "*"
"""What tables call the scope ACROSS."""


@dataclass(frozen=True)
class Source:
    """The tables of one collection, and the label of all its clips; None: each clip's own."""

    collection: str
    clips: Path
    labels: Path
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


def labelling(config: Config, scope: str) -> dict[str, dict[str, str | None]]:
    """Where the labels of a scope come from, by collection.

    `label` is that of all its clips, else `label_key` what each clip's is read from; `group_key` is
    what groups are read from.
    """
    return {
        name: {
            "label": label,
            "label_key": config.collections[name].label if label is None else None,
            "group_key": config.collections[name].group,
        }
        for name, label in scopes(config)[scope].items()
    }
