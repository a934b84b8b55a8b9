"""Separate sound files: which video each belongs to."""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from concord.clips.match import composed, extension_rank, index_in_name
from concord.clips.scan import bare, stem_of


@dataclass(frozen=True, slots=True)
class _File:
    """A video or a sound: its row, and where the video stands or should stand."""

    row: int
    home: str
    path: str
    kind: str
    separate: bool  # in a folder of separate sound

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
class Sounds:
    """The sound row of each video row, and why sounds of a sound folder belong to none."""

    of: dict[int, int] = field(default_factory=dict)
    alone: dict[int, str] = field(default_factory=dict)


def pair_sounds(found: pa.Table) -> Sounds:
    """Give videos of FOUND their separate sound: from a folder of sound, else from beside them.

    Tried in this order: the same place and stem, the same with accents composed, the same folder
    and index; then, for sounds in a folder of their own, the same stem or index anywhere if only
    one video has it. Earlier patterns and extensions win; equal ones are ambiguous.
    """
    sounds = _files(found, pc.or_(pc.equal(found["kind"], "audio"), pc.is_valid(found["home"])))
    pairs = Sounds({}, {s.row: "unpaired" for s in sounds if s.separate})
    if not sounds:
        return pairs
    silent = pc.and_(pc.is_null(found["home"]), pc.is_null(found["audio_path"]))
    videos = _files(found, pc.and_(pc.equal(found["kind"], "video"), silent))
    apart = [sound for sound in sounds if sound.separate]
    _pair(pairs, videos, sounds, lambda f: f.home)
    _pair(pairs, videos, sounds, lambda f: composed(f.home))
    _pair(pairs, videos, sounds, lambda f: (f.folder, index) if (index := _index(f)) else None)
    _pair(pairs, videos, apart, lambda f: composed(f.stem), single=True)
    _pair(pairs, videos, apart, _index, single=True)
    for row in pairs.of.values():
        pairs.alone.pop(row, None)
    return pairs


def _pair(
    pairs: Sounds,
    videos: list[_File],
    sounds: list[_File],
    key: Callable[[_File], object],
    single: bool = False,
) -> None:
    """Pair the videos that still lack a sound with the sounds of the same key.

    With `single`, a key that several videos have pairs none of them.
    """
    used = set(pairs.of.values())
    groups: dict[object, list[_File]] = defaultdict(list)
    for sound in sounds:
        if sound.row not in used:
            groups[key(sound)].append(sound)
    groups.pop(None, None)
    wanting: dict[object, list[_File]] = defaultdict(list)
    for video in videos:
        if video.row not in pairs.of and (wanted := key(video)) in groups:
            wanting[wanted].append(video)
    for wanted, takers in wanting.items():
        first, *others = sorted(groups[wanted], key=lambda sound: sound.rank)
        tied = (others and others[0].rank == first.rank) or (single and len(takers) > 1)
        if not tied:
            pairs.of.update((video.row, first.row) for video in takers)
        for sound in [first, *others]:
            if sound.row in pairs.alone:
                pairs.alone[sound.row] = "ambiguous" if tied else "duplicate"


def _index(file: _File) -> tuple[int] | None:
    """The prompt index in the name; in a tuple, so that 0 counts."""
    named = index_in_name(file.stem, file.kind)
    return (named[0],) if named else None


def _files(found: pa.Table, mask: pa.ChunkedArray) -> list[_File]:
    mask = pc.and_(mask, pc.equal(found["status"], "ok"))
    rows = pc.indices_nonzero(mask)
    chosen = found.select(["clip_id", "path", "kind", "home"]).take(rows).to_pydict()
    return [
        _File(row, home or bare(clip_id), path, kind, home is not None)
        for row, clip_id, path, kind, home in zip(rows.to_pylist(), *chosen.values(), strict=True)
    ]
