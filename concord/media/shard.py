"""The media of one shard: only new and changed clips are processed, several at a time."""

import sys
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

from concord.clips.files import is_image
from concord.errors import UserError, printable
from concord.files import check_in_sight
from concord.media.clip import Job, Row, closed, filtered, gate_reason
from concord.media.ffmpeg import find_ffmpeg
from concord.media.file import MediaFile
from concord.media.gate import gate
from concord.media.nearby import nearby
from concord.media.protocol import row_keys
from concord.media.store import (
    COLUMNS,
    FOLDERS,
    Container,
    Part,
    arrange,
    damage,
    drop,
    find,
    measured,
    tidy,
)
from concord.media.worker import Worker
from concord.progress import Progress
from concord.protocol import protocol_id
from concord.remote.fetch import UnusableError
from concord.remote.urls import is_remote
from concord.resume import Resume
from concord.scratch import scratch_folder
from concord.tables import MEDIA, PLAN, read_metadata, read_table


def process_shard(
    plan: Path,
    output: Path,
    protocol: dict[str, Any],
    *,
    workers: int,
    timeout_s: float,
    memory_mb: int,
    keep_proxies: bool = True,
    container: Container = "files",
) -> None:
    """Write the media table `output` of the clips in `plan`, and proxies and waves beside it.

    Those lie in video/ and audio/, or in one tar. Clips whose row is there already are not opened
    again; with `keep_proxies` their files have to be there too, of the size that the row says; what
    goes into a new tar has to be whole. Files of clips that left the plan are deleted.
    Raises MachineError if the machine is at fault (a full disk, no original in sight), UserError
    without an ffmpeg.
    """
    clips = read_table(plan, PLAN).to_pylist()
    folder = output.parent
    with Resume(output, MEDIA) as resume, scratch_folder() as scratch:
        jobs = [_job(clip, folder, protocol, timeout_s, scratch) for clip in clips]
        done = {
            key: _with_sizes(folder, row)
            for key, row in resume.done.items()
            if not keep_proxies or _has_files(folder, row, whole=container == "tar")
        }
        reused = {job.clip_id: row for job in jobs if (row := _reusable(job, done))}
        resume.done.update((row["key"], row) for row in reused.values())
        for row in reused.values():
            _tell(row)
        # The largest first, so that no worker is left alone with a long clip at the end.
        todo = sorted((job for job in jobs if job.clip_id not in reused), key=_size, reverse=True)
        made: dict[str, Row] = {}
        for row in _run(todo, folder.name, workers, memory_mb):
            resume.add(row)
            _tell(row)
            made[row["clip_id"]] = row
        if any(row["reason"] == "missing" for row in made.values()):
            check_in_sight([job.path for job in jobs if not is_remote(job.path)])
        rows = [(reused | made)[job.clip_id] for job in jobs]
        arrange(folder, rows, container)
        resume.finish(
            [row["key"] for row in rows],
            protocol=protocol,
            protocol_id=protocol_id(protocol),
            computed=_tools(resume),
        )
        tidy(folder, rows, container)


def restore(
    row: Mapping[str, Any],
    protocol: dict[str, Any],
    folder: Path,
    parts: str = "va",
    *,
    timeout_s: float,
    memory_mb: int,
) -> dict[Part, Path]:
    """Make the proxy (`v`) or the wave (`a`) of a row anew, below `folder`; what the row has.

    A file that differs from the first one, as another ffmpeg may make it, is told on standard
    error. Raises UserError if the original no longer gives what the row says, UnusableError for an
    object that cannot be fetched as it was.
    """
    wanted: list[Part] = [part for part in COLUMNS if part in parts and row[COLUMNS[part]]]
    if not wanted:
        return {}
    job = Job(
        row["clip_id"],
        row["path"],
        row["audio_path"],
        row["source_key"],
        (row["key"], row["key"]),
        str(folder.absolute()),
        protocol | {"filter": False},
        find_ffmpeg().path,
        timeout_s,
        str(folder.absolute()),
        "".join(wanted),
    )
    folder.mkdir(parents=True, exist_ok=True)
    with nearby([job]) as take, take(0) as local, Worker(memory_mb) as worker:
        again = worker.run(local)
    if any(again[COLUMNS[part]] != row[COLUMNS[part]] for part in wanted):
        raise UserError(
            f"{row['path']}: expected the media the table describes, found "
            f"{again['reason'] or again['video_reason'] or again['audio_reason']}; "
            "the file has changed: run the workflow again"
        )
    made = {part: folder / FOLDERS[part] / again[COLUMNS[part]] for part in wanted}
    for part, path in made.items():
        if damage(MediaFile(path), row, part):
            print(
                f"{row['clip_id']!r}: the {COLUMNS[part]} made again from the original is not the "
                "same as the first, as with another version of ffmpeg",
                file=sys.stderr,
                flush=True,
            )
    return made


def drop_proxies(output: Path) -> None:
    """Delete the proxies and waves beside a media table; its rows stay finished."""
    drop(output.parent)


def repack_shard(media: Path, container: Container) -> None:
    """Move the proxies and waves beside a media table into another container.

    The table, and so all that rests on it, stays as it is. Raises UserError if there is no room.
    """
    rows = read_table(media, MEDIA).to_pylist()
    arrange(media.parent, rows, container)
    tidy(media.parent, rows, container)


def _job(
    clip: Mapping[str, Any],
    folder: Path,
    protocol: dict[str, Any],
    timeout_s: float,
    scratch: Path,
) -> Job:
    return Job(
        clip["clip_id"],
        clip["path"],
        clip["audio_path"],
        clip["key"],
        row_keys(clip["key"], protocol),
        str(folder.absolute()),
        protocol,
        find_ffmpeg().path,
        timeout_s,
        str(scratch.absolute()),
    )


def _still(job: Job) -> Row:
    """The row of a clip that is an image: models read it as it is, so nothing is made of it."""
    part = {"status": "skipped", "reason": "still_image"}
    sound = {"audio_status": "skipped", "audio_reason": "no_audio_stream"}
    return job.row() | part | {f"video_{name}": value for name, value in part.items()} | sound


def _reusable(job: Job, done: Mapping[str, Row]) -> Row | None:
    """The finished row of a job's clip, if the gate decides as it did."""
    transcoded, kept_out = (done.get(key) for key in job.keys)
    now = {"clip_id": job.clip_id, "path": job.path, "audio_path": job.audio_path}
    if transcoded:
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
    return path.stat().st_size if not is_remote(job.path) and path.exists() else 0


def _has_files(folder: Path, row: Row, whole: bool) -> bool:
    named: list[Part] = [part for part, column in COLUMNS.items() if row[column]]
    return all(find(folder, row, part, whole) for part in named)


def _with_sizes(folder: Path, row: Row) -> Row:
    """The row with the sizes and digests of its files, which earlier versions did not note."""
    for part, column in COLUMNS.items():
        file = find(folder, row, part) if row[f"{column}_bytes"] is None else None
        if file:
            row = row | measured(file, part)
    return row


def _tell(row: Row) -> None:
    """One line in the log for a clip that is not ok."""
    if row["status"] != "ok":
        words = [row["status"], row["reason"], row["detail"]]
        said = printable(" ".join(filter(None, words)))
        print(f"{row['clip_id']!r}: {said}", file=sys.stderr, flush=True)


def _tools(resume: Resume) -> dict[str, list[str]]:
    """Versions of the tools that made the rows, those of earlier runs included."""
    versions: dict[str, list[str]] = {}
    with suppress(UserError):  # there is no earlier table, or it is damaged
        versions = read_metadata(resume.previous).get("computed", {})
    if resume.journal.stat().st_size:
        now = {"ffmpeg": find_ffmpeg().version, "av": version("av")}
        versions = {tool: sorted({*versions.get(tool, []), v}) for tool, v in now.items()}
    return versions


def _run(jobs: list[Job], name: str, workers: int, memory_mb: int) -> Iterator[Row]:
    """Rows of the jobs as they are finished; `workers` processes at a time."""
    yield from (_still(job) for job in jobs if is_image(job.path))
    jobs = [job for job in jobs if not is_image(job.path)]
    if not jobs:
        return
    own = threading.local()
    started: list[Worker] = []

    def run(number: int) -> Row:
        if not hasattr(own, "worker"):
            own.worker = Worker(memory_mb)
            started.append(own.worker)
        job = jobs[number]
        try:
            with take(number) as local:
                row: Row = own.worker.run(local)
        except UnusableError as error:
            return closed(job.row(), error.reason, error.detail)
        return row | {"path": job.path, "audio_path": job.audio_path}

    progress = Progress(f"media {name}: clips", len(jobs))
    with nearby(jobs) as take:
        executor = ThreadPoolExecutor(min(workers, len(jobs)))
        try:
            for future in as_completed([executor.submit(run, n) for n in range(len(jobs))]):
                yield future.result()
                progress.step()
        finally:
            executor.shutdown(wait=False, cancel_futures=True)
            for worker in started:
                worker.close()
            executor.shutdown()
