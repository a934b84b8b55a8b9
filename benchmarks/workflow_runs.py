"""Runs this checkout's workflow in a folder, and says what it took; for the other benchmarks."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
JOBS = re.compile(r"^(\w+)\s+(\d+)$", re.MULTILINE)


@dataclass(frozen=True)
class Run:
    """What a call of snakemake took, and the jobs, by rule, that it listed."""

    wall_s: float
    cpu_s: float
    """Processor seconds of the main process and its jobs: also on a busy machine."""
    peak_mb: int
    """Largest resident memory of the main process or of one job."""
    jobs: dict[str, int]

    @property
    def total(self) -> int:
        """All jobs."""
        return sum(self.jobs.values())

    def facts(self) -> dict[str, float]:
        """For the JSON of a benchmark."""
        return {
            "wall_s": round(self.wall_s, 2),
            "cpu_s": round(self.cpu_s, 2),
            "peak_mb": self.peak_mb,
            "jobs": self.total,
        }


@dataclass(frozen=True)
class Folder:
    """A working folder with its configuration."""

    path: Path
    config: dict[str, Any]

    def run(self, *options: str, cores: int = 2) -> Run:
        """Call snakemake here. Raises SystemExit with what it said if it fails."""
        (self.path / "config.yaml").write_text(yaml.safe_dump(self.config))
        command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")]
        command += ["--configfile", "config.yaml", "--cores", str(cores), *options]
        log = self.path / "snakemake.log"
        start = time.perf_counter()
        with log.open("w") as out:
            process = subprocess.Popen(command, cwd=self.path, stdout=out, stderr=out)
            _, status, usage = os.wait4(process.pid, 0)
        wall_s = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        text = log.read_text(errors="replace")
        if process.returncode:
            raise SystemExit(f"{' '.join(command)} failed:\n{text[-6000:]}")
        cpu_s = usage.ru_utime + usage.ru_stime
        return Run(wall_s, cpu_s, round(usage.ru_maxrss / 1024), _listed(text))

    def dry_run(self) -> Run:
        """What a run would do now."""
        return self.run("--dry-run", "--quiet", "reason")


def _listed(text: str) -> dict[str, int]:
    """The first table of jobs that snakemake prints, without its target and total."""
    _, _, table = text.partition("Job stats:\n")
    rows = JOBS.findall(table.partition("\n\n")[0])
    return {rule: int(count) for rule, count in rows if rule not in ("total", "all")}


def seconds_by_rule(results: Path) -> dict[str, float]:
    """Seconds of all jobs of each rule, start-up included, from Snakemake's own benchmarks."""
    found: dict[str, float] = {}
    for path in (results / "benchmarks").rglob("*.tsv"):
        rule = path.relative_to(results / "benchmarks").parts[0].removesuffix(".tsv")
        seconds = path.read_text().splitlines()[1].split("\t")[0]
        found[rule] = round(found.get(rule, 0.0) + float(seconds), 2)
    return found


def say(words: str) -> None:
    """A line of progress."""
    print(words, flush=True)


def finish(result: dict[str, Any]) -> None:
    """Print the result as the last line; the exit status is 1 if the goal is missed."""
    print(json.dumps(result))
    sys.exit(not result["met"])


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Rows under their columns, as text."""
    cells = [list(columns), *([str(value) for value in row] for row in rows)]
    widths = [max(len(row[at]) for row in cells) for at in range(len(columns))]
    return "\n".join(
        "  ".join(value.rjust(width) for value, width in zip(row, widths, strict=True))
        for row in cells
    )
