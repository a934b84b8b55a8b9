"""The embedding jobs: the clips or texts of one block of shards through one model."""

import importlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from concord.blocks import regrouped
from concord.config import Config
from concord.files import check_in_sight
from concord.media.protocol import content_id
from concord.media.proxies import Limits, Proxies
from concord.models.base import Embedder, MediaFile, Modality, ModelSpec, Reader
from concord.models.batches import Batches
from concord.models.computed import computed_by, computing_now, keep, refuse_other
from concord.models.devices import lease
from concord.models.distant import near
from concord.models.sources import (
    ProxyReader,
    Task,
    companion_task,
    media_task,
    prepare,
    text_task,
)
from concord.models.timing import Timing
from concord.parallel import Behind, Failure, parallel_map
from concord.progress import Progress
from concord.protocol import protocol_id
from concord.resume import Resume, Row, rows_beside
from concord.scratch import scratch_folder
from concord.tables import COMPANION_FILES, EMBEDDINGS, MEDIA, TEXTS, Table, read_table

AHEAD_BYTES = 2**29
"""What decoders may have ready beside the batch that is computed; `memory_mb` of models has it."""

Read = Callable[[Any], np.ndarray]
"""Makes of a task's source what the family's embedder takes for one clip."""


@dataclass(frozen=True)
class Means:
    """What a job may use; none of it changes its results.

    `device` is auto, cpu or cuda, `limits` are those of one clip, `workers` decoder processes.
    """

    batch_size: int
    workers: int
    limits: Limits
    device: str = "auto"

    @classmethod
    def of(cls, config: Config, model: str) -> "Means":
        """The means that a configuration gives to the jobs of a model."""
        chosen = config.models[model]
        media = config.media
        limits = Limits(media.timeout_s, media.memory_mb, media.max_pixels)
        return cls(chosen.batch_size, chosen.workers, limits, chosen.device)


def embed_media(
    media: Sequence[Path],
    output: Path,
    spec: ModelSpec,
    modality: Modality,
    means: Means,
    media_protocol: dict[str, Any],
) -> None:
    """Embed the pictures or the sounds of the clips of shards; writes EMBEDDINGS to `output`.

    Every row of the MEDIA tables `media` has a row here, in their order: clips whose picture or
    sound cannot be used keep the reason, with a null embedding. Rows that are done are kept; the
    model is loaded once, and only if others are left. Proxies that were deleted are made again, for
    this job only. Originals are opened by models that read them, in processes that may die of it.
    Raises UserError when the machine or the configuration is at fault.
    """
    proxies = spec.reads == "proxies"
    inputs = {"media": content_id(media_protocol)} if proxies else {}
    job = _Job(output, spec, modality, means, inputs)
    wanted = [
        media_task(row, path.parent, spec, modality, job.key, means.limits.max_pixels)
        for path in media
        for row in read_table(path, MEDIA).to_pylist()
    ]
    if not proxies:
        job.embed(wanted, job.reader, foreign=True)
        return
    with scratch_folder() as scratch:
        found = {
            path.parent: Proxies(path.parent, media_protocol, scratch, means.limits)
            for path in media
        }
        job.embed(wanted, lambda: ProxyReader(job.reader(), modality, found), foreign=False)


def embed_companions(
    companions: Sequence[Path], output: Path, spec: ModelSpec, modality: Modality, means: Means
) -> None:
    """Embed the files beside the clips of shards; writes EMBEDDINGS to `output`, a row a clip.

    `companions` are COMPANION_FILES tables of that modality alone.
    Raises UserError when the machine or the configuration is at fault.
    """
    job = _Job(output, spec, modality, means, {})
    rows = _all_rows(companions, COMPANION_FILES)
    wanted = [companion_task(row, job.key, means.limits.max_pixels) for row in rows]
    job.embed(wanted, job.reader, foreign=True)


def embed_texts(texts: Sequence[Path], output: Path, spec: ModelSpec, means: Means) -> None:
    """Embed the texts of TEXTS tables; writes EMBEDDINGS to `output`, a row for every text.

    A text longer than the model reads is embedded as far as it is read, and its row says so.
    Raises UserError when the machine or the configuration is at fault.
    """
    job = _Job(output, spec, "text", means, {})
    rows = _all_rows(texts, TEXTS)
    with Resume(output, EMBEDDINGS) as resume:
        tasks = job.open_tasks(resume, (text_task(row, job.key) for row in rows))
        if tasks:
            job.run(resume, tasks, (task.source for task in tasks))
        job.finish(resume)


def _all_rows(tables: Sequence[Path], table: Table) -> Iterator[Row]:
    return (row for path in tables for row in read_table(path, table).to_pylist())


class _Job:
    """What one block's job knows: its protocol, its rows, and what computed them."""

    def __init__(
        self,
        output: Path,
        spec: ModelSpec,
        modality: Modality,
        means: Means,
        inputs: dict[str, str],
    ) -> None:
        self.output, self.spec, self.modality, self.means = output, spec, modality, means
        self.key = protocol_id(spec.protocol(modality))
        self.protocol = spec.protocol(modality) | inputs
        self.family = importlib.import_module(f"concord.models.{spec.backend}")
        self.wanted: list[Task | Row] = []
        self.computed: list[dict[str, Any]] = []
        self.succeeded = False
        self.timing = Timing()

    def reader(self) -> Reader:
        """The family's reader, for which it may have to ask a hub."""
        found: Reader = self.family.reader(self.spec, self.modality)
        return found

    def embed(
        self, wanted: Iterable[Task | Row], reader: Callable[[], Read], foreign: bool
    ) -> None:
        """Read the files of the tasks in decoder processes, embed them, and write the table.

        `reader` is called if there are tasks. Processes that open files which Concord did not write
        have a limit of memory.
        """
        means, limits = self.means, self.means.limits
        with Resume(self.output, EMBEDDINGS) as resume:
            tasks = self.open_tasks(resume, wanted)
            if tasks:
                memory_mb = limits.memory_mb if foreign else None
                with (
                    near([task.source for task in tasks], reader()) as files,
                    parallel_map(
                        files.read,
                        files.sources,
                        workers=means.workers,
                        ahead=min(2 * means.batch_size, files.most) + means.workers,
                        ahead_bytes=AHEAD_BYTES,
                        timeout_s=limits.original_s if foreign else limits.proxy_s,
                        prepare=partial(prepare, files.read, memory_mb),
                    ) as views,
                ):
                    self.run(resume, tasks, files.done(views))
            self.finish(resume)

    def open_tasks(self, resume: Resume, wanted: Iterable[Task | Row]) -> list[Task]:
        """Add the rows that need no model; returns the tasks that are not done yet."""
        tasks, settled, kept = [], [], False
        computed = computed_by(self.output)
        for item in wanted:
            self.wanted.append(item)
            key = _finished(item, resume.done)
            if key and (computed or resume.done[key]["status"] != "ok"):
                # the same file may have another id now, below another folder
                name = item.id if isinstance(item, Task) else item["id"]
                resume.done[key] = resume.done[key] | {"id": name}
                kept = kept or isinstance(item, Task)
                self.succeeded = self.succeeded or resume.done[key]["status"] == "ok"
            elif isinstance(item, Task):
                tasks.append(item)
            else:
                settled.append(dict.fromkeys(EMBEDDINGS.names) | item)
        if kept and computed:
            self.computed = computed
            keep(self.output, computed)
        resume.settle(*settled)
        for other in regrouped(self.output) if tasks else []:
            tasks = self._adopt(resume, tasks, other)
        return tasks

    def _adopt(self, resume: Resume, tasks: list[Task], other: Path) -> list[Task]:
        """Take over what a block of another size has of these tasks; returns the others."""
        computed = computed_by(other)
        rows = rows_beside(other, EMBEDDINGS) if computed else {}
        done = {t.key for t in tasks if t.key in rows and rows[t.key]["status"] == "ok"}
        if done:
            resume.done.update((t.key, rows[t.key] | {"id": t.id}) for t in tasks if t.key in done)
            for computing in computed:
                self._remember(computing)
            self.succeeded = True
        return [task for task in tasks if task.key not in done]

    def run(
        self, resume: Resume, tasks: list[Task], inputs: Iterator[np.ndarray | str | Failure]
    ) -> None:
        """Load the model and embed the tasks' inputs, which come in the tasks' order.

        Rows are held back as long as it may be the job, and not the clips, that is at fault.
        """
        name, size = self.spec.name, self.means.batch_size
        if fetch := getattr(self.family, "fetch", None):
            fetch(self.spec)
        with lease(self.means.device, f"models.{name}.device") as device, Behind() as writer:
            embedder = self.family.load(self.spec, device)
            computing = computing_now(self.spec, embedder, device)
            refuse_other(self.computed, computing, name, self.output)
            proven = self.succeeded and computing in self.computed
            batches = Batches(embedder, name, self.modality, size, proven=proven)
            progress = Progress(f"{name} {self.modality}", len(tasks))
            pairs, held = zip(tasks, inputs, strict=True), list[Row]()
            self.timing.ready()
            lost = False
            while chunk := self._next(pairs, size):
                rows = self._rows(batches, chunk)
                lost = lost or any(row["reason"] == "missing" for row in rows)
                held += rows
                if batches.works:
                    self._remember(computing)
                if not batches.undecided:
                    writer.do(partial(resume.add, *held))
                    held = []
                progress.step(len(chunk))
            batches.conclude()
            writer.do(partial(resume.add, *held))
        if lost:
            files = (item.source for item in self.wanted if isinstance(item, Task))
            check_in_sight([str(file.path) for file in files if isinstance(file, MediaFile)])

    def finish(self, resume: Resume) -> None:
        """Write the table: the rows in order, with the protocol and what computed them."""
        resume.finish(
            [str(_finished(item, resume.done)) for item in self.wanted],
            protocol=self.protocol,
            protocol_id=protocol_id(self.protocol),
            model=self.spec.name,
            modality=self.modality,
            dim=self.spec.dim,
            computed=self.computed,
            run=self.timing.note(),
        )

    def _next(self, pairs: Iterator[tuple[Task, Any]], size: int) -> list[tuple[Task, Any]]:
        """The next batch of tasks with their inputs; empty at the end."""
        with self.timing.of("waited_s"):
            return list(islice(pairs, size))

    def _rows(self, batches: Batches, chunk: list[tuple[Task, Any]]) -> list[Row]:
        """Rows of a batch of tasks with their inputs; inputs that failed keep their reason."""
        usable = [given for _, given in chunk if not isinstance(given, Failure)]
        notes = iter(_notes(batches.embedder, self.modality, usable))
        with self.timing.of("computed_s"):
            results = iter(batches.embed(usable))
        rows: list[Row] = []
        for task, given in chunk:
            if isinstance(given, Failure):
                rows.append(_row(task, _cause(task, given), None, None))
            else:
                views = batches.views(given)
                rows.append(_row(task, next(results), views, next(notes)))
        return rows

    def _remember(self, computing: dict[str, Any]) -> None:
        """Keep what computes rows, before the first of them, for a job that may be killed."""
        if computing not in self.computed:
            self.computed.append(computing)
            keep(self.output, self.computed)


def _cause(task: Task, failure: Failure) -> Failure:
    """Why the task's input could not be read; its file may be gone, whatever the reader says."""
    if isinstance(task.source, MediaFile) and not os.path.exists(task.source.path):  # noqa: PTH110
        return Failure("missing", str(task.source.path))
    return failure


def _finished(item: Task | Row, done: Mapping[str, Row]) -> str | None:
    """The key of an item's row among those that are done; None if there is none."""
    if isinstance(item, Task):
        return item.finished(done)
    return item["key"] if item["key"] in done else None


def _row(task: Task, result: np.ndarray | Failure, views: int | None, note: str | None) -> Row:
    row: Row = dict.fromkeys(EMBEDDINGS.names)
    row |= {"id": task.id, "key": task.key, "status": "ok", "views": views, "detail": note}
    if isinstance(result, Failure):
        why = {"status": "failed", "reason": result.reason, "detail": result.detail}
        return row | why | {"key": task.key_for(result.reason)}
    return row | {"embedding": result}


def _notes(embedder: Embedder, modality: Modality, inputs: list[Any]) -> list[str | None]:
    """What is to be said of inputs that are embedded all the same: texts that are cut off."""
    if modality != "text":
        return [None] * len(inputs)
    return [
        "longer than the model reads; its end is cut off" if cut else None
        for cut in embedder.truncated(inputs)
    ]
