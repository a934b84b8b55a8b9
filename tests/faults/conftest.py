"""A small run that can be disturbed at a chosen moment, and what it gives undisturbed.

Snakemake, ffmpeg and the model are the real ones; the clips are made here.
"""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.workflow.compare import content
from tests.workflow.conftest import Workflow, clip, make_clip, workflow

__all__ = ["Workflow", "clip", "make_clip", "workflow"]

PATIENCE_S = 300


def until(happened: Callable[[], Any], what: str) -> Any:
    """Wait until a function gives something true, and return that."""
    end = time.monotonic() + PATIENCE_S
    while not (found := happened()):
        assert time.monotonic() < end, f"waited in vain for {what}"
        time.sleep(0.01)
    return found


class Running:
    """A run that was started; its output so far is in `log`."""

    def __init__(self, workflow: Workflow, *arguments: str, **environment: str) -> None:
        self.folder, self.log = workflow.folder, workflow.folder / "printed.log"
        # Tests in the background of a shell are started with interrupts ignored, as are theirs.
        command = ["env", "--default-signal=INT", *workflow.command(*arguments)]
        with self.log.open("w") as output:
            self.process = subprocess.Popen(
                command,
                cwd=workflow.folder,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=workflow.surroundings() | environment,
            )

    def wait_for(self, pattern: str, empty: bool = False) -> Path:
        """The first file below results/ that fits; unless `empty`, one that holds something."""

        def found() -> Path | None:
            assert self.process.poll() is None, self.printed()[-6000:]
            files = (self.folder / "results").glob(pattern)
            return next((path for path in files if empty or size(path)), None)

        path: Path = until(found, pattern)
        return path

    def printed(self) -> str:
        return self.log.read_text(errors="replace")

    def children(self) -> list[psutil.Process]:
        try:
            return psutil.Process(self.process.pid).children(recursive=True)
        except psutil.Error:
            return []

    def kill(self, orphans: bool) -> None:
        """End it as `kill -9` does: with all of its jobs, or the main process alone."""
        if orphans:
            self.process.kill()
        else:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def end(self, ok: bool = True) -> str:
        """Wait for the end; all that was printed."""
        self.process.wait(timeout=PATIENCE_S * 2)
        printed = self.printed()
        assert (self.process.returncode == 0) == ok, printed[-6000:]
        return printed


def size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


@dataclass
class Site:
    """Clips and prompts that all tests read, and the tables of an undisturbed run over them."""

    folder: Path
    wanted: dict[str, Any]
    finished: Path

    def workflow(self, folder: Path, **config: Any) -> Workflow:
        """The same command in another folder, with nothing done yet."""
        folder.mkdir(parents=True, exist_ok=True)
        return Workflow(folder, self.config() | config)

    def done(self, folder: Path) -> Workflow:
        """The same command in a copy of the undisturbed run."""
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run(["cp", "-a", str(self.finished), str(folder)], check=True)
        return self.workflow(folder)

    def config(self) -> dict[str, Any]:
        return {
            "collections": {"own": str(self.folder / "clips")},
            "prompts": str(self.folder / "prompts.json"),
            "models": {"mini": {"workers": 2}},
            "tasks": ["video_text", "av_consistency", "synchrony"],
            "clips": {"shard_size": 3},
            "media": {"workers": 2},
            "statistics": {"bootstrap": 500},
        }


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    folder = tmp_path_factory.mktemp("site")
    for i in range(1, 7):
        make_clip(folder / "clips" / f"sample_{i:04d}.mp4", hue=50 * i, tone_hz=200 + 90 * i)
    Workflow(folder).write_prompts(range(1, 7))
    site = Site(folder, {}, folder / "finished")
    workflow = site.workflow(site.finished)
    workflow.run()
    site.wanted = content(workflow)
    return site


@pytest.fixture
def nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No process, no half-written file and no scratch folder outlives a test."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    yield
    assert [path.name for path in scratch.iterdir() if "concord" in path.name] == []
    for results in (path for path in tmp_path.rglob("results") if path.is_dir()):
        assert leftovers(results) == []


def leftovers(results: Path) -> list[str]:
    """Files that only a process at work may have in a results folder."""
    marks = (".tmp-", ".work", ".journal")
    found = [p for p in results.rglob("*") if any(mark in p.name for mark in marks)]
    found += [p for p in (results / ".jobs").glob("*") if p.name != "run"]
    return [str(path.relative_to(results)) for path in found]


@contextmanager
def mounted(folder: Path, *options: str) -> Iterator[Path]:
    """A mount for the block; skips where this user may not mount."""
    folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(["mount", *options, str(folder)], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"cannot mount here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
