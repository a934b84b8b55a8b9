"""The protocol of the media stage: what changes a result changes it, and nothing else."""

from typing import Any

import pytest
from media_clips import protocol

from concord.media.protocol import row_keys


def test_gate_is_part_of_the_protocol_only_where_it_filters() -> None:
    assert "silence_db" not in protocol()
    assert protocol(silence_db=-40) == protocol()
    assert protocol(filters=True)["silence_db"] == -60
    assert protocol(filters=True, silence_db=-40) != protocol(filters=True)


@pytest.mark.parametrize(
    "change", [{"size_px": 128}, {"fps": 25}, {"fit": "stretch"}, {"encoder": {"crf": 30}}]
)
def test_what_decides_a_result_changes_the_keys(change: dict[str, Any]) -> None:
    assert not set(row_keys("x", protocol(**change))) & set(row_keys("x", protocol()))


@pytest.mark.parametrize(
    "change",
    [
        {"workers": 3},
        {"timeout_s": 3},
        {"memory_mb": 900},
        {"keep_proxies": False},
        {"container": "tar"},
    ],
)
def test_what_decides_no_result_changes_nothing(change: dict[str, Any]) -> None:
    assert protocol(**change) == protocol()


def test_keys_tell_clip_and_decision_apart() -> None:
    assert len({*row_keys("x", protocol()), *row_keys("y", protocol())}) == 4
    assert row_keys("x", protocol()) == row_keys("x", protocol(filters=True, silence_db=-40))
