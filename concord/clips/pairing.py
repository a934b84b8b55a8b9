"""Which file beside the clips belongs to which clip: by place, by stem, by index."""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from concord.clips.files import bare, stem_of
from concord.clips.match import composed, extension_rank, index_in_name


@dataclass(frozen=True, slots=True)
class Placed:
    """A clip or a file for one: its row, and where the clip stands or should stand."""

    row: int
    home: str
    path: str
    kind: str
    separate: bool  # not among the clips

    @property
    def stem(self) -> str:
        return stem_of(self.path)

    @property
    def folder(self) -> str:
        return self.home.rpartition("/")[0]

    @property
    def rank(self) -> tuple[int, int, int]:
        named = index_in_name(self.stem, self.kind)
        pattern = named[1] if named else 0
        return int(not self.separate), pattern, extension_rank(self.path)


@dataclass
class Pairs:
    """The row of each clip's file, by the clip's row.

    `alone` says why files that are not among the clips belong to none, `tied` are the clips for
    which several files fit equally well, or which share one with others.
    """

    of: dict[int, int] = field(default_factory=dict)
    alone: dict[int, str] = field(default_factory=dict)
    tied: set[int] = field(default_factory=set)


def pair_files(clips: list[Placed], files: list[Placed]) -> Pairs:
    """Give the clips their files.

    Tried in this order: the same place and stem, the same with accents composed, the same folder
    and index; then, for files that are not among the clips, the same stem or index anywhere if only
    one clip has it. Earlier patterns and extensions win; equal ones are ambiguous.
    """
    apart = [file for file in files if file.separate]
    pairs = Pairs({}, {file.row: "unpaired" for file in apart})
    _pair(pairs, clips, files, lambda f: f.home)
    _pair(pairs, clips, files, lambda f: composed(f.home))
    _pair(pairs, clips, files, lambda f: (f.folder, index) if (index := _index(f)) else None)
    _pair(pairs, clips, apart, lambda f: composed(f.stem), single=True)
    _pair(pairs, clips, apart, _index, single=True)
    for row in pairs.of.values():
        pairs.alone.pop(row, None)
    pairs.tied -= pairs.of.keys()
    return pairs


def placed(found: pa.Table, mask: pa.Array | pa.ChunkedArray) -> list[Placed]:
    """Those rows of FOUND in the mask that are usable."""
    rows = pc.indices_nonzero(pc.and_(mask, pc.equal(found["status"], "ok")))
    chosen = found.select(["clip_id", "path", "kind", "home"]).take(rows).to_pydict()
    return [
        Placed(row, home or bare(clip_id), path, kind, home is not None)
        for row, clip_id, path, kind, home in zip(rows.to_pylist(), *chosen.values(), strict=True)
    ]


def _pair(
    pairs: Pairs,
    clips: list[Placed],
    files: list[Placed],
    key: Callable[[Placed], object],
    single: bool = False,
) -> None:
    """Pair the clips that still lack a file with the files of the same key.

    With `single`, a key that several clips have pairs none of them.
    """
    used = set(pairs.of.values())
    groups: dict[object, list[Placed]] = defaultdict(list)
    for file in files:
        if file.row not in used:
            groups[key(file)].append(file)
    groups.pop(None, None)
    wanting: dict[object, list[Placed]] = defaultdict(list)
    for clip in clips:
        if clip.row not in pairs.of and (wanted := key(clip)) in groups:
            wanting[wanted].append(clip)
    for wanted, takers in wanting.items():
        first, *others = sorted(groups[wanted], key=lambda file: file.rank)
        tied = (others and others[0].rank == first.rank) or (single and len(takers) > 1)
        if tied:
            pairs.tied.update(clip.row for clip in takers)
        else:
            pairs.of.update((clip.row, first.row) for clip in takers)
        for file in [first, *others]:
            if file.row in pairs.alone:
                pairs.alone[file.row] = "ambiguous" if tied else "duplicate"


def _index(file: Placed) -> tuple[int] | None:
    """The prompt index in the name; in a tuple, so that 0 counts."""
    named = index_in_name(file.stem, file.kind)
    return (named[0],) if named else None
