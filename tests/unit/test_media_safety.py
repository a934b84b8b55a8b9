"""Files that lie, names that bite, processes that hang, crash or grow."""

import json
import os
import re
import signal
import socket
import subprocess
import threading
import time
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path

import psutil
import pytest
from hostile import PLAYLISTS, liar
from media_clips import H264, clip, event, make, protocol, run, run_planned, write_plan

from concord.errors import MachineError, UserError
from concord.media import worker
from concord.media.clip import Job
from concord.media.ffmpeg import find_ffmpeg
from concord.media.measure import read_log
from concord.media.transcode import PROXY
from concord.media.worker import Worker

NAMES = [
    "with space.mp4",
    'it\'s "quoted".mp4',
    "new\nline.mp4",
    "tab\there.mp4",
    "-y.mp4",
    "a%03d.mp4",
    "*?[ab].mp4",
    "a|b;c&d.mp4",
    "$HOME `x`.mp4",
    "back\\slash.mp4",
    "concat:a|b.mp4",
    "http:x.mp4",
    "x" * 246 + ".mp4",
    "é e\u0301 视频 🎬.mp4",
]


def test_hostile_names_work(tmp_path: Path) -> None:
    original = clip(tmp_path / "original.mp4")
    folder = tmp_path / "clips %d : $HOME"
    folder.mkdir()
    for name in NAMES:
        (folder / name).symlink_to(original)
    rows = run(tmp_path, [folder / name for name in NAMES])
    assert {name: rows[name]["status"] for name in NAMES} == dict.fromkeys(NAMES, "ok")
    assert {rows[name]["frames"] for name in NAMES} == {20}


@pytest.mark.parametrize("kind", PLAYLISTS)
@pytest.mark.parametrize("remote", [False, True], ids=["local", "remote"])
def test_a_playlist_opens_nothing_else(tmp_path: Path, kind: str, remote: bool) -> None:
    """The playlist names a good clip, or a server that would notice a visit."""
    target = str(clip(tmp_path / "target.ts"))
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.1)
        port = server.getsockname()[1]
        if remote:
            target = f"http://127.0.0.1:{port}/target.ts"
        file = liar(tmp_path / "liar.mp4", kind, target, port)
        row = run(tmp_path, [file], timeout_s=20)["liar.mp4"]
        with pytest.raises(TimeoutError):
            server.accept()
    assert (row["status"], row["reason"]) == ("failed", "unreadable")
    assert row["proxy"] is row["wave"] is None


def test_time_limit_of_ffmpeg(tmp_path: Path) -> None:
    short = ("-f", "lavfi", "-i", "testsrc2=s=1280x720:r=25:d=20")
    part = make(tmp_path / "part.mp4", *short, "-c:v", "mpeg4")
    path = make(tmp_path / "long.mp4", "-stream_loop", "59", "-i", str(part), "-c", "copy")
    part.unlink()
    good = clip(tmp_path / "good.mp4")
    rows = run(tmp_path, [path, good], timeout_s=1.5)
    row = rows["long.mp4"]
    assert (row["status"], row["reason"], row["video_reason"]) == ("failed", "timeout", "timeout")


def test_a_file_that_never_answers_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "GRACE_S", 0.5)
    pipe = tmp_path / "pipe.mp4"
    os.mkfifo(pipe)
    good = clip(tmp_path / "good.mp4")
    with Worker(1000) as ours:
        row = ours.run(replace(_job(pipe, tmp_path), timeout_s=0.5))
        assert (row["status"], row["reason"]) == ("failed", "timeout")
        assert ours.run(_job(good, tmp_path))["status"] == "ok"


def test_memory_limit(tmp_path: Path) -> None:
    """One frame takes more than the limit allows."""
    large = ("-f", "lavfi", "-i", "color=red:s=6000x5500:d=0.04", "-pix_fmt", "rgba64be")
    path = make(tmp_path / "large.mov", *large, "-c:v", "png", "-pred", "none")
    good = clip(tmp_path / "good.mp4")
    rows = run(tmp_path, [path, good], memory_mb=256)
    row = rows["large.mov"]
    assert (row["status"], row["reason"]) == ("failed", "memory_limit")
    assert rows["good.mp4"]["status"] == "ok"


@pytest.mark.parametrize(
    "words", ["Error while decoding stream #0:0: Cannot allocate memory", "get_buffer() failed"]
)
def test_ffmpeg_that_runs_out_of_memory_is_told_from_a_broken_file(
    tmp_path: Path, words: str
) -> None:
    log = tmp_path / "log"
    log.write_text(f"[ffv1 @ 0x5581] [error] {words}\n")
    assert read_log(log).out_of_memory
    log.write_text("[h264 @ 0x5581] [error] top block unavailable\n")
    assert not read_log(log).out_of_memory


def test_measurements_are_not_taken_from_tags(tmp_path: Path) -> None:
    """A title that looks like ffmpeg's log changes nothing."""
    words = "[Parsed_volumedetect_0 @ 0x1] [info] mean_volume: -1.0 dB"
    tone = ("-f", "lavfi", "-i", "sine=d=1", "-metadata", f"title=x\n{words}")
    plain = make(tmp_path / "plain.mp4", "-f", "lavfi", "-i", "sine=d=1")
    tagged = make(tmp_path / "tagged.mp4", *tone)
    rows = run(tmp_path, [plain, tagged])
    assert rows["plain.mp4"]["mean_volume_db"] == rows["tagged.mp4"]["mean_volume_db"]


def _job(path: Path, folder: Path) -> Job:
    keys = ("a" * 32, "b" * 32)
    return Job(
        path.name,
        str(path),
        None,
        "source",
        keys,
        str(folder),
        protocol(),
        find_ffmpeg().path,
        120.0,
        str(folder),
    )


def _end_ffmpeg(folder: Path, number: signal.Signals, ended: list[int], most: int) -> None:
    """Signal so many calls of ffmpeg below a folder, each once it has written something."""
    while len(ended) < most:
        time.sleep(0.005)
        # Folders and processes come and go while they are looked at.
        with suppress(OSError, psutil.NoSuchProcess):
            for proxy in folder.rglob(PROXY):
                if not proxy.stat().st_size:
                    continue
                below = psutil.Process().children(recursive=True)
                calls = (p for p in below if Path(p.cwd()) == proxy.parent)
                call = next((p for p in calls if p.pid not in ended), None)
                if call:
                    ended.append(call.pid)
                    call.send_signal(number)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("times", [1, 2])
def test_a_clip_whose_ffmpeg_is_ended_is_never_cut_short(
    tmp_path: Path, number: signal.Signals, times: int
) -> None:
    """On SIGTERM ffmpeg completes what it has written so far, which looks like a whole proxy."""
    long = make(tmp_path / "long.mp4", "-f", "lavfi", "-i", "testsrc2=s=640x480:r=50:d=20", *H264)
    ended: list[int] = []
    with Worker(1000) as ours:
        arguments = (tmp_path, number, ended, times)
        threading.Thread(target=_end_ffmpeg, args=arguments, daemon=True).start()
        row = ours.run(_job(long, tmp_path))
    assert len(ended) == times
    if times == 1:
        assert (row["status"], row["frames"]) == ("ok", 400)
    else:
        assert (row["status"], row["reason"], row["proxy"]) == ("failed", "crashed", None)


class Doomed(Worker):
    """A worker whose process is killed a moment after each clip was given to it."""

    def _start(self) -> subprocess.Popen[str]:
        process = super()._start()
        threading.Timer(0.3, process.kill).start()  # the clip never ends, however late this is
        return process


def test_a_worker_that_dies_twice_costs_one_clip(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.mp4"
    os.mkfifo(pipe)
    with Doomed(1000) as ours:
        row = ours.run(_job(pipe, tmp_path))
        assert (row["status"], row["reason"]) == ("failed", "crashed")


def test_a_clip_whose_worker_is_killed_once_is_tried_again(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    long = make(tmp_path / "long.mp4", "-f", "lavfi", "-i", "testsrc2=s=640x480:r=50:d=20", *H264)
    with Worker(1000) as ours:
        wanted = ours.run(_job(long, tmp_path))
        assert wanted["status"] == "ok"
        assert ours._process is not None
        at_work, kill = tmp_path / "at_work", ours._process.kill
        at_work.mkdir()

        def kill_at_work() -> None:
            while not any(at_work.rglob("log")):  # ffmpeg's
                time.sleep(0.005)
            kill()

        threading.Thread(target=kill_at_work, daemon=True).start()
        assert ours.run(replace(_job(long, tmp_path), scratch=str(at_work))) == wanted
    assert "'long.mp4': its process died; tried once more" in capfd.readouterr().err


def test_a_worker_ends_with_its_job(tmp_path: Path) -> None:
    """Killed outright, a job leaves no worker and no ffmpeg that would write on."""
    pipe = tmp_path / "pipe.mp4"
    os.mkfifo(pipe)
    ours = Worker(1000)
    process = ours._start()
    assert process.stdin is not None
    process.stdin.write(json.dumps(asdict(_job(pipe, tmp_path))) + "\n")
    process.stdin.close()  # as when the job is dead
    assert process.wait(timeout=120) == -signal.SIGKILL


@pytest.mark.parametrize("free", [0, 4, 40, 100], ids=lambda free: f"{free}k")
def test_a_full_scratch_folder_is_no_fault_of_the_clip(tmp_path: Path, free: int) -> None:
    """However little room is left, which may not do for ffmpeg's log."""
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(small)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("cannot mount here")
    try:
        (small / "filler").write_bytes(bytes(2**20 - free * 2**10))
        long = event(tmp_path / "long.mp4")
        expected = rf"{small}\S*: .*No space left on device; this is the folder for temporary files"
        with Worker(1000) as ours, pytest.raises(MachineError, match=expected):
            ours.run(replace(_job(long, tmp_path), scratch=str(small)))
    finally:
        subprocess.run(["umount", "--lazy", str(small)], check=True)


def test_originals_that_all_went_away_are_no_fault_of_theirs(tmp_path: Path) -> None:
    """As of a disk that is unmounted in the middle of a job; when it is back, the job goes on."""
    folder, away = tmp_path / "disk", tmp_path / "away"
    folder.mkdir()
    clips = [clip(folder / f"{n}.mp4") for n in range(3)]
    wanted = run(tmp_path / "whole", clips)
    write_plan(tmp_path / "plan.parquet", clips)
    folder.rename(away)
    said = re.escape(f"{folder}: expected originals of this job (3)")
    with pytest.raises(MachineError, match=said):
        run_planned(tmp_path)
    assert not (tmp_path / "shard" / "media.parquet").exists()
    away.rename(folder)
    assert run_planned(tmp_path) == wanted


def test_an_original_that_is_deleted_meanwhile_has_a_row(tmp_path: Path) -> None:
    clips = [clip(tmp_path / f"{n}.mp4") for n in range(2)]
    write_plan(tmp_path / "plan.parquet", clips)
    clips[0].unlink()
    found = [(row["status"], row["reason"]) for row in run_planned(tmp_path).values()]
    assert found == [("failed", "missing"), ("ok", None)]


def test_missing_original(tmp_path: Path) -> None:
    row = run(tmp_path, [tmp_path / "gone.mp4"])["gone.mp4"]
    assert (row["status"], row["reason"]) == ("failed", "missing")


def test_truncated_and_damaged_files_keep_what_decodes(tmp_path: Path) -> None:
    source = ("-f", "lavfi", "-i", "testsrc2=s=320x240:r=25:d=4", "-f", "lavfi", "-i", "sine=d=4")
    front = ("-movflags", "+faststart", "-g", "12")
    whole = make(tmp_path / "whole.mp4", *source, *H264, *front).read_bytes()
    half = tmp_path / "half.mp4"
    half.write_bytes(whole[: len(whole) // 2])
    flipped = bytearray(whole)
    for place in range(len(whole) // 3, len(whole) - 2000, 3001):
        flipped[place] ^= 0xFF
    bits = tmp_path / "bits.mp4"
    bits.write_bytes(flipped)
    rows = run(tmp_path, [half, bits])
    for row in rows.values():
        assert (row["status"], row["video_status"], row["audio_status"]) == ("ok",) * 3
        assert "decoding error" in row["detail"]
    assert 20 < rows["half.mp4"]["frames"] < 60
    assert rows["bits.mp4"]["frames"] == pytest.approx(80, abs=3)


def test_broken_picture_leaves_the_sound(tmp_path: Path) -> None:
    """Every byte of the picture's packets is zero; the sound is untouched."""
    given = clip(tmp_path / "given.mkv")
    content = bytearray(given.read_bytes())
    import av

    with av.open(str(given)) as container:
        for packet in container.demux(video=0):
            at = content.find(bytes(packet)) if packet.size else -1
            if at >= 0:
                content[at : at + packet.size] = bytes(packet.size)
    broken = tmp_path / "broken.mkv"
    broken.write_bytes(content)
    row = run(tmp_path, [broken])["broken.mkv"]
    assert (row["video_status"], row["video_reason"]) == ("failed", "no_frames")
    assert (row["status"], row["audio_status"]) == ("ok", "ok")


def test_without_any_ffmpeg_the_user_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setitem(__import__("sys").modules, "imageio_ffmpeg", None)
    find_ffmpeg.cache_clear()
    try:
        with pytest.raises(UserError, match="libx264"):
            find_ffmpeg()
    finally:
        find_ffmpeg.cache_clear()


def test_the_carried_ffmpeg_is_used_where_the_system_has_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    find_ffmpeg.cache_clear()
    try:
        found = find_ffmpeg()
    finally:
        find_ffmpeg.cache_clear()
    assert found.source == "imageio_ffmpeg"
    assert found.version != "unknown"
