"""What jobs on clips ask of the machine or of the cluster: cores, GPUs, memory and time.

Memory and time follow from the clips of a job's shard or block and their bytes, so that a small
collection waits in no queue for what a large one takes. Time is a bound, not an estimate, and never
more than `clips.max_job_hours`; a job that runs out of it goes on where it was when it is tried
again.
"""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import cached_property
from math import ceil
from typing import NamedTuple

from concord.commands.estimates import (
    TYPICAL,
    Footage,
    embedding_cost,
    known_gflop,
    media_cost,
    synchrony_cost,
)
from concord.config import Config
from concord.errors import UserError
from concord.files import is_current
from concord.layout import Layout
from concord.models.base import Modality, ModelSpec
from concord.models.leases import cluster_offers_gpus
from concord.remote.urls import is_remote

START_MIN = 15
"""Minutes that any job may take before its first clip: shared file systems are slow to import."""
SLACK = 4
"""How much longer than estimated a job may take."""
BYTES_A_FLOAT, BYTES_A_ROW = 32, 15_000
"""Memory of a block's rows when its table is read and written, of which 4 bytes a float are the
vectors themselves: measured, 10,000 rows of 1,024 floats take 330 MB at most."""
BYTES_A_SECOND = 100_000
"""Of a clip's play; fewer than cameras and generators write, so that time is not underestimated."""
FETCHED_BYTES_PER_S, COPIED_BYTES_PER_S, DELETED_PER_S = 5e6, 10e6, 100
"""Objects, proxies between folders and files of a shared file system, on a bad day: assumed."""
MEDIA = ("video", "audio")
WORK_A_CORE_S = 10
"""Less of a job's work is not worth another core: about what it takes to start."""
RANKED_BY_ONE_CORE = 2000
"""Fewer clips are ranked in a second or two."""
BYTES_A_TABLE_ROW, ROWS_A_MINUTE = 1500, 100_000
"""Of rows without vectors, twice what was measured on the tables of 100,000 clips."""


class Asked(NamedTuple):
    """What a job asks for."""

    mem_mb: int
    runtime: int


class JobResources:
    """What the jobs of a configuration ask for.

    `cores` are those of this machine's run, None on a cluster; `gpus` those of this machine.
    """

    def __init__(
        self,
        config: Config,
        specs: Mapping[str, ModelSpec],
        layout: Layout,
        cores: int | None,
        gpus: int,
    ) -> None:
        self.config, self.specs, self.layout = config, specs, layout
        self.cores, self.here = cores, gpus

    @cached_property
    def _shards(self) -> int:
        """Shards to work on: those with new or changed clips, or, of other causes, all."""
        layout = self.layout
        current = [
            is_current(media, [plan])
            for name in self.config.collections
            for plan, media in zip(layout.plans(name), layout.media(name), strict=True)
        ]
        return current.count(False) or len(current)

    def media_threads(self) -> int:
        """Clips at a time in one job of the media; one process works on each.

        Where `media.workers` is not set, and the jobs of all shards to work on would leave cores
        of this machine idle, each takes more.
        """
        media = self.config.media
        if "workers" in media.model_fields_set or self.cores is None:
            return media.workers
        return max(media.workers, self.cores // max(1, self._shards))

    def media_minutes(self, collection: str, shard: str, threads: int, attempt: int) -> int:
        """Minutes that the media, the synchrony or the tree of a shard's clips may take."""
        footage = self._footage("video", collection, shard)
        slower = max(media_cost(footage, 1).core_hours, synchrony_cost(footage, 1).core_hours)
        hours = self._bounded(slower + self._restoring(footage), footage, threads)
        return self._asked(hours + self._fetching(collection, shard), attempt)

    def moving_minutes(self, collection: str, shard: str, attempt: int) -> int:
        """Minutes that copying the proxies and waves of a shard may take."""
        size = media_cost(self._footage("video", collection, shard), 1).size
        return self._asked(size / COPIED_BYTES_PER_S / 3600, attempt)

    def dropping_minutes(self, attempt: int) -> int:
        """Minutes that deleting the proxies and waves of all clips may take."""
        files = 2 * sum(map(self._clips, self.config.collections))
        return self._asked(files / DELETED_PER_S / 3600, attempt)

    def summary(self, attempt: int) -> Asked:
        """For the tables of everything: of embeddings, all but the vectors is read."""
        rows = sum(
            clips * (3 + len(list(self.layout.scored(name))) + len(self.layout.embedded(name)))
            for name in self.config.collections
            if (clips := self._clips(name))
        )
        memory = 2000 + rows * BYTES_A_TABLE_ROW // 10**6
        return self._of_tables(memory, 30 + rows // ROWS_A_MINUTE, attempt)

    def projecting(self, model: str, collections: Iterable[str], attempt: int) -> Asked:
        """For pictures of features: all are read, `report.projected_clips` of them are shown."""
        read, rows = self._features(model, collections)
        shown = min(rows, self.config.report.projected_clips)
        learnt = shown * len(self.config.report.projections) // 500
        return self._of_tables(4000 + read, 60 + rows // ROWS_A_MINUTE + learnt, attempt)

    def probing(self, model: str, collections: Iterable[str], attempt: int) -> Asked:
        """For probes of features: all are read, `probes.max_clips` of them are learnt from."""
        read, rows = self._features(model, collections)
        floats = min(rows, self.config.probes.max_clips) * self.specs[model].dim
        memory = 2000 + read + 10 * 4 * floats // 10**6
        minutes = 60 + rows // ROWS_A_MINUTE + 4 * floats // 10**6
        return self._of_tables(memory, minutes, attempt)

    def reading(self, size_mb: float, attempt: int) -> int:
        """Minutes that a job on tables of so many MB may take."""
        return self.capped(30 + int(size_mb) // 10, attempt)

    def capped(self, minutes: int, attempt: int) -> int:
        """Minutes to ask for at an attempt; no more than a cluster's queues take."""
        return min(attempt * minutes, int(60 * self.config.clips.max_job_hours))

    def _of_tables(self, memory_mb: int, minutes: int, attempt: int) -> Asked:
        return Asked(memory_mb * attempt, self.capped(minutes, attempt))

    def _clips(self, collection: str) -> int:
        """How many clips a collection has; none before it is planned, as the demo's at first."""
        with suppress(UserError):
            return self.layout.size(collection)
        return 0

    def _features(self, model: str, collections: Iterable[str]) -> tuple[int, int]:
        """MB of the features of these collections, which are read and joined, and their number."""
        rows = sum(map(self._clips, set(collections)))
        return rows * (2 * 4 * self.specs[model].dim + BYTES_A_TABLE_ROW) // 10**6, rows

    def gpus(self, model: str) -> int:
        """GPUs that a model's job takes: none on a machine of one's own that has none."""
        if self.cores is not None and not self.here:
            return 0
        return int(self.config.models[model].device != "cpu" and cluster_offers_gpus())

    def threads(self, model: str, modality: Modality, source: str, block: str) -> int:
        """Decoders beside a GPU; without one the network itself uses the cores of the machine.

        No more of these than the block's clips keep busy, so that small jobs run beside each other;
        all for a network of which nothing is known.
        """
        cores, spec = self.cores, self.specs[model]
        if cores is None or self._on_gpu(model):
            return self.config.models[model].workers
        if known_gflop(spec, modality) is None:
            return cores
        work_s = embedding_cost(spec, modality, self._footage(modality, source, block), 1).work_s
        return max(1, min(cores, int(work_s / WORK_A_CORE_S)))

    def scoring_threads(self, task: str, collection: str) -> int:
        """Only the ranks of many clips are work for more than one core."""
        ranks = task == "retrieval" and self._clips(collection) >= RANKED_BY_ONE_CORE
        return 4 if ranks else 1

    def memory_mb(self, model: str, modality: Modality, source: str, block: str) -> int:
        """Memory of an embedding job: the network's, the rows', and that of opening originals."""
        spec, clips = self.specs[model], self.layout.block_size(modality, source, block)
        rows = clips * (BYTES_A_FLOAT * spec.dim + BYTES_A_ROW) // 10**6
        opens = modality != "text" and (spec.reads == "originals" or self._dropped)
        decoders = self.config.models[model].workers * self.config.media.memory_mb // 5
        return spec.memory_mb + rows + opens * decoders

    def minutes(self, model: str, modality: Modality, source: str, block: str, attempt: int) -> int:
        """Minutes that an embedding job may take; on a cluster it gets the GPU it asks for."""
        spec, footage = self.specs[model], self._footage(modality, source, block)
        cost = embedding_cost(spec, modality, footage, 1)
        on_gpu = self._on_gpu(model) or (self.cores is None and self.gpus(model))
        threads = self.threads(model, modality, source, block)
        hours = SLACK * (cost.gpu_hours if on_gpu else cost.core_hours / threads)
        if modality in MEDIA:
            decoders = self.config.models[model].workers
            hours += self._bounded(self._restoring(footage), footage, decoders)
            if self._dropped or spec.reads == "originals":
                hours += self._fetching(source, block)
        return self._asked(hours, attempt)

    def _asked(self, hours: float, attempt: int) -> int:
        """Minutes to ask for; a retry of what was cut off goes on."""
        return self.capped(START_MIN + ceil(60 * hours), attempt)

    def _bounded(self, hours: float, footage: Footage, processes: int) -> float:
        """Hours that so many core-hours on clips may take: each of these ends at its time limit.

        The last may be a long one, on which one process works while the others are done.
        """
        limit = self.config.media.timeout_s / 3600
        hours = min(SLACK * hours, footage.clips * limit)
        return hours / processes + min(hours, limit)

    def _footage(self, modality: Modality, source: str, block: str) -> Footage:
        """The clips of a block, or of one shard: typical ones, or longer if their files are large.

        Of companions and texts, as many.
        """
        clips = self.layout.block_size(modality, source, block)
        seconds = clips * TYPICAL[0]
        if modality in MEDIA:
            seconds = max(seconds, self.layout.block_bytes(source, block) / BYTES_A_SECOND)
        return Footage(clips, seconds, seconds * TYPICAL[1], 0)

    @property
    def _dropped(self) -> bool:
        """Whether proxies and waves were deleted, so that their readers make them again."""
        return (self.config.results / "media" / ".dropped").exists()

    def _restoring(self, footage: Footage) -> float:
        """Core-hours of making proxies and waves again."""
        return media_cost(footage, 1).core_hours if self._dropped else 0.0

    def _fetching(self, collection: str, block: str) -> float:
        """Hours of fetching the clips of a block or shard, if they are objects."""
        places = self.config.collections[collection].path
        if not self.config.remote.manifests and not any(is_remote(str(p)) for p in places):
            return 0.0
        return self.layout.block_bytes(collection, block) / FETCHED_BYTES_PER_S / 3600

    def _on_gpu(self, model: str) -> bool:
        return bool(self.gpus(model) and self.here)
