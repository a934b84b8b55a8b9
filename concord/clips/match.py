"""Which prompt belongs to which file."""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import pyarrow as pa

from concord.clips.files import EXTENSIONS, WITH_IMAGES, bare, extension_of, stem_of

Method = Literal["column", "index", "stem"]

_PATTERN = re.compile(r"(sample_|video_|audio_|image_|depth_|thermal_|imu_|)(-?[0-9]{1,18})")
_EXTENSION_RANK = {extension: rank for rank, extension in enumerate(EXTENSIONS)}


@dataclass
class Matches:
    """For each file the row of its prompt, or the reason why it has none.

    `lonely` says why a prompt (by its row) has no file: no_clip or ambiguous.
    """

    prompt: list[int | None]
    reason: list[str | None]
    lonely: dict[int, str] = field(default_factory=dict)

    @property
    def count(self) -> int:
        return sum(row is not None for row in self.prompt)


def match_prompts(
    found: pa.Table, eligible: list[bool], prompts: pa.Table, method: Method
) -> Matches:
    """Match the eligible rows of FOUND to the rows of PROMPTS by one method.

    By index, one file is chosen a prompt; by stem or column, a prompt may have several.
    """
    methods = {"index": _by_index, "stem": _by_stem, "column": _by_column}
    matches = methods[method](found, eligible, prompts)
    taken = set(matches.prompt)
    for row in range(len(prompts)):
        if row not in taken:
            matches.lonely.setdefault(row, "no_clip")
    return matches


def index_in_name(stem: str, kind: str) -> tuple[int, int] | None:
    """The prompt index in a file stem, and the rank of the pattern it fits; None if it fits none.

    The patterns, first to last: sample_%04d, sample_%d, %04d, %d, and KIND_%04d, KIND_%d, as
    video_0001 for video or audio_0001 for audio.
    """
    fits = _PATTERN.fullmatch(stem)
    if not fits:
        return None
    prefix, digits = fits.groups()
    index = int(digits)
    rank = {"sample_": 0, "": 2, f"{kind}_": 4}.get(prefix)
    if rank is None or digits not in (f"{index:04d}", str(index)):
        return None
    return index, rank + (digits != f"{index:04d}")


def extension_rank(path: str) -> int:
    """Earlier extensions first, lower case before upper case."""
    extension = extension_of(path)
    lower = extension.lower()
    return 2 * _EXTENSION_RANK.get(lower, len(EXTENSIONS)) + (lower != extension)


def composed(text: str) -> str:
    """The text with accents composed, as some file systems decompose them."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def _by_index(found: pa.Table, eligible: list[bool], prompts: pa.Table) -> Matches:
    rows = _rows(prompts["index"].to_pylist())
    fits: list[int | None] = [None] * len(found)
    best: dict[int, tuple[tuple[int, ...], int]] = {}
    tied: set[int] = set()
    sizes = found["size"].to_pylist()
    for at, path, kind in _files(found, eligible):
        named = index_in_name(stem_of(path), kind)
        if named is None or (row := rows.get(named[0])) is None:
            continue
        fits[at] = row
        rank = (sizes[at] is None, kind != "video", named[1], extension_rank(path))
        if row not in best or rank < best[row][0]:
            best[row] = (rank, at)
            tied.discard(row)
        elif rank == best[row][0]:
            tied.add(row)
    prompt: list[int | None] = [None] * len(found)
    reason: list[str | None] = ["no_prompt"] * len(found)
    for at, fit in enumerate(fits):
        if fit is None:
            continue
        if fit in tied:
            reason[at] = "ambiguous"
        elif best[fit][1] != at:
            reason[at] = "duplicate"
        else:
            prompt[at], reason[at] = fit, None
    return Matches(prompt, reason, dict.fromkeys(tied, "ambiguous"))


def _by_stem(found: pa.Table, eligible: list[bool], prompts: pa.Table) -> Matches:
    """By the prompts' stem column: a file's stem, or its path below the folder if it has a /."""
    exact: dict[str, list[int]] = defaultdict(list)
    loose: dict[str, list[int]] = defaultdict(list)
    for row, label in enumerate(prompts["stem"].to_pylist()):
        if label:
            name = bare(label) if extension_of(label).lower() in WITH_IMAGES else label
            exact[name].append(row)
            loose[composed(name)].append(row)
    matches = Matches([None] * len(found), ["no_prompt"] * len(found))
    clip_ids = found["clip_id"].to_pylist()
    for at, path, _ in _files(found, eligible):
        names = stem_of(path), bare(clip_ids[at])
        fits = (exact.get(name) or loose.get(composed(name)) for name in names)
        rows = next(filter(None, fits), [])
        if len(rows) == 1:
            matches.prompt[at], matches.reason[at] = rows[0], None
        elif rows:
            matches.reason[at] = "ambiguous"
            matches.lonely |= dict.fromkeys(rows, "ambiguous")
    return matches


def _by_column(found: pa.Table, eligible: list[bool], prompts: pa.Table) -> Matches:
    rows = _rows(prompts["index"].to_pylist())
    labels = zip(found["index"].to_pylist(), eligible, strict=True)
    prompt = [rows.get(label) if ok else None for label, ok in labels]
    return Matches(prompt, ["no_prompt" if row is None else None for row in prompt])


def _rows(values: list[int]) -> dict[int, int]:
    return {value: row for row, value in enumerate(values)}


def _files(found: pa.Table, eligible: list[bool]) -> Iterator[tuple[int, str, str]]:
    """Row, path and kind of the eligible files."""
    rows = zip(found["path"].to_pylist(), found["kind"].to_pylist(), eligible, strict=True)
    for at, (path, kind, ok) in enumerate(rows):
        if ok:
            yield at, path, kind
