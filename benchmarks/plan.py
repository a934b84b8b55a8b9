"""How long `snakemake -n` takes for a million clips, and that it lists the jobs that would run.

Makes real empty files in folders, then times three dry runs: the first plan, the same again when
everything was made, and after one file was added. The baseline is a bare walk over the same files.
Prints one JSON object on the last line.

    python -m benchmarks.plan [--clips 1000000] [--folder FOLDER]
"""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
GOAL_S, GOAL_MB = 60, 2000
SHARD_SIZE = CLIPS_A_FOLDER = 1000
SHARDS_A_BLOCK = 10
TASKS = ["av_consistency", "synchrony"]
ONCE = ("score_task", "score_synchrony", "aggregate_tables", "export_formats", "render_report")


def main() -> None:
    """Run the benchmark; the exit status is 1 if the goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=1_000_000, help="number of files")
    parser.add_argument("--folder", type=Path, help="where to work; default: a temporary folder")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        result = measure(Path(folder), options.clips)
    print(json.dumps(result))
    sys.exit(not result["met"])


def measure(folder: Path, clips: int) -> dict[str, object]:
    """Times in seconds and memory in MB of the three dry runs in an empty folder."""
    make_clips(folder / "clips", clips)
    config = {"collections": {"many": "clips"}, "models": ["mini"], "tasks": TASKS}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    walk_s = bare_walk(folder / "clips")
    shards = math.ceil(clips / SHARD_SIZE)
    runs = {"first": dry_run(folder, expected_jobs(shards))}
    make_outputs(folder)
    runs["unchanged"] = dry_run(folder, {})
    (folder / "clips/0000/added.mp4").touch()
    runs["one_added"] = dry_run(folder, expected_jobs(1))
    slowest = max(run["wall_s"] for run in runs.values())
    largest = max(run["peak_mb"] for run in runs.values())
    return {
        "name": "plan",
        "value": slowest,
        "unit": "s",
        "goal": GOAL_S,
        "met": slowest < GOAL_S and largest < GOAL_MB,
        "peak_mb": largest,
        "goal_mb": GOAL_MB,
        "clips": clips,
        "baseline_walk_s": walk_s,
        "runs": runs,
    }


def make_clips(folder: Path, clips: int) -> None:
    """Empty files, a thousand a folder."""
    for number in range(clips):
        parent = folder / f"{number // CLIPS_A_FOLDER:04d}"
        if number % CLIPS_A_FOLDER == 0:
            parent.mkdir(parents=True)
        (parent / f"clip_{number:07d}.mp4").touch()


def bare_walk(folder: Path) -> float:
    """Seconds to list every file and ask for its size and time."""
    start = time.perf_counter()
    for parent in os.scandir(folder):
        for entry in os.scandir(parent):
            entry.stat()
    return round(time.perf_counter() - start, 2)


def expected_jobs(shards: int) -> dict[str, int]:
    """The jobs a dry run must list when this many shards are new or changed."""
    blocks = math.ceil(shards / SHARDS_A_BLOCK)
    jobs = {"transcode_shard": shards, "embed_media": 2 * blocks, "measure_synchrony": shards}
    jobs |= dict.fromkeys((*ONCE, "all"), 1)
    return jobs | {"total": sum(jobs.values())}


def dry_run(folder: Path, expected: dict[str, int]) -> dict[str, float]:
    """Seconds and peak MB of `snakemake -n`; raises SystemExit if it lists other jobs."""
    log = folder / "dry_run.log"
    start = time.perf_counter()
    with log.open("w") as out:
        process = subprocess.Popen(
            snakemake("-n", "--quiet", "rules"), cwd=folder, stdout=out, stderr=out
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    wall_s = time.perf_counter() - start
    text = log.read_text()
    if process.returncode or listed_jobs(text) != expected:
        raise SystemExit(f"{text}\nexpected the jobs {expected}, found {listed_jobs(text)}")
    return {"wall_s": round(wall_s, 2), "peak_mb": round(usage.ru_maxrss / 1024)}


def listed_jobs(text: str) -> dict[str, int]:
    """The first table of jobs in the output of a dry run; empty if nothing is to be done."""
    _, _, table = text.partition("Job stats:\n")
    rows = (line.split() for line in table.partition("\n\n")[0].splitlines()[2:])
    return {name: int(count) for name, count in rows}


def make_outputs(folder: Path) -> None:
    """Empty files in the place of all outputs, with the records that a real run leaves."""
    summary = subprocess.run(
        snakemake("--summary"), cwd=folder, stdout=subprocess.PIPE, text=True, check=True
    )
    for line in summary.stdout.splitlines():
        name = line.split("\t")[0]
        if name.startswith("results/"):
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch() if path.suffix else path.mkdir(exist_ok=True)  # some are folders
            os.utime(path, (0, 0))  # older than the plan, so that --touch records them
    # Its exit status says nothing: the table that ends a run cannot be read from empty files.
    subprocess.run(snakemake("--touch", "--quiet", "all"), cwd=folder, capture_output=True)


def snakemake(*options: str) -> list[str]:
    """The command line of this checkout's workflow."""
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")]
    return [*command, "--configfile", "config.yaml", "--cores", "2", *options]


if __name__ == "__main__":
    main()
