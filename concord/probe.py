"""A small run of the user's own clips through the stages' own code, for a forecast.

`python -m concord.probe CONFIG REQUEST` is a process of its own that may be killed at any moment;
each finished measurement is one line of JSON. It writes only below the folder of the request.
"""

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from concord.config import Config
from concord.load import load
from concord.media.protocol import media_protocol
from concord.media.proxies import Limits
from concord.media.shard import process_shard
from concord.models import catalogue
from concord.scores.synchrony import measure_shard, synchrony_protocol
from concord.tables import MEDIA, PLAN, TEXTS, read_metadata, read_table, write_table
from concord.usage import cpu_s

AGAIN = 3
"""How often the sample goes through in the second of two rounds; they tell start from work."""


def main(config_file: Path, request_file: Path) -> None:
    """Measure media clip by clip, then synchrony, then the models, the light ones first."""
    _tell("start", start_s=cpu_s())
    config, request = load(config_file), json.loads(request_file.read_text("utf-8"))
    signal.alarm(request["limit_s"])  # should nobody be left to end this process
    folder = request_file.parent
    tables = _media(config, request, folder)
    if not tables:
        return
    if "synchrony" in config.tasks:
        _synchrony(config, tables, folder, request["workers"])
    if request["embeddings"]:
        before = cpu_s()
        import torch  # noqa: F401

        _tell("library", start_s=cpu_s() - before)
    for name, modality in request["embeddings"]:
        _embedding(config, name, modality, tables, request["texts"], folder)


def _media(config: Config, request: dict[str, Any], folder: Path) -> dict[Path, str]:
    """Transcode the sample, a few clips of each collection in turn, while there is time.

    Returns the media tables with their collections.
    """
    plan, tables = folder / "plan.parquet", dict[Path, str]()
    deadline = time.monotonic() + request["media_s"]
    started = _round(config, "", [_broken(folder)], plan, folder / "broken", request["workers"])[0]
    for number, (collection, clips) in enumerate(_in_turn(request["clips"], request["workers"])):
        if time.monotonic() > deadline:
            return tables
        output = folder / f"{number:04d}"
        args = (config, collection, clips, plan, output, request["workers"])
        used_s, size = _round(*args)
        tables[output / "media.parquet"] = collection
        paths = [clip["path"] for clip in clips]
        work_s = max(used_s - len(clips) * started, 0.0)
        _tell("media", of=collection, start_s=started, work_s=work_s, size=size, paths=paths)
    return tables


def _in_turn(
    clips: dict[str, list[dict[str, Any]]], at_once: int
) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """As many clips of one collection as are worked on at once, then of the next, and again."""
    most = max(map(len, clips.values()), default=0)
    for first in range(0, most, at_once):
        for collection, rows in clips.items():
            if part := rows[first : first + at_once]:
                yield collection, part


def _round(
    config: Config,
    collection: str,
    clips: list[dict[str, Any]],
    plan: Path,
    output: Path,
    workers: int,
) -> tuple[float, int]:
    """Seconds of processor and bytes that these clips take in the media stage."""
    write_table(plan, PLAN, clips)
    before, media = cpu_s(), config.media
    process_shard(
        plan,
        output / "media.parquet",
        media_protocol(config, collection or next(iter(config.collections))),
        workers=workers,
        timeout_s=media.timeout_s,
        memory_mb=media.memory_mb,
    )
    files = (path for path in output.rglob("*") if path.is_file() and path.parent != output)
    return cpu_s() - before, sum(path.stat().st_size for path in files)


def _broken(folder: Path) -> dict[str, Any]:
    """A clip that takes no time, to measure what a worker takes to begin."""
    path = folder / "broken.mp4"
    path.write_bytes(b"")
    return {"clip_id": path.name, "path": str(path), "audio_path": None, "key": "broken"}


def _twice(clips: int, work: Callable[[int], None]) -> dict[str, float]:
    """What a stage takes to begin and for its clips, from two rounds of different size."""
    used = []
    for often in (1, AGAIN):
        before = cpu_s()
        work(often)
        used.append(cpu_s() - before)
    work_s = max((used[1] - used[0]) / (AGAIN - 1), 0.0)
    return {"start_s": max(used[0] - work_s, 0.0), "work_s": work_s, "clips": clips}


def _synchrony(config: Config, tables: dict[Path, str], folder: Path, workers: int) -> None:
    """By the first clips that were transcoded."""
    media, collection = next(iter(tables.items()))
    rows, limits = read_table(media, MEDIA).to_pylist(), config.media

    def work(often: int) -> None:
        repeated = media.with_name("repeated.parquet")
        write_table(repeated, MEDIA, rows * often)
        measure_shard(
            repeated,
            folder / f"synchrony-{often}.parquet",
            protocol=synchrony_protocol(),
            workers=workers,
            limits=Limits(limits.timeout_s, limits.memory_mb),
            media_protocol=media_protocol(config, collection),
        )

    _tell("began", of="synchrony", paths=[row["path"] for row in rows])
    _tell("synchrony", **_twice(len(rows), work))


def _embedding(
    config: Config,
    name: str,
    modality: Any,
    tables: dict[Path, str],
    texts: list[dict[str, Any]],
    folder: Path,
) -> None:
    from concord.models.shard import Means, embed_media, embed_texts

    spec, means = catalogue.spec(config, name), Means.of(config, name)
    protocol = media_protocol(config, next(iter(tables.values())))
    stage, walls = f"embeddings/{name}/{modality}", list[tuple[Path, float]]()

    def work(often: int) -> None:
        output, began = folder / stage / f"{often}.parquet", time.monotonic()
        if modality == "text":
            write_table(folder / "texts.parquet", TEXTS, texts * often)
            embed_texts([folder / "texts.parquet"], output, spec, means)
        else:
            embed_media(list(tables) * often, output, spec, modality, means, protocol)
        walls.append((output, time.monotonic() - began))

    rows = [row for table in tables for row in read_table(table, MEDIA, ["path"]).to_pylist()]
    _tell("began", of=stage, paths=[row["path"] for row in rows])
    try:
        used = _twice(len(texts) if modality == "text" else len(rows), work)
        _tell(stage, **used, **_of_gpu(*walls))
    except Exception as error:  # whatever a model lacks: its forecast says so
        _tell("failed", of=stage, why=str(error))


def _of_gpu(first: tuple[Path, float], second: tuple[Path, float]) -> dict[str, float | bool]:
    """How long a GPU was held to begin and for the clips, by tables and how long each took.

    The time for the clips is that of the second round, when the GPU has warmed up.
    """
    (run, wall_s), (again, _) = ((read_metadata(path), wall_s) for path, wall_s in (first, second))
    if all(entry["device"] == "cpu" for entry in run["computed"]):
        return {"on_gpu": False}
    works = [sum(note["run"][name] for name in ("waited_s", "computed_s")) for note in (run, again)]
    return {
        "on_gpu": True,
        "gpu_start_s": max(wall_s - works[0], 0.0),
        "gpu_s": works[1] / AGAIN,
    }


def _tell(what: str, **content: Any) -> None:
    print(json.dumps({"what": what, **content}), file=ANSWERS, flush=True)


if __name__ == "__main__":
    # What libraries print must not be taken for an answer.
    ANSWERS = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    main(Path(sys.argv[1]), Path(sys.argv[2]))
