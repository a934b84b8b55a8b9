"""Proxies in one tar a shard against a file each: files, bytes, time to pack and to read.

    python -m benchmarks.container [--clips FOLDER] [--copies 20] [--rounds 5] [--folder FOLDER]

The media stage runs once over the clips; its proxies and waves are then repeated to the size of a
shard. Each round packs them and reads every clip from the tar as jobs do (size, digest, every frame
and every sample, in one process), and then unpacks them and reads the same from the files, so that
other work on the machine weighs on both; what counts is processor time. `--folder` says on which
file system; its caches stay warm. The last line is JSON.
"""

import argparse
import json
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import soundfile

from concord.config import Config
from concord.media.protocol import media_protocol
from concord.media.proxies import Limits, Proxies
from concord.media.shard import process_shard, repack_shard
from concord.protocol import digest
from concord.tables import MEDIA, PLAN, read_table, write_table

GOAL = 1.1
Row = dict[str, Any]


def main() -> None:
    """Measure, print a line a round, and end with one JSON object."""
    options = _options()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        shard = Path(name) / "0000"
        rows = _shard(options.clips, shard, options.copies)
        rounds = [_round(shard, rows) for _ in range(options.rounds)]
    for found in rounds:
        print(found)
    ratio = statistics.median(
        found["read_tar_cpu_s"] / found["read_files_cpu_s"] for found in rounds
    )
    print(
        json.dumps(
            {
                "name": "reading all clips from a tar against files",
                "value": round(ratio, 3),
                "unit": "times the processor time of files",
                "goal": GOAL,
                "met": ratio <= GOAL,
                "clips": len(rows),
                **{k: statistics.median(found[k] for found in rounds) for k in rounds[0]},
            }
        )
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    default = Path(__file__).parents[2] / "shared/media/videos"
    parser.add_argument("--clips", type=Path, default=default, help="folder of clips")
    parser.add_argument("--copies", type=int, default=20, help="how often a clip is in the shard")
    parser.add_argument("--rounds", type=int, default=5, help="pairs of readings")
    parser.add_argument("--folder", type=Path, help="where to work; default: temporary files")
    return parser.parse_args()


def _shard(folder: Path, shard: Path, copies: int) -> list[Row]:
    """A shard of all clips, `copies` times each; its rows."""
    made = shard.with_name("made")
    clips = sorted(path for path in folder.iterdir() if path.is_file())
    plan = shard.with_name("plan.parquet")
    paths = [{"clip_id": c.name, "path": str(c), "key": digest(str(c))} for c in clips]
    write_table(plan, PLAN, [dict.fromkeys(PLAN.names) | row for row in paths])
    protocol = media_protocol(Config(collections={"c": folder}, prompts="prompts"), "c")
    process_shard(plan, made / "media.parquet", protocol, workers=2, timeout_s=600, memory_mb=4000)
    rows = []
    for row in read_table(made / "media.parquet", MEDIA).to_pylist():
        for number in range(copies):
            again = row | {"clip_id": f"{number}/{row['clip_id']}"}
            for kind, column in (("video", "proxy"), ("audio", "wave")):
                if row[column]:
                    again[column] = f"{number:03}{row[column]}"
                    (shard / kind).mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(made / kind / row[column], shard / kind / again[column])
            rows.append(again)
    write_table(shard / "media.parquet", MEDIA, rows)
    return rows


def _round(shard: Path, rows: list[Row]) -> dict[str, float]:
    files = _size(shard)
    pack_s = _timed(repack_shard, shard / "media.parquet", "tar")
    packed = _size(shard)
    from_tar = _reading(shard, rows)
    unpack_s = _timed(repack_shard, shard / "media.parquet", "files")
    from_files = _reading(shard, rows)
    return {
        "files": files[0],
        "files_tar": packed[0],
        "mb": files[1],
        "mb_tar": packed[1],
        "pack_s": pack_s,
        "unpack_s": unpack_s,
        "read_tar_s": from_tar[0],
        "read_files_s": from_files[0],
        "read_tar_cpu_s": from_tar[1],
        "read_files_cpu_s": from_files[1],
    }


def _reading(shard: Path, rows: list[Row]) -> tuple[float, float]:
    """Seconds, and seconds of processor time, to read all clips."""
    start_s = time.process_time()
    return _timed(_read, shard, rows), round(time.process_time() - start_s, 3)


def _size(shard: Path) -> tuple[int, float]:
    """Files and folders below a shard's folder, and megabytes on the disk."""
    found = list(shard.rglob("*"))
    return len(found), round(sum(path.stat().st_blocks * 512 for path in found) / 1e6, 1)


def _timed(function: Callable[..., None], *arguments: Any) -> float:
    start_s = time.perf_counter()
    function(*arguments)
    return round(time.perf_counter() - start_s, 3)


def _read(shard: Path, rows: list[Row]) -> None:
    """Decode every frame and every sample of the clips."""
    proxies = Proxies(shard, {}, shard, Limits(60, 2000))
    for row in rows:
        with proxies.open(row) as (proxy, wave):
            if proxy:
                with av.open(proxy.source()) as container:
                    container.streams.video[0].codec_context.thread_count = 1
                    assert sum(1 for _ in container.decode(video=0)) == row["frames"]
            if wave:
                assert len(soundfile.read(wave.source(), dtype="float32")[0])


if __name__ == "__main__":
    main()
