"""Where everything lies under the results folder, and what a configuration asks to be made."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

from concord.blocks import Block, blocks
from concord.clips.ledger import shard_bytes
from concord.clips.plan import companions, shards, text_shards
from concord.config import Config
from concord.media.paths import unusual_by_shard
from concord.media.store import is_in
from concord.models.base import COMPANIONS, MODALITIES, Modality, ModelSpec
from concord.report.versions import PROJECTIONS_VERSION
from concord.scores.sources import ACROSS, Source, labelling, scopes
from concord.scores.tasks import PAIRS, applies, companion_pairs, needs, task_info
from concord.scores.versions import PROBES_VERSION
from concord.tables import count_rows

SIGNAL = "signal"
"""Stands for the model in the paths of scores that need none."""
PROBE_TABLES = ("probes", "predictions", "distributions")
"""What a probe leaves in its folder."""


class Layout:
    """The paths of one configuration's files; lists of shards come from the written plan.

    Each list is read once, so a collection has to be planned before anything is asked of it.
    """

    def __init__(self, config: Config, specs: Mapping[str, ModelSpec]) -> None:
        self.config, self.specs, self.results = config, specs, config.results
        self._shards = cache(partial(shards, config))
        self._text_shards = cache(partial(text_shards, config))
        self._companions = cache(partial(companions, config))
        self._rows = cache(count_rows)
        self._bytes = cache(shard_bytes)

    def clips(self, collection: str) -> Path:
        """The table of clips and prompts of a collection."""
        return self.results / "clips" / collection / "clips.parquet"

    def labels(self, collection: str) -> Path:
        """The table of the labels and groups of a collection's clips."""
        return self.results / "clips" / collection / "labels.parquet"

    def plans(self, collection: str) -> list[Path]:
        """The tables of the files of a collection's clips, a file a shard."""
        return self._parts(self.results / "clips" / collection / "plan", collection)

    def media(self, collection: str) -> list[Path]:
        """The media tables of a collection, a file a shard."""
        folder = self.results / "media" / collection
        return [folder / shard / "media.parquet" for shard in self._shards(collection)]

    def tree_marks(self, collection: str) -> list[Path]:
        """Marks of the shards whose clips are in the tree; none unless it is asked for."""
        if self.config.media.layout != "tree":
            return []
        folder = self.results / "tree" / collection
        return [folder / f".{shard}.done" for shard in self._shards(collection)]

    def repacked_marks(self, collection: str) -> list[Path]:
        """Marks that the shards whose proxies lie in another container than the wanted one lack."""
        media = self.config.media
        if not media.keep_proxies:
            return []
        folders = [path.parent for path in self.media(collection) if path.exists()]
        moving = [folder for folder in folders if not is_in(folder, media.container)]
        return [folder / f".repacked.{media.container}" for folder in moving]

    def unusual_names(self, collection: str, shard: str) -> dict[str, str]:
        """Paths in the tree of a shard's clips that share their usual one with another clip."""
        return unusual_by_shard(self.clips(collection)).get(shard, {})

    def synchrony(self, collection: str) -> list[Path]:
        """The synchrony tables of a collection, a file a shard."""
        return self._parts(self.results / "synchrony" / collection, collection)

    def embeddings(self, model: str, modality: Modality, collection: str) -> list[Path]:
        """The embedding tables of a collection's clips or, for text, of its prompts.

        A file a block; its rows are those of the block's shards, in order.
        """
        if modality == "text":
            prompt_set = self.config.prompt_set(collection)
            found = self._text_shards(prompt_set) if prompt_set else []
        else:
            found = self._shards(collection)
        folder = self.results / "embeddings" / model / modality / self.source(modality, collection)
        names = blocks(found, self.config.clips.shards_a_block)
        return [folder / f"{name}.parquet" for name in names]

    def block_media(self, collection: str, block: str) -> list[Path]:
        """The media tables of a block's shards."""
        folder = self.results / "media" / collection
        members = _members(block, self._shards(collection))
        return [folder / shard / "media.parquet" for shard in members]

    def block_companions(self, collection: str, modality: Modality, block: str) -> list[Path]:
        """The tables of a modality's files beside the clips of a block's shards."""
        folder = self.results / "clips" / collection / "companions" / modality
        members = _members(block, self._shards(collection))
        return [folder / f"{shard}.parquet" for shard in members]

    def block_size(self, modality: Modality, source: str, block: str) -> int:
        """How many clips or texts are planned for a block of a collection or prompt set."""
        if modality == "text":
            plans = self.block_texts(source, block)
        else:
            folder = self.results / "clips" / source / "plan"
            plans = [folder / f"{s}.parquet" for s in _members(block, self._shards(source))]
        return sum(map(self._rows, plans))

    def block_bytes(self, collection: str, block: str) -> int:
        """Bytes of the clips' files in a block of a collection, as when they were planned."""
        known = self._bytes(self.results / "clips" / collection / "ledger.parquet")
        members = _members(block, self._shards(collection))
        return sum(max(0, known.get(int(shard), 0)) for shard in members)

    def size(self, collection: str) -> int:
        """How many clips are planned for a collection."""
        return sum(map(self._rows, self.plans(collection)))

    def block_texts(self, prompt_set: str, block: str) -> list[Path]:
        """The tables of the texts of a block's shards."""
        folder = self.results / "prompts" / prompt_set / "plan"
        members = _members(block, self._text_shards(prompt_set))
        return [folder / f"{shard}.parquet" for shard in members]

    def companions(self, collection: str, modality: Modality) -> list[Path]:
        """The tables of a modality's files beside the clips, a file a shard; none if unplanned."""
        if modality not in self._companions(collection):
            return []
        folder = self.results / "clips" / collection / "companions" / modality
        return self._parts(folder, collection)

    def origins(self, modality: Modality, collection: str) -> list[Path]:
        """The tables that name the files behind the embeddings of a modality; none for text."""
        if modality == "text":
            return []
        if modality in COMPANIONS:
            return self.companions(collection, modality)
        return self.media(collection)

    def embedded(self, collection: str) -> list[tuple[str, Modality]]:
        """(model, modality) of all embeddings that tasks read, those of the prompts included."""
        found = [
            (model, modality)
            for task, model in self.asked(collection)
            if model != SIGNAL
            for modality in self.read_by(task, model, collection)
        ]
        return list(dict.fromkeys(found))

    def source(self, modality: Modality, collection: str) -> str:
        """What embeddings are filed under: the collection or, for text, its prompt set."""
        return str(self.config.prompt_set(collection) if modality == "text" else collection)

    def holder(self, modality: Modality, source: str) -> str:
        """The first collection whose embeddings are filed under a source."""
        return next(c for c in self.config.collections if self.source(modality, c) == source)

    def quality(self, collection: str) -> list[Path]:
        """The quality tables of all embeddings of a collection and of its prompts."""
        folder = self.results / "quality"
        return [
            folder / model / modality / f"{self.source(modality, collection)}.parquet"
            for model, modality in self.embedded(collection)
        ]

    def probed(self) -> list[Path]:
        """The folders of all probes: the features of one model and modality in one scope."""
        if "features" not in self.config.tasks:
            return []
        return [
            self.results / "probes" / model / modality / scope
            for scope, labels in scopes(self.config).items()
            for model in self.specs
            for modality in MODALITIES
            if any(self.has_features(model, modality, name) for name in labels)
        ]

    def probe_sources(self, model: str, modality: Modality, scope: str) -> list[Source]:
        """The tables that a probe reads, by collection."""
        labels = scopes(self.config)[scope].items()
        return [self._source(model, modality, name, label) for name, label in labels]

    def _source(self, model: str, modality: Modality, name: str, label: str | None) -> Source:
        there = self.has_features(model, modality, name)
        return Source(
            name,
            self.clips(name),
            self.labels(name),
            self.origins(modality, name),
            self.embeddings(model, modality, name) if there else [],
            label,
        )

    def probe_inputs(self, model: str, modality: Modality, scope: str) -> list[Path]:
        """All tables that a probe reads."""
        return _tables(self.probe_sources(model, modality, scope))

    def probe_parameters(self, modality: Modality, scope: str) -> dict[str, Any]:
        """What of the configuration decides a probe's numbers, beside its inputs."""
        return {
            "version": PROBES_VERSION,
            "probes": self.config.probes.model_dump(),
            "labelling": labelling(self.config, scope),
            "statistics": self.config.statistics.model_dump(),
            "audio": self._gate(modality),
        }

    def _gate(self, *modalities: Modality) -> dict[str, Any] | None:
        """The limits for sound; None where there is none among the modalities."""
        return self.config.audio.model_dump() if "audio" in modalities else None

    def score(self, task: str, model: str, collection: str) -> Path:
        """The table of one task's scores."""
        return self.results / "scores" / task / model / f"{collection}.parquet"

    def needed(self, task: str, model: str, collection: str) -> dict[Modality, list[Path]]:
        """The embedding tables a task reads, by modality; none where it does not need one."""
        read = self.read_by(task, model, collection)
        return {m: self.embeddings(model, m, collection) if m in read else [] for m in MODALITIES}

    def read_by(self, task: str, model: str, collection: str) -> list[Modality]:
        """The modalities of which a task reads embeddings by a model."""
        wanted = needs(task, self.specs[model].modalities, self.config.tasks)
        return [m for m in MODALITIES if m in wanted and self._is_planned(m, collection)]

    def _is_planned(self, modality: Modality, collection: str) -> bool:
        """Whether there is anything of a modality to embed."""
        if modality == "text":
            prompt_set = self.config.prompt_set(collection)
            return prompt_set is not None and bool(self._text_shards(prompt_set))
        there = modality not in COMPANIONS or modality in self._companions(collection)
        return there and bool(self._shards(collection))

    def has_features(self, model: str, modality: Modality, collection: str) -> bool:
        """Whether the task features has a model embed a modality of a collection."""
        return modality in self.read_by("features", model, collection)

    def _pictures(self) -> dict[str, dict[str, str | None]]:
        """What is shown in one picture: by scope, collections with their label.

        The scopes of the probes; and all collections, by collection, if there are several or there
        is no other picture.
        """
        found = scopes(self.config)
        if ACROSS not in found and (len(self.config.collections) > 1 or not found):
            found[ACROSS] = {name: name for name in self.config.collections}
        return found

    def pictured(self, model: str, modality: Modality) -> dict[str, list[Source]]:
        """The tables behind each picture of features, by scope; no scope without features."""
        found = {
            scope: [
                self._source(model, modality, name, label)
                for name, label in labels.items()
                if self.has_features(model, modality, name)
            ]
            for scope, labels in self._pictures().items()
        }
        return {scope: sources for scope, sources in found.items() if sources}

    def projection_inputs(self, model: str, modality: Modality) -> list[Path]:
        """All tables behind the pictures of the features of a modality."""
        return _tables(s for sources in self.pictured(model, modality).values() for s in sources)

    def projection_parameters(self, modality: Modality) -> dict[str, Any]:
        """What of the configuration decides the pictures of features, beside their inputs."""
        return {
            "version": PROJECTIONS_VERSION,
            "scopes": self._pictures(),
            "audio": self._gate(modality),
            "seed": self.config.statistics.seed,
            "methods": list(self.config.report.projections),
            "clips": self.config.report.projected_clips,
        }

    def projections(self) -> list[Path]:
        """Tables of pictures of features, one a model and modality; none unless asked for."""
        if "features" not in self.config.tasks or not self.config.report.projections:
            return []
        names, folder = set().union(*self._pictures().values()), self.results / "projections"
        return [
            folder / model / f"{modality}.parquet"
            for model in self.specs
            for modality in MODALITIES
            if any(self.has_features(model, modality, name) for name in names)
        ]

    def score_parameters(self, task: str, model: str) -> dict[str, Any]:
        """What of the configuration decides a task's scores, beside its inputs."""
        parameters: dict[str, Any] = {"version": task_info(task).version}
        if task not in PAIRS or "audio" in PAIRS[task]:
            parameters["audio"] = self.config.audio.model_dump()
        if task == "retrieval":
            known, pairs = set(self.specs[model].modalities), companion_pairs(self.config.tasks)
            parameters["seed"] = self.config.statistics.seed
            parameters["pairs"] = [pair for pair in pairs if known.issuperset(PAIRS[pair])]
        return parameters

    def everything(self) -> list[Path]:
        """Every table that a summary rests on, each once."""
        files: list[Path] = []
        for collection in self.config.collections:
            files += [self.clips(collection), self.labels(collection), *self.media(collection)]
            files += [self.score(*found, collection) for found in self.scored(collection)]
            if "synchrony" in self.config.tasks:
                files += self.synchrony(collection)
            for model, modality in self.embedded(collection):
                files += self.embeddings(model, modality, collection)
            files += self.quality(collection)
        files += [folder / f"{name}.parquet" for folder in self.probed() for name in PROBE_TABLES]
        return list(dict.fromkeys(files))

    def exported(self) -> list[Path]:
        """Every table that the exports are made of: clips, their files, scores and embeddings."""
        files: list[Path] = []
        for collection in self.config.collections:
            files += [self.clips(collection), self.labels(collection), *self.plans(collection)]
            files += self.beside(collection)
            files += [
                self.score(*f, collection) for f in self.scored(collection) if SIGNAL not in f
            ]
            for model, modality in self.embedded(collection):
                if modality != "text":
                    files += self.embeddings(model, modality, collection)
        return files

    def shown(self) -> list[Path]:
        """What the page opens beside the tables: of files beside the clips, and of pictures."""
        return [
            *self.projections(),
            *(f for name in self.config.collections for f in self.beside(name)),
        ]

    def beside(self, collection: str) -> list[Path]:
        """The tables of all files beside a collection's clips."""
        return [path for modality in COMPANIONS for path in self.companions(collection, modality)]

    def scored(self, collection: str) -> Iterator[tuple[str, str]]:
        """(task, model) of everything that has a score table on a collection."""
        return (found for found in self.asked(collection) if found[0] != "features")

    def asked(self, collection: str) -> Iterator[tuple[str, str]]:
        """(task, model) of everything that can be done on a collection."""
        has_prompts = self.config.prompt_set(collection) is not None
        for task in self.config.tasks:
            if task == "synchrony":
                yield task, SIGNAL
                continue
            for model, spec in self.specs.items():
                if applies(task, spec.modalities, has_prompts, self.config.tasks):
                    yield task, model

    def _parts(self, folder: Path, collection: str) -> list[Path]:
        """A file a shard of a collection in a folder."""
        return [folder / f"{shard}.parquet" for shard in self._shards(collection)]


def _members(block: str, planned: Sequence[str]) -> list[str]:
    """The planned shards of a block; the first there could be, if there are none."""
    found = Block.named(block)
    assert found is not None
    start = bisect_left(planned, found.first, key=int)
    members = planned[start : bisect_right(planned, found.last, key=int)]
    return list(members) or [f"{found.first:04d}"]


def _tables(sources: Iterable[Source]) -> list[Path]:
    """The tables of several sources, each once."""
    found = (path for s in sources for path in (s.clips, s.labels, *s.media, *s.embeddings))
    return list(dict.fromkeys(found))
