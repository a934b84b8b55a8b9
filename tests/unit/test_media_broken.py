"""Real broken files get the statuses that were derived from the facts beforehand."""

from pathlib import Path
from typing import Any

import pytest
from expected_broken import expected_broken
from media_clips import run

from concord.media.ffmpeg import find_ffmpeg

READABLE_SINCE_7 = "mp4parse_xheaac_nostream.mp4"
STATES = ("status", "reason", "video_status", "video_reason", "audio_status", "audio_reason")


def expected() -> dict[str, tuple[str, ...]]:
    """The states of each file that is a clip, by name."""
    rows = {n: tuple(row[state] for state in STATES) for n, row in expected_broken().items()}
    assert len(rows) == 67
    return {name: states for name, states in rows.items() if "not_media" not in states}


@pytest.mark.shared
def test_every_broken_file_has_the_status_it_deserves(tmp_path: Path, shared: Path) -> None:
    wanted = expected()
    if not find_ffmpeg().version.startswith("5."):
        del wanted[READABLE_SINCE_7]
    rows = run(tmp_path, [shared / "media/broken" / name for name in wanted])
    found = {name: tuple(row[state] or "" for state in STATES) for name, row in rows.items()}
    assert found == wanted
    assert all(_measured(row) for row in rows.values())


def _measured(row: dict[str, Any]) -> bool:
    """What can be used has its files and numbers; what cannot has none."""
    picture = row["video_status"] == "ok"
    sound = row["audio_status"] == "ok"
    return (
        picture == bool(row["proxy"]) == bool(row["frames"])
        and sound == bool(row["wave"]) == (row["mean_volume_db"] is not None)
        and (picture or sound) == (row["duration_s"] is not None)
    )
