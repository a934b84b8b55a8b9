"""A cluster for the session, and the workflow run on it as a user would.

For test modules, here and in tests/faults: `pytest_plugins = ["tests.slurm.fixtures"]`.
"""

import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.slurm.private_slurm import PrivateSlurm, missing_packages
from tests.workflow.conftest import ROOT, Workflow, make_clip

HERE = Path(__file__).resolve().parent
TOLERANCE = 1e-6
WORDS = [
    ("blue", "square", "deep", "drum"),
    ("purple", "triangle", "low", "bell"),
    ("red", "cross", "middle", "buzzer"),
    ("green", "star", "high", "whistle"),
]
"""Of prompts that `mini` can tell apart: vectors that are nearly the same count as the same or not
by their last bit."""


@pytest.fixture(scope="session")
def slurm() -> Iterator[PrivateSlurm]:
    """Three nodes, two of them with two GPUs; down when the session ends."""
    if missing := missing_packages():
        pytest.skip(f"needs a SLURM: apt-get install {' '.join(missing)}")
    folder = Path(tempfile.mkdtemp(prefix="concord-slurm-"))
    with PrivateSlurm(folder) as cluster:
        yield cluster
    shutil.rmtree(folder)


@pytest.fixture
def healthy(slurm: PrivateSlurm) -> Iterator[None]:
    """Leaves the cluster without jobs and with all its nodes, whatever the test did to it."""
    yield
    slurm.renew()


@dataclass
class ClusterRun(Workflow):
    """A working folder whose workflow runs on SLURM."""

    slurm: PrivateSlurm | None = None
    limit_s: int = 900

    def __post_init__(self) -> None:
        assert self.slurm is not None
        self.environment |= self.slurm.environment

    def command(self, *arguments: str) -> list[str]:
        """The documented command, but for the poll of a second and the paths of a test."""
        self.write_config()
        command = [self.python, str(HERE / "fast_poll.py"), "--snakefile", str(ROOT / "Snakefile")]
        command += ["--configfile", "config.yaml", "--profile", str(ROOT / "profiles" / "slurm")]
        return ["timeout", "-s", "INT", "-k", "30", str(self.limit_s), *command, *arguments]

    def run(self, *arguments: str, ok: bool = True, limit_s: int = 0) -> str:
        return super().run(*arguments, ok=ok, limit_s=limit_s or self.limit_s + 60)

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start and go on; what it prints is in printed.txt."""
        with (self.folder / "printed.txt").open("wb") as printed:
            return subprocess.Popen(
                self.command(*arguments)[6:],  # without `timeout`, so that signals reach Snakemake
                cwd=self.folder,
                stdout=printed,
                stderr=printed,
                env=self.surroundings(),
                # As in a shell's foreground; a background process may ignore the interrupt.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
            )

    def printed(self) -> str:
        return (self.folder / "printed.txt").read_text(errors="replace")

    def job_of(self, rule: str, state: str = "RUNNING", seconds: float = 300) -> str:
        """The id of a job of this rule, once SLURM has one in this state."""
        assert self.slurm is not None
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            listed = self.slurm.client(
                "squeue", "--noheader", f"--states={state}", "--format=%A %k"
            )
            for line in listed.splitlines():
                number, comment = line.split(maxsplit=1)
                if comment.startswith(f"rule_{rule}"):
                    return number
            time.sleep(0.2)
        raise AssertionError(f"no job of {rule} came to be {state}\n{self.printed()[-4000:]}")

    def freeze(self, job: str, seconds: float = 120) -> list[int]:
        """Stop all that a job started, as if it hung, once its script is at work; the processes."""
        assert self.slurm is not None
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            pids = self.slurm.processes_of(job)
            if any("/.snakemake/scripts/" in command for command in pids.values()):
                for pid in pids:
                    os.kill(pid, signal.SIGSTOP)
                return list(pids)
            time.sleep(0.05)
        raise AssertionError(f"job {job} did not start its script\n{self.printed()[-4000:]}")


@pytest.fixture
def on_slurm(slurm: PrivateSlurm, tmp_path: Path) -> Callable[..., ClusterRun]:
    """Makes a working folder with clips, to be scored on SLURM by synchrony alone or as told."""

    def make(clips: int = 3, name: str = "cluster", **config: Any) -> ClusterRun:
        folder = tmp_path / name
        folder.mkdir()
        for i in range(1, clips + 1):
            make_clip(folder / "clips" / f"sample_{i:04d}.mp4", hue=40 * i, tone_hz=300 * i)
        run = ClusterRun(
            folder,
            {
                "collections": {"own": "clips"},
                "prompts": "prompts.json",
                "models": {"mini": {"workers": 1}},
                "tasks": ["synchrony"],
                "media": {"workers": 1},
                **config,
            },
            slurm=slurm,
        )
        prompts = [
            {
                "index": i,
                "video_prompt": f"a {colour} {shape} on a black ground",
                "audio_prompt": f"a {pitch} {timbre}",
            }
            for i, (colour, shape, pitch, timbre) in enumerate(WORDS[:clips], start=1)
        ]
        (folder / "prompts.json").write_text(json.dumps(prompts))
        return run

    return make


def run_here(run: Workflow) -> Workflow:
    """The same clips and configuration, run to the end on this machine into another folder."""
    here = Workflow(run.folder, run.config | {"results": "here"})
    here.run()
    return here


def assert_same_tables(one: Workflow, other: Workflow) -> dict[str, int]:
    """All tables equal, numbers within TOLERANCE; returns the number of rows of each.

    The table of what jobs cost (times, hosts) is none of them.
    """
    folders = [r.folder / r.config.get("results", "results") / "tables" for r in (one, other)]
    names = [sorted(p.stem for p in f.glob("*.parquet") if p.stem != "cost") for f in folders]
    assert names[0] == names[1]
    assert "status" in names[0]
    for name in names[0]:
        _assert_same(name, *(pq.read_table(f / f"{name}.parquet") for f in folders))
    return {name: pq.read_metadata(folders[0] / f"{name}.parquet").num_rows for name in names[0]}


def _assert_same(name: str, one: pa.Table, other: pa.Table) -> None:
    assert one.schema.equals(other.schema), name
    numbers = [f.name for f in one.schema if pa.types.is_floating(f.type)]
    keys = [column for column in one.column_names if column not in numbers]
    rows = [
        sorted(t.to_pylist(), key=lambda row: repr([row[k] for k in keys])) for t in (one, other)
    ]
    assert len(rows[0]) == len(rows[1]), name
    for a, b in zip(*rows, strict=True):
        assert {k: a[k] for k in keys} == {k: b[k] for k in keys}, name
        for number in numbers:
            assert _is_same(a[number], b[number]), (name, number, a, b[number])


def _is_same(one: float | None, other: float | None) -> bool:
    if one is None or other is None:
        return one is other
    return one == pytest.approx(other, rel=0, abs=TOLERANCE, nan_ok=True)


def leftovers(run: Workflow) -> list[str]:
    """Temporary files, journals and marks that a finished run must not leave."""
    left = (".tmp-", ".journal", ".slurm")
    files = (run.folder / "results").rglob("*")
    return [str(p) for p in files if any(word in p.name for word in left) and p.is_file()]


@dataclass(frozen=True)
class Witness:
    """What every Python process of a run notes of itself, by tests/slurm/witness/."""

    file: Path

    def notes(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.file.read_text().splitlines()]


@pytest.fixture
def witnessed(tmp_path: Path) -> Callable[[Workflow], Witness]:
    """Makes a run's processes, those of its jobs too, note folders they read and their device."""

    def watch(run: Workflow) -> Witness:
        file = tmp_path / f"{run.folder.name}.notes"
        file.touch()
        run.environment |= {
            "PYTHONPATH": str(HERE / "witness"),
            "CONCORD_WITNESS": str(file),
            "CONCORD_WITNESSED": str(run.folder / "clips"),
        }
        return Witness(file)

    return watch
