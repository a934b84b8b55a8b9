"""Which collections a probe learns from. Light to import, for planning."""

import os
from collections.abc import Iterator, Sequence
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


def unlearned(config: Config) -> Iterator[str]:
    """What the probes cannot do, or may do to a user's surprise, as far as known before a run."""
    if "features" not in config.tasks or not config.probes.classifiers:
        return
    found = scopes(config)
    if not found:
        yield (
            "probes: nothing will be told apart, since no collection has the key label; set "
            "collections.NAME.label or probes.labels"
        )
    for scope, labels in found.items():
        if scope == ACROSS and len({*labels.values()}) == 1:
            only = next(iter(labels.values()))
            yield f"probes.labels: nothing will be told apart: all clips have the label {only}"
        elif scope != ACROSS and (folder := _only_folder(config, scope)):
            yield (
                f"collections.{scope}.label: nothing will be told apart: parent found, but all "
                f"files are in one folder, {folder}"
            )
        yield from _ungrouped(config, list(labels))


def _only_folder(config: Config, name: str) -> str | None:
    """The one folder's name where folders are the labels and all files are in one."""
    collection = config.collections[name]
    folders = [path for path in collection.path if isinstance(path, Path) and path.is_dir()]
    if collection.label != "parent" or len(folders) < len(collection.path):
        return None
    names: set[str] = set()
    for root in folders:
        for folder, below, files in os.walk(root):
            below[:] = [name for name in below if collection.recursive and name[0] != "."]
            if any(file[0] != "." for file in files):
                names.add(Path(folder).resolve().name)
            if len(names) > 1:
                return None
    return next(iter(names), None)


def _ungrouped(config: Config, names: Sequence[str]) -> Iterator[str]:
    grouped = [name for name in names if config.collections[name].group]
    if grouped and config.probes.split == "stratified":
        yield (
            f"probes.split: stratified splits the groups of {', '.join(grouped)}; auto keeps them "
            "together"
        )
    elif grouped and len(grouped) < len(names):
        others = ", ".join(name for name in names if name not in grouped)
        yield (
            f"probes.split: {', '.join(grouped)} has groups, {others} has none, so that its clips "
            "are split one by one; set collections.NAME.group there too"
        )
