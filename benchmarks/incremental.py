"""One clip added to 10,000: seconds and jobs, against the run that made them all.

Makes one tiny real clip with picture and sound and writes it again under other names, each with a
title of its own, so that all files differ. Runs the whole workflow on them with the model mini,
then adds one more and runs the same command again; the baseline is the first run. Of the second,
the jobs, the clips that were processed, and the seconds of a run with nothing to do are told too.
Prints one JSON object on the last line.

    python -m benchmarks.incremental [--clips 10000] [--cores 2] [--folder FOLDER]
"""

import argparse
import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from benchmarks.workflow_runs import Folder, finish, say, seconds_by_rule
from concord.media.ffmpeg import find_ffmpeg

GOAL_SHARE = 0.05
"""Of the full run's time that one more clip may take, at 10,000 clips."""
CONFIG: dict[str, Any] = {
    "collections": {"many": "clips"},
    "models": {"mini": {"workers": 2}},
    "tasks": ["av_consistency", "synchrony"],
}
TITLE = b"a title of this clip alone 00000000"


def main() -> None:
    """Run the benchmark; the exit status is 1 if the goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=10_000)
    parser.add_argument("--cores", type=int, default=os.cpu_count() or 2)
    parser.add_argument("--folder", type=Path, help="where to work; default: a temporary folder")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        finish(measure(Path(folder), options.clips, options.cores))


def measure(path: Path, clips: int, cores: int) -> dict[str, Any]:
    """Seconds, jobs and processed clips of the full run, of none and of one clip more."""
    make_clips(path / "clips", clips)
    folder = Folder(path, CONFIG)
    full = folder.run(cores=cores)
    processed = {"full": processed_clips(path / "results")}
    say(f"full run: {full.wall_s:.1f} s, {full.total} jobs")
    before = stamps(path / "results")
    nothing = folder.run(cores=cores)
    say(f"nothing new: {nothing.wall_s:.1f} s, {nothing.total} jobs")
    make_clips(path / "clips", clips + 1)
    one = folder.run(cores=cores)
    processed["one added"] = processed_clips(path / "results", before)
    say(f"one clip added: {one.wall_s:.1f} s, {one.total} jobs, processed {processed['one added']}")
    expected = dict.fromkeys(processed["full"], 1)
    share = one.wall_s / full.wall_s
    return {
        "name": "incremental",
        "value": round(share, 4),
        "unit": "share of the full run's time",
        "goal": GOAL_SHARE,
        "met": share <= GOAL_SHARE and processed["one added"] == expected and not nothing.total,
        "clips": clips,
        "cores": cores,
        "runs": {"full": full.facts(), "nothing new": nothing.facts(), "one added": one.facts()},
        "jobs": {"full": full.jobs, "one added": one.jobs},
        "processed": processed,
        "last_seconds_by_rule": seconds_by_rule(path / "results"),
    }


def make_clips(folder: Path, clips: int) -> None:
    """Up to so many distinct clips, a thousand a folder; those that are there stay."""
    folder.mkdir(exist_ok=True)
    model = folder.parent / "model.mp4"
    if not model.exists():
        _make_model(model)
    content = model.read_bytes()
    if content.count(TITLE) != 1:
        raise SystemExit(f"{model}: ffmpeg did not write the title once")
    for number in range(clips):
        path = folder / f"{number // 1000:04d}" / f"clip_{number:08d}.mp4"
        if not path.exists():
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content.replace(TITLE, TITLE[:-8] + b"%08d" % number))


def _make_model(path: Path) -> None:
    """One second of 64 x 48 px at 10 frames a second, with beeps."""
    picture = "testsrc2=size=64x48:rate=10:duration=1.2"
    sound = "sine=frequency=440:beep_factor=3:duration=1.2:sample_rate=16000"
    command = [find_ffmpeg().path, "-v", "error", "-nostdin", "-f", "lavfi", "-i", picture]
    command += ["-f", "lavfi", "-i", sound, "-c:v", "libx264", "-preset", "ultrafast"]
    command += ["-pix_fmt", "yuv420p", "-c:a", "aac", "-b:a", "32k"]
    subprocess.run([*command, "-metadata", f"title={TITLE.decode()}", f"file:{path}"], check=True)


def stamps(results: Path) -> dict[Path, int]:
    """When each table was written."""
    return {path: path.stat().st_mtime_ns for path in results.rglob("*.parquet")}


def processed_clips(results: Path, before: dict[Path, int] | None = None) -> dict[str, int]:
    """Clips that were worked on, by stage, in the tables written since `before`."""
    found: dict[str, int] = {}
    for path, stamp in stamps(results).items():
        if before and before.get(path) == stamp:
            continue
        note = json.loads((pq.read_schema(path).metadata or {}).get(b"concord", b"{}"))
        if "run" in note:
            parts = path.relative_to(results).parts
            stage = "/".join(parts[:3]) if parts[0] == "embeddings" else parts[0]
            found[stage] = found.get(stage, 0) + note["run"]["processed"]
    return found


if __name__ == "__main__":
    main()
