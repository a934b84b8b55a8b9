"""The media of one shard: only new and changed clips are processed, several at a time."""

import shutil
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace
from pathlib import Path
from typing import Any

from concord.errors import UserError
from concord.media.clip import WORK_PREFIX, Job, Row, filtered, gate_reason
from concord.media.ffmpeg import find_ffmpeg
from concord.media.gate import gate
from concord.media.protocol import row_keys
from concord.media.worker import Worker
from concord.protocol import protocol_id
from concord.resume import Resume
from concord.tables import MEDIA, PLAN, read_table

DROPPED = ".dropped"
"""Marks a shard whose proxies and waves were deleted on purpose."""


def process_shard(
    plan: Path,
    output: Path,
    protocol: dict[str, Any],
    *,
    workers: int,
    timeout_s: float,
    memory_mb: int,
    tree: Path | None = None,
) -> None:
    """Write the media table `output` of the clips in `plan`, and video/ and audio/ beside it.

    Clips whose row is there already, with its files, are not opened again. Files of clips that left
    the plan are deleted. With `tree` (a collection's folder) the proxies are written there too,
    with sound, under the clips' relative paths; names that do not end in .mp4 get it appended.
    Raises MachineError if the machine is at fault (a full disk), UserError without an ffmpeg.
    """
    clips = read_table(plan, PLAN).to_pylist()
    folder = output.parent
    for name in ("video", "audio"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for leftover in folder.glob(f"{WORK_PREFIX}*"):
        shutil.rmtree(leftover, ignore_errors=True)
    jobs = [_job(clip, folder, protocol, timeout_s, tree) for clip in clips]
    with Resume(output, MEDIA) as resume:
        former = {row["clip_id"] for row in resume.done.values()}
        reused = {job.clip_id: row for job in jobs if (row := _reusable(job, resume.done))}
        resume.done.update((row["key"], row) for row in reused.values())
        # The largest first, so that no worker is left alone with a long clip at the end.
        todo = sorted((job for job in jobs if job.clip_id not in reused), key=_size, reverse=True)
        todo_tree = [job for job in jobs if job.clip_id in reused and _lacks_tree(job, reused)]
        todo_tree = [replace(job, only_tree=True) for job in todo_tree]
        made: dict[str, Row] = {}
        for row in _run(todo, folder.name, workers, memory_mb):
            resume.add(row)
            made[row["clip_id"]] = row
        for _ in _run(todo_tree, f"{folder.name} (tree)", workers, memory_mb):
            pass
        rows = [(reused | made)[job.clip_id] for job in jobs]
        resume.finish(
            [row["key"] for row in rows], protocol=protocol, protocol_id=protocol_id(protocol)
        )
        _delete_orphans(folder, rows)
        if tree:
            for clip_id in former.difference(job.clip_id for job in jobs):
                _tree_path(tree, clip_id).unlink(missing_ok=True)


def restore(
    row: Mapping[str, Any],
    protocol: dict[str, Any],
    folder: Path,
    *,
    timeout_s: float = 600,
    memory_mb: int = 8000,
) -> tuple[Path | None, Path | None]:
    """Make the proxy and the wave of a row anew, below `folder`; None where the row has none.

    Raises UserError if the original no longer gives what the row says.
    """
    if not row["proxy"] and not row["wave"]:
        return None, None
    job = Job(
        row["clip_id"],
        row["path"],
        row["audio_path"],
        (row["key"], row["key"]),
        str(folder.absolute()),
        protocol | {"filter": False},
        find_ffmpeg().path,
        timeout_s,
    )
    folder.mkdir(parents=True, exist_ok=True)
    with Worker(memory_mb) as worker:
        again = worker.run(job)
    if (again["proxy"], again["wave"]) != (row["proxy"], row["wave"]):
        raise UserError(
            f"{row['path']}: expected the media the table describes, found "
            f"{again['reason'] or again['video_reason'] or again['audio_reason']}; "
            "the file has changed: run the workflow again"
        )
    proxy, wave = again["proxy"], again["wave"]
    return proxy and folder / "video" / proxy, wave and folder / "audio" / wave


def drop_proxies(output: Path) -> None:
    """Delete the proxies and waves beside a media table, for good: its rows stay finished."""
    (output.parent / DROPPED).touch()
    for name in ("video", "audio"):
        shutil.rmtree(output.parent / name, ignore_errors=True)


def _job(
    clip: Mapping[str, Any],
    folder: Path,
    protocol: dict[str, Any],
    timeout_s: float,
    tree: Path | None,
) -> Job:
    return Job(
        clip["clip_id"],
        clip["path"],
        clip["audio_path"],
        row_keys(clip["key"], protocol),
        str(folder.absolute()),
        protocol,
        find_ffmpeg().path,
        timeout_s,
        str(_tree_path(tree, clip["clip_id"]).absolute()) if tree else None,
    )


def _reusable(job: Job, done: Mapping[str, Row]) -> Row | None:
    """The finished row of a job's clip, if its files are there and the gate decides as it did."""
    transcoded, kept_out = (done.get(key) for key in job.keys)
    now = {"clip_id": job.clip_id, "path": job.path, "audio_path": job.audio_path}
    if transcoded and _has_files(Path(job.folder), transcoded):
        reason = gate_reason(transcoded, job.protocol)
        if reason is None:
            return transcoded | now
        if not transcoded["detail"]:
            return filtered(transcoded, reason, job.keys[1]) | now
    if kept_out and job.protocol["filter"]:
        reason = gate(kept_out, job.protocol["require"], job.protocol["silence_db"])[1]
        if reason:
            return filtered(kept_out, reason, job.keys[1]) | now
    return None


def _size(job: Job) -> int:
    path = Path(job.path)
    return path.stat().st_size if path.exists() else 0


def _has_files(folder: Path, row: Row) -> bool:
    files = [("video", row["proxy"]), ("audio", row["wave"])]
    there = all((folder / kind / name).exists() for kind, name in files if name)
    return there or (folder / DROPPED).exists()


def _run(jobs: list[Job], name: str, workers: int, memory_mb: int) -> Iterator[Row]:
    """Rows of the jobs as they are finished; `workers` processes at a time."""
    if not jobs:
        return
    own = threading.local()
    started: list[Worker] = []

    def run(job: Job) -> Row:
        if not hasattr(own, "worker"):
            own.worker = Worker(memory_mb)
            started.append(own.worker)
        row: Row = own.worker.run(job)
        return row

    progress = _Progress(name, len(jobs))
    executor = ThreadPoolExecutor(min(workers, len(jobs)))
    try:
        for future in as_completed([executor.submit(run, job) for job in jobs]):
            yield future.result()
            progress.step()
    finally:
        executor.shutdown(wait=False, cancel_futures=True)
        for worker in started:
            worker.close()
        executor.shutdown()


class _Progress:
    """Plain lines on standard error: clips done, clips a second, time left."""

    INTERVAL_S = 5.0

    def __init__(self, name: str, total: int) -> None:
        self.name, self.total, self.done = name, total, 0
        self.start_s = self.last_s = time.monotonic()

    def step(self) -> None:
        """Count one clip."""
        self.done += 1
        now_s = time.monotonic()
        if now_s - self.last_s < self.INTERVAL_S and self.done < self.total:
            return
        self.last_s = now_s
        rate = self.done / max(now_s - self.start_s, 1e-9)
        left_s = (self.total - self.done) / rate
        print(
            f"media {self.name}: {self.done} of {self.total} clips, {rate:.1f} clips/s, "
            f"{left_s:.0f} s left",
            file=sys.stderr,
            flush=True,
        )


def _delete_orphans(folder: Path, rows: list[Row]) -> None:
    for kind, column in (("video", "proxy"), ("audio", "wave")):
        wanted = {row[column] for row in rows}
        for file in (folder / kind).iterdir():
            if file.name not in wanted:
                file.unlink()


def _tree_path(tree: Path, clip_id: str) -> Path:
    name = clip_id if clip_id.lower().endswith(".mp4") else f"{clip_id}.mp4"
    return tree / name


def _lacks_tree(job: Job, rows: Mapping[str, Row]) -> bool:
    return bool(job.tree and rows[job.clip_id]["proxy"] and not Path(job.tree).exists())
