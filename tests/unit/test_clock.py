"""After a clock was set back, times keep their order and none lies in the future."""

import os
import time
from pathlib import Path

import pytest

from concord.clock import settle


def test_files_of_the_future_are_dated_before_now_in_their_order(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    now = time.time()
    ages = {
        "clips/c/plan/0000.parquet": -100,
        "media/c/0000/media.parquet": 3600,
        "embeddings/m/video/c/0000.parquet": 3601,
        "scores/t/m/c.parquet": 3602,
        "exports/m/.snakemake_timestamp": 3602,
        "tree/c/.0000.done": 3603,
        "tree/c/a.mp4": 3600,
        "media/c/0000/video/a.mp4": 3600,
    }
    for name, age in ages.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        os.utime(path, (now + age, now + age))
    settle(tmp_path)
    stamps = {name: (tmp_path / name).stat().st_mtime for name in ages}
    compared = list(ages)[:6]
    assert [stamps[name] for name in compared] == sorted(stamps[name] for name in compared)
    assert stamps["scores/t/m/c.parquet"] == stamps["exports/m/.snakemake_timestamp"]
    assert stamps["clips/c/plan/0000.parquet"] == pytest.approx(now - 100)
    (tmp_path / "new").touch()
    assert max(stamps[name] for name in compared) < (tmp_path / "new").stat().st_mtime
    assert stamps["tree/c/a.mp4"] == pytest.approx(now + 3600), "known by its exact time"
    assert "3603 s in the future" in capsys.readouterr().err
    settle(tmp_path)
    assert capsys.readouterr().err == ""
