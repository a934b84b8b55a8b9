"""A shard of media: what is processed again, what is kept, what is cleaned up."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import av
import pytest
from media_clips import (
    H264,
    PICTURE,
    clip,
    make,
    processed,
    protocol,
    run,
    write_plan,
)

from concord.errors import UserError
from concord.media.ffmpeg import Ffmpeg, find_ffmpeg
from concord.media.shard import drop_proxies, restore
from concord.tables import read_metadata

LIMITS: dict[str, Any] = {"timeout_s": 60, "memory_mb": 2000}


@pytest.fixture
def three(tmp_path: Path) -> list[Path]:
    """A loud clip, one with a silent track, one without a sound stream."""
    return [
        clip(tmp_path / "loud.mp4"),
        clip(tmp_path / "silent.mp4", silent=True),
        make(tmp_path / "mute.mp4", *PICTURE, *H264),
    ]


def files(folder: Path) -> set[str]:
    return {p.name for kind in ("video", "audio") for p in (folder / "shard" / kind).iterdir()}


def named(rows: dict[str, dict[str, Any]]) -> set[str]:
    return {row[kind] for row in rows.values() for kind in ("proxy", "wave") if row[kind]}


def test_nothing_is_made_of_a_clip_that_is_an_image(tmp_path: Path, three: list[Path]) -> None:
    picture = tmp_path / "a.PNG"
    picture.write_bytes(b"opened by nobody here")
    row = run(tmp_path, [three[0], picture])["a.PNG"]
    reasons = [(row[f"{part}status"], row[f"{part}reason"]) for part in ("", "video_", "audio_")]
    assert reasons == [("skipped", "still_image")] * 2 + [("skipped", "no_audio_stream")]
    assert (row["proxy"], row["wave"], len(files(tmp_path))) == (None, None, 2)
    assert (
        run(tmp_path, [three[0], picture], protocol(filters=True))["a.PNG"]["reason"]
        == "still_image"
    )
    assert processed(tmp_path) == 0


def test_only_new_and_changed_clips_are_processed(tmp_path: Path, three: list[Path]) -> None:
    first = run(tmp_path, three)
    assert processed(tmp_path) == 3
    assert run(tmp_path, three) == first
    assert processed(tmp_path) == 0

    make(three[0], *PICTURE, "-f", "lavfi", "-i", "sine=d=1:frequency=900", *H264)
    added = clip(tmp_path / "added.mp4")
    rows = run(tmp_path, [three[0], three[2], added])
    assert processed(tmp_path) == 2
    assert list(rows) == ["loud.mp4", "mute.mp4", "added.mp4"]
    assert rows["mute.mp4"] == first["mute.mp4"]
    assert rows["loud.mp4"]["key"] != first["loud.mp4"]["key"]
    assert files(tmp_path) == named(rows)


def test_incremental_equals_fresh(tmp_path: Path, three: list[Path]) -> None:
    run(tmp_path, three[:2])
    grown = run(tmp_path, three[1:])
    (tmp_path / "fresh").mkdir()
    assert run(tmp_path / "fresh", three[1:]) == grown


def test_a_vanished_proxy_is_made_again(tmp_path: Path, three: list[Path]) -> None:
    rows = run(tmp_path, three)
    (tmp_path / "shard/video" / rows["loud.mp4"]["proxy"]).unlink()
    (tmp_path / "shard/audio" / rows["silent.mp4"]["wave"]).unlink()
    assert run(tmp_path, three) == rows
    assert processed(tmp_path) == 2
    assert files(tmp_path) == named(rows)


def test_dropped_proxies_are_not_made_again_until_needed(tmp_path: Path, three: list[Path]) -> None:
    rows = run(tmp_path, three[:2])
    original = (tmp_path / "shard/video" / rows["loud.mp4"]["proxy"]).read_bytes()
    drop_proxies(tmp_path / "shard/media.parquet")
    assert not (tmp_path / "shard/video").exists()
    assert run(tmp_path, three, keep_proxies=False)["loud.mp4"] == rows["loud.mp4"]
    assert processed(tmp_path) == 1

    again = restore(rows["loud.mp4"], protocol(), tmp_path / "again", **LIMITS)
    assert again["v"].read_bytes() == original
    assert again["a"].stat().st_size > 30_000
    alone = restore(rows["loud.mp4"], protocol(), tmp_path / "alone", "a", **LIMITS)
    assert list(alone) == ["a"]
    assert alone["a"].read_bytes() == again["a"].read_bytes()
    three[0].write_bytes(b"")
    with pytest.raises(UserError, match="changed"):
        restore(rows["loud.mp4"], protocol(), tmp_path / "again2", **LIMITS)


def test_filter_measures_but_does_not_transcode(tmp_path: Path, three: list[Path]) -> None:
    rows = run(tmp_path, three, protocol(filters=True))
    states = {name: (row["status"], row["reason"]) for name, row in rows.items()}
    assert states == {
        "loud.mp4": ("ok", None),
        "silent.mp4": ("skipped", "silent"),
        "mute.mp4": ("skipped", "no_audio_stream"),
    }
    assert rows["silent.mp4"]["mean_volume_db"] == -91
    assert (rows["silent.mp4"]["audio_status"], rows["silent.mp4"]["width"]) == ("ok", 160)
    assert files(tmp_path) == named(rows) == {rows["loud.mp4"]["proxy"], rows["loud.mp4"]["wave"]}


def test_a_changed_threshold_touches_only_clips_whose_decision_flips(
    tmp_path: Path, three: list[Path]
) -> None:
    strict = protocol(filters=True, silence_db=-10)
    usual = protocol(filters=True)
    first = run(tmp_path, three, usual)
    rows = run(tmp_path, three, strict)
    assert processed(tmp_path) == 0
    assert rows["loud.mp4"]["reason"] == "silent"
    assert rows["loud.mp4"]["key"] != first["loud.mp4"]["key"]
    assert files(tmp_path) == set()
    (tmp_path / "fresh").mkdir()
    assert run(tmp_path / "fresh", three, strict) == rows

    assert run(tmp_path, three, usual) == first
    assert processed(tmp_path) == 1
    run(tmp_path, three, protocol())
    assert processed(tmp_path) == 2


def test_filtered_and_unfiltered_agree_on_what_passes(tmp_path: Path, three: list[Path]) -> None:
    """Two calls, first the sound and then the picture, make the same as one."""
    (tmp_path / "one").mkdir()
    one = run(tmp_path / "one", three[:1])["loud.mp4"]
    two = run(tmp_path, three[:1], protocol(filters=True))["loud.mp4"]
    assert one == two
    for kind, name in (("video", one["proxy"]), ("audio", one["wave"])):
        folder = Path("shard", kind, name)
        assert (tmp_path / "one" / folder).read_bytes() == (tmp_path / folder).read_bytes()


def test_dropped_proxies_come_back_when_they_are_to_be_kept(
    tmp_path: Path, three: list[Path]
) -> None:
    rows = run(tmp_path, three)
    drop_proxies(tmp_path / "shard/media.parquet")
    assert run(tmp_path, three, keep_proxies=True) == rows
    assert processed(tmp_path) == 3
    assert files(tmp_path) == named(rows)


def test_kill_at_any_moment_then_the_same_command(tmp_path: Path) -> None:
    given = clip(tmp_path / "given.mp4")
    clips = [tmp_path / f"{n}.mp4" for n in range(12)]
    for path in clips:
        shutil.copyfile(given, path)
    last = tmp_path / "last.mp4"
    os.mkfifo(last)  # keeps the shard from being done before the kill, however slow that is
    write_plan(tmp_path / "plan.parquet", [*clips, last])
    journal = tmp_path / "shard/.media.parquet.journal"
    code = (
        "import sys, json; from pathlib import Path;"
        "from concord.media.shard import process_shard;"
        "a = json.loads(sys.argv[1]);"
        "process_shard(Path(a['plan']), Path(a['output']), a['protocol'],"
        " workers=2, timeout_s=300, memory_mb=2000)"
    )
    arguments = {
        "plan": str(tmp_path / "plan.parquet"),
        "output": str(tmp_path / "shard/media.parquet"),
        "protocol": protocol(),
    }
    root = str(Path(__file__).parents[2])
    with subprocess.Popen([sys.executable, "-c", code, json.dumps(arguments)], cwd=root) as process:
        deadline = time.monotonic() + 300
        while not (journal.exists() and journal.read_bytes().count(b"\n") >= 3):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    last.unlink()
    shutil.copyfile(given, last)
    rows = run(tmp_path, [*clips, last])
    assert 0 < processed(tmp_path) <= 10
    assert {row["status"] for row in rows.values()} == {"ok"}
    assert files(tmp_path) == named(rows)
    assert len(rows) == 13


def test_progress_is_told_in_plain_lines(
    tmp_path: Path, three: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    run(tmp_path, three)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("media shard: clips: 3 of 3, ")
    assert lines[0].endswith("0 s left")


def test_the_log_has_a_line_for_each_clip_that_is_not_ok(
    tmp_path: Path, three: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "bro\nken.mp4"
    broken.write_bytes(b"no clip")
    for _ in range(2):
        run(tmp_path, [*three, broken], protocol(filters=True))
        lines = [x for x in capsys.readouterr().err.splitlines() if not x.startswith("media ")]
        assert sorted(lines) == [
            "'bro\\nken.mp4': failed unreadable Invalid data found when processing input",
            "'mute.mp4': skipped no_audio_stream",
            "'silent.mp4': skipped silent",
        ]


def test_the_metadata_name_every_tool_that_made_rows(
    tmp_path: Path, three: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    from concord.media import shard

    def computed() -> dict[str, list[str]]:
        return read_metadata(tmp_path / "shard/media.parquet")["computed"]

    now = find_ffmpeg()
    monkeypatch.setattr(shard, "find_ffmpeg", lambda: replace(now, version="0.9"))
    run(tmp_path, three[:1])
    assert computed() == {"av": [av.__version__], "ffmpeg": ["0.9"]}
    monkeypatch.undo()
    run(tmp_path, three[:1])
    assert computed()["ffmpeg"] == ["0.9"]
    run(tmp_path, three)
    assert computed() == {"av": [av.__version__], "ffmpeg": ["0.9", now.version]}


def test_the_protocol_is_in_the_metadata(tmp_path: Path, three: list[Path]) -> None:
    from concord.protocol import protocol_id

    settings = protocol(fps=10)
    rows = run(tmp_path, three, settings)
    note = read_metadata(tmp_path / "shard/media.parquet")
    assert note["protocol"] == settings
    assert note["protocol_id"] == protocol_id(settings)
    assert rows["loud.mp4"]["frames"] == 10


@pytest.mark.parametrize(
    "words",
    [
        "av_interleaved_write_frame(): No space left on device",
        "av_interleaved_write_frame(): Disk quota exceeded",
        "Error writing trailer of wave.wav: Input/output error",
        "proxy.mp4: Read-only file system",
        "av_interleaved_write_frame(): File too large",
    ],
)
def test_a_disk_that_cannot_be_written_fails_the_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    """It is the machine's fault, not the clip's, and is told without a traceback."""
    from concord.media import shard

    script = f"echo '[error] {words}' >&2; echo '[error] Conversion failed!' >&2; exit 1"
    fake = executable(tmp_path / "ffmpeg", script)
    monkeypatch.setattr(shard, "find_ffmpeg", lambda: Ffmpeg(str(fake), "0", "system"))
    with pytest.raises(UserError, match=words.split(": ")[1]):
        run(tmp_path, [clip(tmp_path / "a.mp4")])


def test_an_input_that_cannot_be_read_is_the_clips_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from concord.media import shard

    fake = executable(
        tmp_path / "ffmpeg", "echo '[error] clip.mp4: Input/output error' >&2; exit 1"
    )
    monkeypatch.setattr(shard, "find_ffmpeg", lambda: Ffmpeg(str(fake), "0", "system"))
    assert run(tmp_path, [clip(tmp_path / "a.mp4")])["a.mp4"]["status"] == "failed"


def test_a_limit_on_file_sizes_fails_the_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from concord.media import shard

    real = find_ffmpeg()
    fake = executable(tmp_path / "ffmpeg", f'ulimit -f 20; exec {real.path} "$@"')
    monkeypatch.setattr(shard, "find_ffmpeg", lambda: Ffmpeg(str(fake), "0", "system"))
    with pytest.raises(UserError, match="too large"):
        run(tmp_path, [clip(tmp_path / "a.mp4")])


def executable(path: Path, script: str) -> Path:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path
