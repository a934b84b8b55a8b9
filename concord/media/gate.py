"""The audio gate: which clips count as having sound."""

from collections.abc import Mapping
from typing import Any


def gate(row: Mapping[str, Any], require: str, silence_db: float) -> tuple[str, str | None]:
    """Status and reason of a clip's sound under the gate, from its row of the media table.

    `require` is a word of `audio.require`; `silence_db` in dBFS. A sound that could not be used
    keeps its own status and reason, except under `none`, which lets everything through.
    """
    if require == "none":
        return "ok", None
    if row["audio_status"] != "ok":
        return row["audio_status"], row["audio_reason"]
    if require == "audible" and row["mean_volume_db"] <= silence_db:
        return "skipped", "silent"
    return "ok", None
