"""Progress is told in plain lines, not too often, and always at the end."""

import re

import pytest

from concord import progress
from concord.progress import Progress


def test_a_line_tells_what_how_many_how_fast_and_how_long(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now_s = 100.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now_s)
    told = Progress("media 0003", 10)
    for _ in range(8):
        now_s += 1
        told.step()
    assert capsys.readouterr().err == "media 0003: 5 of 10, 1.0 a second, 5 s left\n"
    now_s += 1
    told.step(2)
    captured = capsys.readouterr()
    assert captured.err == "media 0003: 10 of 10, 1.1 a second, 0 s left\n"
    assert captured.out == ""


def test_an_instant_end_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    Progress("x", 3).step(3)
    assert re.fullmatch(r"x: 3 of 3, \d+\.\d a second, 0 s left\n", capsys.readouterr().err)
