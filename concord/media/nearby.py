"""Clips that are objects, as files of this node for the time that they are worked on."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path

from concord.media.clip import Job
from concord.remote.ahead import Ahead
from concord.remote.originals import Original
from concord.remote.settings import ahead
from concord.scratch import scratch_folder

Take = Callable[[int], AbstractContextManager[Job]]
"""The job of a number, with local paths, for the time of a block; raises UnusableError."""


@contextmanager
def nearby(jobs: Sequence[Job]) -> Iterator[Take]:
    """Fetch the objects of these jobs in their order, ahead of the work, and delete them after it.

    A job is taken once. Local files stay where they are.
    """
    if not any(_original(job).is_remote for job in jobs):
        yield lambda number: nullcontext(jobs[number])
        return
    with scratch_folder() as scratch:
        fetching = Ahead(jobs, _fetch, scratch, ahead())
        try:
            yield fetching.take
        finally:
            fetching.close()


def _fetch(job: Job, folder: Path) -> Job:
    original = _original(job)
    if not original.is_remote:
        return job
    files = [job.path, *([job.audio_path] if job.audio_path else [])]
    path, *sound = original.fetch(folder, files)
    return replace(job, path=path, audio_path=sound[0] if sound else None)


def _original(job: Job) -> Original:
    return Original(job.clip_id, job.path, job.audio_path, job.source_key)
