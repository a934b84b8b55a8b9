"""A trial run: what of a collection lies within `limit`."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace

from concord.clips.match import Matches


def cut(
    clip_ids: Sequence[str],
    clips: Sequence[bool],
    matches: Matches,
    left_out: Iterable[int],
    limit: int,
) -> tuple[list[int], Matches]:
    """The rows of clips beyond the limit, and the matches without the prompts beyond it.

    Where clips match prompts, the first `limit` prompts of the file and their clips are taken, so
    that collections share them; else the first `limit` clips in the natural order of their names.
    `clips` says which rows are clips. Those of `left_out` stay, and neither they nor their prompts
    count.
    """
    left_out = set(left_out)
    passed = {matches.prompt[row] for row in left_out}
    prompts = {row for row in (*matches.lonely, *matches.prompt) if row is not None} - passed
    taken = set(sorted(prompts)[:limit])
    candidates = [row for row, clip in enumerate(clips) if clip and row not in left_out]
    if matches.count:
        beyond = [row for row in candidates if matches.prompt[row] not in taken]
    else:
        beyond = sorted(candidates, key=lambda row: natural(clip_ids[row]))[limit:]
    lonely = {row: why for row, why in matches.lonely.items() if row in taken}
    return beyond, replace(matches, lonely=lonely)


def natural(name: str) -> list[str | int]:
    """Sort key of a name in which numbers count as numbers: 2 comes before 10."""
    parts = re.split(r"([0-9]+)", name)
    return [int(part) if at % 2 else part for at, part in enumerate(parts)]
