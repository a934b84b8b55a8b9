"""The embedding jobs: one shard of clips or of texts through one model."""

import importlib
import importlib.metadata
import json
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from concord.errors import UserError
from concord.files import write_text
from concord.media.protocol import content_id
from concord.models.base import Embedder, MediaFile, Modality, ModelSpec, Reader
from concord.models.batches import Batches
from concord.models.devices import describe, lease, precision
from concord.parallel import Failure, parallel_map
from concord.progress import Progress
from concord.protocol import digest, protocol_id
from concord.resume import Resume, Row
from concord.tables import EMBEDDINGS, MEDIA, TEXTS, read_table

READ_TIMEOUT_S = 720.0
"""Time for one clip in a decoder process, making a missing proxy again included."""
PACKAGES = ("av", "numpy", "open_clip_torch", "pillow", "soundfile", "timm", "torch")
PROXIES = {"video": ("video", "proxy"), "audio": ("audio", "wave")}
"""Folder beside the media table, and column with the file name, of what a modality reads."""


@dataclass(frozen=True)
class Task:
    """One embedding to make: id and key of its row, and the media row or the text it is of."""

    id: str
    key: str
    source: Any


@dataclass(frozen=True)
class ProxyReader:
    """Reads the proxy or wave of a MEDIA row as views; picklable, for decoder processes."""

    read: Reader
    modality: Modality
    shard: Path
    media_protocol: dict[str, Any]
    scratch: Path

    def __call__(self, row: Row) -> np.ndarray:
        folder, column = PROXIES[self.modality]
        path = self.shard / folder / str(row[column])
        if path.exists():
            return self.read(MediaFile(path))
        with tempfile.TemporaryDirectory(dir=self.scratch) as scratch:
            return self.read(MediaFile(self._restored(row, Path(scratch))))

    def _restored(self, row: Row, folder: Path) -> Path:
        from concord.media.shard import restore
        from concord.media.transcode import MachineError

        try:
            proxy, wave = restore(row, self.media_protocol, folder)
        except MachineError as error:
            raise UserError(f"{row['path']}: {error}") from error
        path: Path | None = proxy if self.modality == "video" else wave
        if path is None:
            raise ValueError("unreadable", f"{row['path']} could not be transcoded again")
        return path


def embed_media(
    media: Path,
    output: Path,
    spec: ModelSpec,
    modality: Modality,
    *,
    batch_size: int,
    workers: int,
    media_protocol: dict[str, Any],
) -> None:
    """Embed the pictures or the sounds of a shard's clips; writes EMBEDDINGS to `output`.

    Every row of the MEDIA table `media` has a row here, in its order: clips whose picture or sound
    cannot be used keep the reason, with a null embedding. Rows that are done are kept; the model
    is loaded only if others are left. Proxies that were deleted are made again, for this job only.
    Raises UserError when the machine or the configuration is at fault.
    """
    job = _Job(output, spec, modality, batch_size, {"media": content_id(media_protocol)})
    rows = read_table(media, MEDIA).to_pylist()
    with Resume(output, EMBEDDINGS) as resume:
        tasks = job.open_tasks(resume, (_media_task(row, modality, job.key) for row in rows))
        if tasks:
            with tempfile.TemporaryDirectory(prefix="concord-") as scratch:
                read = ProxyReader(
                    job.family.reader(spec, modality),
                    modality,
                    media.parent,
                    media_protocol,
                    Path(scratch),
                )
                with parallel_map(
                    read,
                    (task.source for task in tasks),
                    workers=workers,
                    ahead=2 * batch_size + workers,
                    timeout_s=READ_TIMEOUT_S,
                ) as views:
                    job.run(resume, tasks, views)
        job.finish(resume)


def embed_texts(texts: Path, output: Path, spec: ModelSpec, *, batch_size: int) -> None:
    """Embed the texts of a TEXTS table; writes EMBEDDINGS to `output`, a row for every text.

    A text longer than the model reads is embedded as far as it is read, and its row says so.
    Raises UserError when the machine or the configuration is at fault.
    """
    job = _Job(output, spec, "text", batch_size, {})
    rows = read_table(texts, TEXTS).to_pylist()
    with Resume(output, EMBEDDINGS) as resume:
        tasks = job.open_tasks(resume, (_text_task(row, job.key) for row in rows))
        if tasks:
            job.run(resume, tasks, (task.source for task in tasks))
        job.finish(resume)


def _media_task(row: Row, modality: Modality, protocol: str) -> Task | Row:
    """What is to be embedded, or the finished row of a clip that cannot be."""
    status, reason = row[f"{modality}_status"], row[f"{modality}_reason"]
    if status == "ok" and row[PROXIES[modality][1]]:
        return Task(row["clip_id"], digest(row["key"], protocol), row)
    if status == "ok":  # usable, but the media stage left it untranscoded, and says why
        status, reason = row["status"], row["reason"]
    return {
        "id": row["clip_id"],
        "key": digest(row["key"], protocol, status, reason or ""),
        "status": status,
        "reason": reason,
        "detail": row["detail"],
    }


def _text_task(row: Row, protocol: str) -> Task | Row:
    key = digest(row["text"], protocol)
    if row["text"].strip():
        return Task(row["text_id"], key, row["text"])
    return {"id": row["text_id"], "key": key, "status": "skipped", "reason": "empty_prompt"}


class _Job:
    """What one shard's job knows: its protocol, its rows, and what computed them."""

    def __init__(
        self,
        output: Path,
        spec: ModelSpec,
        modality: Modality,
        batch_size: int,
        inputs: dict[str, str],
    ) -> None:
        self.output, self.spec, self.modality = output, spec, modality
        self.batch_size = batch_size
        self.key = protocol_id(spec.protocol(modality))
        self.protocol = spec.protocol(modality) | inputs
        self.note = output.with_name(f".{output.name}.computed")
        self.family = importlib.import_module(f"concord.models.{spec.backend}")
        self.keys: list[str] = []
        self.computed: list[dict[str, Any]] = []

    def open_tasks(self, resume: Resume, wanted: Iterable[Task | Row]) -> list[Task]:
        """Add the rows that need no model; returns the tasks that are not done yet."""
        tasks, settled, kept = [], [], False
        for item in wanted:
            row = {"id": item.id, "key": item.key} if isinstance(item, Task) else item
            self.keys.append(row["key"])
            if row["key"] in resume.done:
                # the same file may have another id now, below another folder
                resume.done[row["key"]] = resume.done[row["key"]] | {"id": row["id"]}
                kept = kept or isinstance(item, Task)
            elif isinstance(item, Task):
                tasks.append(item)
            else:
                settled.append(dict.fromkeys(EMBEDDINGS.names) | item)
        if kept and self.note.exists():
            self.computed = json.loads(self.note.read_text("utf-8"))
        resume.add(*settled)
        return tasks

    def run(
        self, resume: Resume, tasks: list[Task], inputs: Iterator[np.ndarray | str | Failure]
    ) -> None:
        """Load the model and embed the tasks' inputs, which come in the tasks' order."""
        with lease() as device:
            embedder = self.family.load(self.spec, device)
            self._note(embedder, describe(device), precision(self.spec.precision, device))
            batches = Batches(embedder, self.modality, self.batch_size)
            progress = Progress(f"{self.spec.name} {self.modality}", len(tasks))
            pairs = zip(tasks, inputs, strict=True)
            while chunk := list(islice(pairs, self.batch_size)):
                resume.add(*self._rows(batches, chunk))
                progress.step(len(chunk))

    def finish(self, resume: Resume) -> None:
        """Write the table: the rows in order, with the protocol and what computed them."""
        resume.finish(
            self.keys,
            protocol=self.protocol,
            protocol_id=protocol_id(self.protocol),
            model=self.spec.name,
            modality=self.modality,
            dim=self.spec.dim,
            computed=self.computed,
        )

    def _rows(self, batches: Batches, chunk: list[tuple[Task, Any]]) -> list[Row]:
        """Rows of a batch of tasks with their inputs; inputs that failed keep their reason."""
        usable = [given for _, given in chunk if not isinstance(given, Failure)]
        notes = iter(_notes(batches.embedder, self.modality, usable))
        results = iter(batches.embed(usable))
        rows: list[Row] = []
        for task, given in chunk:
            if isinstance(given, Failure):
                rows.append(_row(task, given, None, None))
            else:
                views = batches.views(given)
                rows.append(_row(task, next(results), views, next(notes)))
        return rows

    def _note(self, embedder: Embedder, device: str, kind: str) -> None:
        """Remember what computes the rows of this run.

        Raises UserError if a hub gives other weights now than for the rows that are kept.
        """
        now = {
            "device": device,
            "precision": kind,
            "weights_sha256": getattr(embedder, "weights_sha256", self.spec.sha256),
            "packages": _versions(),
        }
        for before in self.computed:
            if before["weights_sha256"] != now["weights_sha256"]:
                raise UserError(
                    f"models.{self.spec.name}: the weights have changed from sha256 "
                    f"{before['weights_sha256']} to {now['weights_sha256']} since part of "
                    f"{self.output} was computed; set models.{self.spec.name}.sha256 to the "
                    "second to compute everything with it"
                )
        if now not in self.computed:
            self.computed.append(now)
        write_text(self.note, json.dumps(self.computed))  # before the first row, for a killed job


def _row(task: Task, result: np.ndarray | Failure, views: int | None, note: str | None) -> Row:
    row: Row = dict.fromkeys(EMBEDDINGS.names)
    row |= {"id": task.id, "key": task.key, "status": "ok", "views": views, "detail": note}
    if isinstance(result, Failure):
        return row | {"status": "failed", "reason": result.reason, "detail": result.detail}
    return row | {"embedding": result}


def _notes(embedder: Embedder, modality: Modality, inputs: list[Any]) -> list[str | None]:
    """What is to be said of inputs that are embedded all the same: texts that are cut off."""
    if modality != "text":
        return [None] * len(inputs)
    return [
        "longer than the model reads; its end is cut off" if cut else None
        for cut in embedder.truncated(inputs)
    ]


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        with suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found
