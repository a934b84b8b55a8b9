"""From clips to embeddings, end to end, against the sequential scripts' way, in one run.

    python -m benchmarks.throughput [FOLDER] [--clips 2000] [--scripts-clips 320]
                                    [--models vit-b-32 imagebind]

The clips are those of FOLDER, or eight that are made here, repeated by hard links of other names
(copies where links cannot be made): Concord knows clips by path, size and time, so that each is
processed. Both sides find them in the system's cache. Weights are random, of the architecture's
shape; nothing is fetched. Concord runs as a user runs it, `snakemake` once for the media and once
for each table of embeddings. The scripts' way: three calls of ffmpeg a clip, 16 clips at a time,
then one process that loads file after file itself and computes in batches of 4, with the same
readers, network and device. Ours and theirs run in turn, round by round; the medians count.
With `--scripts-clips` the scripts' way is given the first of the clips only, and its time for all
is what it took to start and so much more often what it took after that; it does the same for clip
after clip.

Start-up is all of a job's time but waiting for decoders and computing: Snakemake, imports, weights,
writing. The value is its share of a job on 10,000 clips, at the speed that was measured; the goal
is for a GPU. What bounds a job is the largest of start-up, waiting (decoders) and computing. The
share of time that a GPU is busy after start-up is nvidia-smi's. The last line is one JSON object.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from math import ceil
from pathlib import Path
from typing import Any

import yaml

from concord.blocks import blocks
from concord.config import Clips
from concord.load import load
from concord.media.ffmpeg import find_ffmpeg
from concord.models import catalogue
from concord.models.base import MediaFile
from concord.tables import EMBEDDINGS, MEDIA, read_metadata, read_table

ROOT = Path(__file__).resolve().parents[1]
GOAL, JOB_CLIPS = 0.1, 10_000
OLD_AT_A_TIME, OLD_BATCH = 16, 4
MADE = [(s, size, rate) for s in (4, 8) for size, rate in
        (("320x240", 25), ("640x360", 30), ("854x480", 24), ("1280x720", 24))]  # fmt: skip
MODELS: dict[str, dict[str, Any]] = {
    "vit-b-32": {"entry": "open_clip", "architecture": "ViT-B-32"},
    "imagebind": {"entry": "imagebind"},
}
MODALITIES = {"vit-b-32": ("video",), "imagebind": ("video", "audio")}
Row = dict[str, Any]


def main() -> None:
    """Measure and print; the exit status is 1 if the goal is missed."""
    options = _options()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.cores])
    with tempfile.TemporaryDirectory(dir=options.work) as name:
        work = Path(name)
        sources = _sources(options.folder) if options.folder else make_clips(work / "made")
        repeat(sources, work / "clips", options.clips)
        for model in options.models:
            write_weights(model, work / f"{model}.pt")
        rounds = [_round(work, work / f"round{i}", options) for i in range(options.rounds)]
    result = verdict(rounds, options)
    print(json.dumps(result))
    sys.exit(not result["met"])


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?", help="clips; default: made here")
    parser.add_argument("--clips", type=int, default=2000, help="how many they are repeated to")
    parser.add_argument("--scripts-clips", type=int, help="how many the scripts get; default: all")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=["vit-b-32"])
    parser.add_argument("--rounds", type=int, default=1, help="pairs of runs")
    cores = len(os.sched_getaffinity(0))
    parser.add_argument("--cores", type=int, default=cores, help="cores both sides may use")
    parser.add_argument("--workers", type=int, default=4, help="decoders of our jobs")
    parser.add_argument("--batch", type=int, default=32, help="clips in a batch of our jobs")
    parser.add_argument("--work", type=Path, help="where to work; default: the usual one")
    return parser.parse_args()


def _sources(folder: Path) -> list[Path]:
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    if not found:
        raise SystemExit(f"{folder}: no files; expected a folder of clips")
    return found


def make_clips(folder: Path) -> list[Path]:
    """Eight clips of 4 and 8 s and four sizes, with moving picture, noise and sound."""
    folder.mkdir()
    for number, (seconds, size, rate) in enumerate(MADE):
        picture = f"testsrc2=size={size}:rate={rate}:duration={seconds},noise=alls=12:allf=t"
        sound = f"sine=frequency={300 + 60 * number}:beep_factor=3:duration={seconds}"
        inputs = ("-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", sound)
        coded = ("-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p", "-c:a", "aac")
        ffmpeg(*inputs, *coded, folder / f"{number}.mp4")
    return sorted(folder.iterdir())


def repeat(sources: list[Path], folder: Path, count: int) -> None:
    """`count` clips of other names in a folder, the sources in turn."""
    folder.mkdir()
    for number in range(count):
        source = sources[number % len(sources)]
        target = folder / f"{number:06d}_{source.name}"
        try:
            os.link(source, target)
        except OSError:
            shutil.copyfile(source, target)


def write_weights(model: str, path: Path) -> None:
    """Random weights of a model's published shape, from a process of its own."""
    code = f"from benchmarks import throughput as t; t.{_maker(model)}({str(path)!r})"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def _maker(model: str) -> str:
    return "make_imagebind" if model == "imagebind" else "make_open_clip"


def make_imagebind(path: str) -> None:
    """The published shape of ImageBind, 4.8 GB."""
    from benchmarks.imagebind_memory import build

    build(Path(path))


def make_open_clip(path: str) -> None:
    """A ViT-B/32 of OpenCLIP, 0.6 GB."""
    import open_clip
    import torch

    torch.manual_seed(0)
    torch.save(open_clip.create_model("ViT-B-32").state_dict(), path)


def _round(work: Path, folder: Path, options: argparse.Namespace) -> Row:
    """Times of both sides: the media, then each model and modality."""
    folder.mkdir()
    names = sorted(path.name for path in (work / "clips").iterdir())
    config = {
        "collections": {"clips": str(work / "clips")},
        "models": {
            model: MODELS[model]
            | {"checkpoint": str(work / f"{model}.pt"), "batch_size": options.batch}
            | {"workers": options.workers}
            for model in options.models
        },
        "tasks": ["features"],
        "media": {"filter": False},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    shards = [f"{i:04d}" for i in range(ceil(options.clips / Clips().shard_size))]
    tables = [folder / f"results/media/clips/{shard}/media.parquet" for shard in shards]
    ours_s = timed(lambda: snakemake(folder, tables, options.cores))
    processed = _ok(tables)
    old = folder / "old"
    given = names[: options.scripts_clips]
    scale = len(names) / len(given)
    theirs_s = scale * timed(lambda: three_passes([work / "clips" / n for n in given], old))
    print(f"media: ours {ours_s:.1f} s, theirs {theirs_s:.1f} s, {processed} clips", flush=True)
    found: Row = {"media": {"ours_s": ours_s, "theirs_s": theirs_s, "clips": processed}}
    for model in options.models:
        for modality in MODALITIES[model]:
            name = f"{model}/{modality}"
            found[name] = _embedded(folder, name, shards, options.cores)
            files = [old / f"{n}.mp4" for n in given]
            if model == "imagebind":
                files = [work / "clips" / n for n in given]
            arguments = ("--as-script", str(folder), model, modality, *map(str, files))
            listed = folder / "files.json"
            listed.write_text(json.dumps(arguments[1:]))
            command = [sys.executable, "-m", "benchmarks.throughput", arguments[0], str(listed)]
            whole_s = timed(lambda c=command: run(c, ROOT))
            worked_s = float((folder / "worked_s.txt").read_text())
            found[name]["theirs_s"] = whole_s + (scale - 1) * worked_s
            print(f"{name}: {found[name]}", flush=True)
    return found


def _embedded(folder: Path, name: str, shards: list[str], cores: int) -> Row:
    """Times of our jobs that make the tables of one model and modality."""
    names = blocks(shards, Clips().shards_a_block)
    tables = [folder / f"results/embeddings/{name}/clips/{block}.parquet" for block in names]
    with gpu_busy() as busy:
        wall_s = timed(lambda: snakemake(folder, tables, cores))
    notes = [read_metadata(table) for table in tables]
    waited_s, computed_s = (
        sum(note["run"][key] for note in notes) for key in ("waited_s", "computed_s")
    )
    found = {"ours_s": wall_s, "waited_s": waited_s, "computed_s": computed_s}
    found["start_s"] = wall_s - waited_s - computed_s
    found["device"] = notes[0]["computed"][0]["device"]
    found["clips"] = sum(read_table(t, EMBEDDINGS, ["status"]).num_rows for t in tables)
    if busy:
        found["gpu_busy_s"] = sum(busy)
    return found


def _ok(tables: list[Path]) -> int:
    rows = [row for table in tables for row in read_table(table, MEDIA, ["status"]).to_pylist()]
    return sum(row["status"] == "ok" for row in rows)


@contextmanager
def gpu_busy() -> Iterator[list[float]]:
    """Busy seconds of the first visible GPU, five samples a second; stays empty without one."""
    found: list[float] = []
    if not shutil.which("nvidia-smi"):
        yield found
        return
    query = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
    device = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")[0] or "0"
    watch = subprocess.Popen([*query, "-i", device, "-lms", "200"], stdout=-1, text=True)

    def read() -> None:
        assert watch.stdout
        for line in watch.stdout:
            if line.strip().isdecimal():
                found.append(0.2 * int(line) / 100)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        yield found
    finally:
        watch.terminate()
        reader.join()


def snakemake(folder: Path, targets: list[Path], cores: int) -> None:
    """Make the targets in a folder that holds a configuration."""
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")]
    command += ["--configfile", "config.yaml", "--cores", str(cores)]
    run([*command, *(str(target.relative_to(folder)) for target in targets)], folder)


def run(command: list[str], folder: Path) -> None:
    """Run to the end; raises SystemExit with what was printed if it fails."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace")
    if done.returncode:
        raise SystemExit(f"{command[:6]}:\n{done.stdout[-3000:]}\n{done.stderr[-6000:]}")


def timed(work: Callable[[], None]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def three_passes(clips: list[Path], folder: Path) -> None:
    """What the scripts made of every clip: its volume, a small picture, and its sound."""
    folder.mkdir()

    def one(clip: Path) -> None:
        scaled = ["-vf", "scale=224:224", "-r", "20", "-c:v", "libx264", "-preset", "fast"]
        ffmpeg("-i", clip, "-af", "volumedetect", "-f", "null", "-")
        ffmpeg("-i", clip, *scaled, "-crf", "23", folder / f"{clip.name}.mp4")
        ffmpeg("-i", clip, "-vn", "-ac", "1", "-ar", "16000", folder / f"{clip.name}.wav")

    with ThreadPoolExecutor(OLD_AT_A_TIME) as executor:
        list(executor.map(one, clips))


def ffmpeg(*arguments: str | Path) -> None:
    """Run ffmpeg, whatever it ends with: clips without sound end badly."""
    command = [find_ffmpeg().path, "-nostdin", "-v", "error", "-y", *map(str, arguments)]
    subprocess.run(command, capture_output=True, check=False)


def as_script(listed: Path) -> None:
    """The sequential way: load file after file in this process, compute in batches of 4."""
    import importlib

    import numpy as np
    import torch

    folder, model, modality, *files = json.loads(listed.read_text())
    os.chdir(folder)
    spec = catalogue.spec(load(Path("config.yaml")), model)
    family = importlib.import_module(f"concord.models.{spec.backend}")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    embedder, read = family.load(spec, device), family.reader(spec, modality)
    vectors = []
    loaded = time.perf_counter()
    for start in range(0, len(files), OLD_BATCH):
        inputs = []
        for file in files[start : start + OLD_BATCH]:
            try:
                inputs.append(read(MediaFile(Path(file))))
            except ValueError as error:
                print(f"{file}: {error}", file=sys.stderr)
        if inputs:
            vectors.append(embedder.embed(modality, inputs))
    np.save(f"{model}.{modality}.npy", np.concatenate(vectors))
    Path("worked_s.txt").write_text(str(time.perf_counter() - loaded))


def verdict(rounds: list[Row], options: argparse.Namespace) -> Row:
    """The medians of all rounds, and whether start-up is as short as it should be."""
    middle = {
        part: {
            key: statistics.median(found[part][key] for found in rounds)
            if isinstance(value, int | float)
            else value
            for key, value in rounds[0][part].items()
        }
        for part in rounds[0]
    }
    media = middle.pop("media")
    embeddings = {name: _speeds(found) for name, found in middle.items()}
    total = {
        side: media[side] + sum(found[side] for found in middle.values())
        for side in ("ours_s", "theirs_s")
    }
    value = max(found["start_share_of_10000"] for found in embeddings.values())
    return {
        "name": "start-up of an embedding job on 10,000 clips",
        "value": value,
        "unit": "share of its time",
        "goal": GOAL,
        "met": value < GOAL,
        "clips": options.clips,
        "scripts_clips": options.scripts_clips or options.clips,
        "cores": options.cores,
        "rounds": options.rounds,
        "media_clips_per_s_and_core": round(options.clips / media["ours_s"] / options.cores, 3),
        "media_times_the_scripts": round(media["theirs_s"] / media["ours_s"], 2),
        "embeddings": embeddings,
        "end_to_end_clips_per_s": round(options.clips / total["ours_s"], 2),
        "end_to_end_times_the_scripts": round(total["theirs_s"] / total["ours_s"], 2),
    }


def _speeds(found: Row) -> Row:
    """Clips per second of one model and modality, and what bounds them."""
    working_s = found["waited_s"] + found["computed_s"]
    on_cpu = found["device"] == "cpu"
    parts = {"start-up": found["start_s"], "decoders": found["waited_s"]}
    parts["CPU" if on_cpu else "GPU"] = found["computed_s"]
    whole_s = found["start_s"] + JOB_CLIPS * working_s / found["clips"]
    speeds = {
        "clips_per_s": round(found["clips"] / found["ours_s"], 2),
        "clips_per_s_after_start": round(found["clips"] / working_s, 2),
        "times_the_scripts": round(found["theirs_s"] / found["ours_s"], 2),
        "start_s": round(found["start_s"], 1),
        "start_share": round(found["start_s"] / found["ours_s"], 3),
        "start_share_of_10000": round(found["start_s"] / whole_s, 3),
        "bounded_by": max(parts, key=parts.__getitem__),
        "device": found["device"],
    }
    if "gpu_busy_s" in found:
        speeds["gpu_busy_share"] = round(min(1.0, found["gpu_busy_s"] / working_s), 3)
    return speeds


if __name__ == "__main__":
    if sys.argv[1:2] == ["--as-script"]:
        as_script(Path(sys.argv[2]))
    else:
        main()
