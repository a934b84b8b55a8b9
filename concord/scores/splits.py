"""Which clips a probe learns from, which stay together, and what is held out when."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from concord.scores.classification import Indices
from concord.scores.gather import Objects
from concord.scores.labelled import Labelled

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Units:
    """What belongs together: names [N], and the kind of split that keeps them on one side."""

    name: Objects
    split: str
    note: str | None = None

    @property
    def number(self) -> Indices:
        """The names [N] as numbers from 0."""
        return np.unique(self.name.astype(str), return_inverse=True)[1].astype(np.int64)

    def of(self, rows: Mask) -> "Units":
        """Those of some rows [N]."""
        return Units(self.name[rows], self.split, self.note)


def related(clips: Labelled) -> Units:
    """What is known to belong together: by group, else by an item of several collections.

    A clip of neither is a unit of its own. The split is `grouped` if any ok clip has a group, else
    `items` if any shares its item with another collection, else `stratified`.
    """
    ok = clips.outcome.ok
    alone = np.array(
        [f"clip {a}/{b}" for a, b in zip(clips.collection, clips.clip_id, strict=True)], object
    )
    has_group = np.array([group is not None for group in clips.group], dtype=bool)
    grouped = bool((ok & has_group).any())
    shared = _shared(clips, ok)
    name = np.where(shared, "item " + clips.item.astype(str).astype(object), alone)
    name = np.where(has_group, "group " + clips.group.astype(str).astype(object), name)
    lacking = sorted(set(clips.collection[ok]) - set(clips.collection[ok & has_group]))
    note = f"no clip of {', '.join(lacking)} has a group" if grouped and lacking else None
    return Units(name, "grouped" if grouped else "items" if shared.any() else "stratified", note)


def single(clips: Labelled) -> Units:
    """Every clip a unit of its own."""
    return Units(np.arange(len(clips)).astype(object), "stratified")


def _shared(clips: Labelled, ok: Mask) -> Mask:
    """The ok clips [N] whose item has ok clips in several collections."""
    found = {*zip(clips.item[ok], clips.collection[ok], strict=True)}
    names, counts = np.unique([str(item) for item, _ in found], return_counts=True)
    shared: Mask = ok & np.isin(clips.item.astype(str), names[counts > 1])
    return shared


def folds(label: Indices, unit: Indices, n_folds: int, seed: int) -> Indices:
    """The fold [N] that holds out each clip: every label in about its share in every fold.

    Clips of one unit [N] are in one fold.
    """
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    alone = len(np.unique(unit)) == len(unit)
    splitter = StratifiedKFold if alone else StratifiedGroupKFold
    parts = splitter(n_folds, shuffle=True, random_state=seed).split(
        label[:, None], label, None if alone else unit
    )
    fold = np.full(len(label), -1)
    for number, (_, held_out) in enumerate(parts):
        fold[held_out] = number
    return fold


def shuffled(label: Indices, unit: Indices, rng: np.random.Generator) -> Indices:
    """Labels [N] without what they say of the clips, for the control.

    Units whose clips have one label exchange theirs, so that their clips still share one; in the
    other units, clips do.
    """
    _, unit = np.unique(unit, return_inverse=True)
    first, last = np.full(unit.max() + 1, label.max()), np.zeros(unit.max() + 1, np.int64)
    np.minimum.at(first, unit, label)
    np.maximum.at(last, unit, label)
    pure = first == last
    given = first.copy()
    given[pure] = rng.permutation(first[pure])
    made = given[unit]
    mixed = np.flatnonzero(~pure[unit])
    by_unit = mixed[np.argsort(unit[mixed], kind="stable")]
    at_random = mixed[np.lexsort((rng.random(len(mixed)), unit[mixed]))]
    made[by_unit] = label[at_random]
    return made


def sample(strata: Sequence[Objects], limit: int, seed: int) -> Indices:
    """At most `limit` rows of N, in order, of each stratum in proportion; the same by `seed`.

    `strata` are columns [N]. Rows are put in order by them, at random within, and taken at equal
    distances.
    """
    n = len(strata[0])
    if n <= limit:
        return np.arange(n)
    chance = np.random.default_rng(seed).permutation(n)
    ordered = np.lexsort((chance, *(column.astype(str) for column in reversed(strata))))
    return np.sort(ordered[np.linspace(0, n - 1, limit).round().astype(int)])
