"""What jobs on clips ask of the machine or of the cluster: cores, GPUs, memory and time.

Memory and time follow from the clips of a job's shard or block, so that a small collection waits in
no queue for what a large one takes. Time is a bound, not an estimate; a job that runs out of it
goes on where it was when it is tried again.
"""

from collections.abc import Mapping
from math import ceil

from concord import cluster
from concord.commands.estimates import TYPICAL, Footage, embedding_cost, media_cost, synchrony_cost
from concord.config import Config
from concord.layout import Layout
from concord.models.base import Modality, ModelSpec

START_MIN = 15
"""Minutes that any job may take before its first clip: shared file systems are slow to import."""
SLACK = 4
"""How much longer than estimated a job may take."""
BYTES_A_FLOAT, BYTES_A_ROW = 32, 15_000
"""Memory of a block's rows when its table is read and written, of which 4 bytes a float are the
vectors themselves: measured, 10,000 rows of 1,024 floats take 330 MB at most."""


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

    def media_threads(self) -> int:
        """Clips at a time in one job of the media; one process works on each.

        Where `media.workers` is not set, and the jobs of all shards together would leave cores of
        this machine idle, each takes more.
        """
        media = self.config.media
        if "workers" in media.model_fields_set or self.cores is None:
            return media.workers
        shards = sum(len(self.layout.media(name)) for name in self.config.collections)
        return max(media.workers, self.cores // max(1, shards))

    def media_minutes(self, collection: str, shard: str, threads: int) -> int:
        """Minutes that the media, or the synchrony, of a shard's clips may take."""
        footage = self._footage("video", collection, shard)
        slower = max(media_cost(footage, 1).core_hours, synchrony_cost(footage, 1).core_hours)
        return START_MIN + ceil(SLACK * 60 * slower / threads)

    def gpus(self, model: str) -> int:
        """GPUs that a model's job takes, if there are any."""
        return int(self.config.models[model].device != "cpu" and cluster.offers_gpus())

    def threads(self, model: str) -> int:
        """Decoders beside a GPU; without one the network itself uses all cores of the machine."""
        cores = None if self._on_gpu(model) else self.cores
        return cores or self.config.models[model].workers

    def memory_mb(self, model: str, modality: Modality, source: str, block: str) -> int:
        """Memory of an embedding job: the network's, the rows', and that of decoding originals."""
        spec, clips = self.specs[model], self.layout.block_size(modality, source, block)
        rows = clips * (BYTES_A_FLOAT * spec.dim + BYTES_A_ROW) // 10**6
        opens = spec.reads == "originals" and modality != "text"
        decoders = self.config.models[model].workers * self.config.media.memory_mb // 5
        return spec.memory_mb + rows + opens * decoders

    def minutes(self, model: str, modality: Modality, source: str, block: str) -> int:
        """Minutes that an embedding job may take; on a cluster it gets the GPU it asks for."""
        footage = self._footage(modality, source, block)
        cost = embedding_cost(self.specs[model], modality, footage, 1)
        on_gpu = self._on_gpu(model) or (self.cores is None and self.gpus(model))
        hours = cost.gpu_hours if on_gpu else cost.core_hours / self.threads(model)
        return START_MIN + ceil(SLACK * 60 * hours)

    def _footage(self, modality: Modality, source: str, block: str) -> Footage:
        """The clips of a block, or of one shard, taken to be typical ones."""
        clips = self.layout.block_size(modality, source, block)
        return Footage(clips, clips * TYPICAL[0], clips * TYPICAL[1], 0)

    def _on_gpu(self, model: str) -> bool:
        return bool(self.gpus(model) and self.here)
