"""Jobs that a killed run left never write beside those of the next one."""

import errno
import fcntl
import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import BinaryIO

import pytest

from concord import orphans, run
from concord.files import write_text

ROOT = Path(__file__).resolve().parents[2]


def start(results: Path, ready: str = "yes", work: str = "time.sleep(60)") -> subprocess.Popen[str]:
    """A process that is a job of the current run; returned once it is registered, or has ended."""
    log = results / "logs" / "score_task" / "a.b.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    code = f"""
        import time
        from concord.logs import log_to
        with log_to({str(log)!r}):
            try:
                print("{ready}", flush=True)
                {work}
            finally:
                print("tidied", flush=True)
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        text=True,
    )
    while process.poll() is None and not (log.exists() and ready in log.read_text()):
        time.sleep(0.02)
    return process


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(orphans.RUN, "")
    folder = tmp_path / "results"
    orphans.begin_run(folder)
    return folder


def test_a_new_run_ends_the_jobs_of_one_that_was_killed(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    process = start(results)
    assert [path.read_text() for path in orphans.living(results)] == ["score_task/a.b"]
    assert run.is_locked(results), "a dry run leaves them alone and sees a run under way"
    orphans.begin_run(results)
    assert process.wait(timeout=120) == 128 + 15
    log = (results / "logs/score_task/a.b.log").read_text()
    assert "ended from outside (SIGTERM)" in log
    assert "tidied" in log
    assert "1 processes of an earlier run that was killed" in capsys.readouterr().err
    assert orphans.living(results) == []


def test_a_job_that_does_not_listen_is_killed(
    results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(orphans, "GRACE_S", 0.2)
    deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True)"
    process = start(results, ready="deaf", work=f"{deaf}; time.sleep(60)")
    orphans.begin_run(results)
    assert process.wait(timeout=120) == -9


def test_a_job_that_starts_too_late_does_nothing(
    results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = os.environ[orphans.RUN]
    orphans.begin_run(results)
    monkeypatch.setenv(orphans.RUN, old)
    assert start(results).wait(timeout=120) == 1
    log = (results / "logs/score_task/a.b.log").read_text()
    assert "another run has begun since this job was started" in log
    assert "yes" not in log


def test_a_snakemake_that_starts_too_late_is_refused_and_one_in_time_is_seen(
    results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = f"""if True:
        import time
        from pathlib import Path
        from concord.orphans import join_run
        join_run(Path({str(results)!r}))
        print("joined", flush=True)
        time.sleep(60)
    """
    command = [sys.executable, "-c", code]
    place = {"cwd": ROOT, "text": True, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    old = os.environ[orphans.RUN]
    process = subprocess.Popen(command, **place)
    assert process.stdout.readline() == "joined\n"
    assert [path.read_text() for path in orphans.living(results)] == ["the Snakemake of a job"]
    orphans.begin_run(results)
    process.communicate(timeout=120)
    assert process.returncode == -15
    late = subprocess.run(command, **place, env={**os.environ, orphans.RUN: old}, timeout=120)
    assert "another run has begun" in late.stderr
    assert orphans.living(results) == []


def test_locks_are_seen_where_only_writers_may_lock_alone(
    results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on NFS, which refuses an exclusive lock to those who opened a file for reading."""
    process = start(results)
    flock = fcntl.flock

    def as_on_nfs(file: BinaryIO, kind: int) -> None:
        number = file if isinstance(file, int) else file.fileno()
        writable = fcntl.fcntl(number, fcntl.F_GETFL) & os.O_ACCMODE != os.O_RDONLY
        if kind & fcntl.LOCK_EX and not writable:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        flock(number, kind)

    monkeypatch.setattr(fcntl, "flock", as_on_nfs)
    (results / ".tmp-a.txt-dead.txt").touch()
    write_text(results / "a.txt", "new")
    assert not (results / ".tmp-a.txt-dead.txt").exists()
    assert len(orphans.living(results)) == 1
    process.kill()
    process.wait()
    assert orphans.living(results) == []


def test_a_job_that_cannot_be_looked_at_may_live(
    results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = results / ".jobs" / "elsewhere.1"
    left.touch()

    def refuse(file: BinaryIO, kind: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(fcntl, "flock", refuse)
    assert orphans.living(results) == [left]


def test_what_a_killed_job_left_counts_for_nothing(results: Path) -> None:
    process = start(results)
    process.kill()
    process.wait()
    assert len(list((results / ".jobs").iterdir())) == 2
    assert orphans.living(results) == []
    assert [path.name for path in (results / ".jobs").iterdir()] == ["run"]


def test_a_damaged_table_is_removed_and_one_that_is_not_ours_stays(
    results: Path, tmp_path: Path
) -> None:
    code = "from concord.tables import MEDIA, read_table; from pathlib import Path; read_table({})"
    for path, removed in ((results / "x.parquet", True), (tmp_path / "y.parquet", False)):
        path.write_bytes(b"PAR1 and no more")
        work = code.format(f"Path({str(path)!r}), MEDIA")
        assert start(results, work=work).wait(timeout=120) == 1
        log = (results / "logs/score_task/a.b.log").read_text()
        assert f"error: {path}: damaged" in log
        assert ("so it has been removed; run the same command again" in log) == removed
        assert path.exists() != removed


@pytest.mark.parametrize(
    ("error", "said"),
    [
        ("MemoryError()", "error: the job ran out of memory"),
        ("OSError(28, 'No space left on device', '/tmp/x')", "error: /tmp/x: there is no room"),
    ],
)
def test_the_machine_at_fault_is_told_without_a_traceback(
    results: Path, error: str, said: str
) -> None:
    assert start(results, work=f"raise {error}").wait(timeout=120) == 1
    log = (results / "logs/score_task/a.b.log").read_text()
    assert said in log
    assert "Traceback" not in log
