"""A folder with small real clips and the workflow run in it, as a user would."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from concord.media.ffmpeg import find_ffmpeg

ROOT = Path(__file__).resolve().parents[2]
JOBS = re.compile(r"^(\w+)\s+(\d+)$", re.MULTILINE)


def make_clip(path: Path, *, hue: int = 0, tone_hz: int = 440, seconds: float = 1.5) -> Path:
    """Write a small clip with a moving picture and a tone that comes and goes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = f"testsrc2=size=96x72:rate=10:duration={seconds},hue=h={hue}"
    sound = f"sine=frequency={tone_hz}:beep_factor=3:duration={seconds}:sample_rate=16000"
    command = [str(find_ffmpeg().path), "-v", "error", "-nostdin", "-y", "-f", "lavfi"]
    command += ["-i", picture, "-f", "lavfi", "-i", sound, "-c:v", "libx264"]
    command += ["-preset", "ultrafast", "-pix_fmt", "yuv420p", "-c:a", "aac", f"file:{path}"]
    subprocess.run(command, check=True)
    return path


@dataclass
class Workflow:
    """A working folder with a configuration; `run` calls snakemake there."""

    folder: Path
    config: dict[str, Any] = field(default_factory=dict)
    python: str = sys.executable
    environment: dict[str, str] = field(default_factory=dict)

    def write_prompts(self, indices: Iterable[int]) -> None:
        prompts = [
            {"index": i, "video_prompt": f"a red pattern {i}", "audio_prompt": f"{i} low beeps"}
            for i in indices
        ]
        (self.folder / "prompts.json").write_text(json.dumps(prompts))

    def surroundings(self) -> dict[str, str]:
        return {**os.environ, "OMP_NUM_THREADS": "1", **self.environment}

    def command(self, *arguments: str) -> list[str]:
        self.write_config()
        command = [self.python, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")]
        command += ["--configfile", "config.yaml", "--profile", str(ROOT / "profiles" / "test")]
        return [*command, *arguments]

    def write_config(self) -> None:
        (self.folder / "config.yaml").write_text(
            yaml.safe_dump(self.config, allow_unicode=True, sort_keys=False), encoding="utf-8"
        )

    def run(self, *arguments: str, ok: bool = True, limit_s: int = 1800) -> str:
        """Run to the end and return everything printed; fails the test on another exit status."""
        done = self.attempt(*arguments, limit_s=limit_s)
        assert (done.returncode == 0) == ok, done.stdout[-6000:]
        return done.stdout

    def attempt(self, *arguments: str, limit_s: int = 1800) -> "subprocess.CompletedProcess[str]":
        """Run to the end, whatever that is; `stdout` has everything printed."""
        return subprocess.run(
            self.command(*arguments),
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=limit_s,
            env=self.surroundings(),
        )

    def started(self, *arguments: str) -> dict[str, int]:
        """Run to the end; the jobs, by rule, that were started."""
        return _jobs(self.run(*arguments))

    def jobs(self, *arguments: str) -> dict[str, int]:
        """The jobs, by rule, that a run would start now."""
        return _jobs(self.run("--dry-run", "--quiet", "reason", *arguments))

    def table(self, name: str) -> pa.Table:
        return pq.read_table(self.folder / "results" / "tables" / f"{name}.parquet")

    def processed(self) -> dict[str, int]:
        """Clips processed (not reused) when each shard's table was last written, by stage."""
        total: dict[str, int] = {}
        for path in (self.folder / "results").glob("*/**/*.parquet"):
            note = json.loads((pq.read_schema(path).metadata or {}).get(b"concord", b"{}"))
            if "run" in note:
                stage = note["table"]
                total[stage] = total.get(stage, 0) + note["run"]["processed"]
        return total


def _jobs(printed: str) -> dict[str, int]:
    """The table of jobs that snakemake prints."""
    return {rule: int(n) for rule, n in JOBS.findall(printed) if rule not in ("total", "all")}


@pytest.fixture
def workflow(tmp_path: Path) -> Workflow:
    """Three clips with prompts in one collection, to be scored by synchrony alone."""
    for i, hue in enumerate((0, 120, 240), start=1):
        make_clip(tmp_path / "clips" / f"sample_{i:04d}.mp4", hue=hue, tone_hz=300 * i)
    workflow = Workflow(
        tmp_path,
        {"collections": {"own": "clips"}, "prompts": "prompts.json", "tasks": ["synchrony"]},
    )
    workflow.write_prompts(range(1, 4))
    return workflow


@pytest.fixture
def clip() -> Callable[..., Path]:
    return make_clip
