"""Where everything lies under the results folder, and what a configuration asks to be made."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from concord.clips import companions, shards, text_shards
from concord.config import Config
from concord.media.paths import unusual_by_shard
from concord.models.base import COMPANIONS, MODALITIES, Modality, ModelSpec
from concord.scores.sources import Source, scopes
from concord.scores.tasks import PAIRS, applies, companion_pairs, needs, task_info
from concord.scores.versions import PROBES_VERSION

SIGNAL = "signal"
"""Stands for the model in the paths of scores that need none."""
PROBE_TABLES = ("probes", "predictions", "distributions")
"""What a probe leaves in its folder."""


class Layout:
    """The paths of one configuration's files; lists of shards come from the written plan."""

    def __init__(self, config: Config, specs: Mapping[str, ModelSpec]) -> None:
        self.config, self.specs, self.results = config, specs, config.results

    def clips(self, collection: str) -> Path:
        """The table of clips and prompts of a collection."""
        return self.results / "clips" / collection / "clips.parquet"

    def media(self, collection: str) -> list[Path]:
        """The media tables of a collection, a file a shard."""
        folder = self.results / "media" / collection
        return [folder / shard / "media.parquet" for shard in shards(self.config, collection)]

    def tree_marks(self, collection: str) -> list[Path]:
        """Marks of the shards whose clips are in the tree; none unless it is asked for."""
        if self.config.media.layout != "tree":
            return []
        folder = self.results / "tree" / collection
        return [folder / f".{shard}.done" for shard in shards(self.config, collection)]

    def unusual_names(self, collection: str, shard: str) -> dict[str, str]:
        """Paths in the tree of a shard's clips that share their usual one with another clip."""
        return unusual_by_shard(self.clips(collection)).get(shard, {})

    def synchrony(self, collection: str) -> list[Path]:
        """The synchrony tables of a collection, a file a shard."""
        folder = self.results / "synchrony" / collection
        return [folder / f"{shard}.parquet" for shard in shards(self.config, collection)]

    def embeddings(self, model: str, modality: Modality, collection: str) -> list[Path]:
        """The embedding tables of a collection's clips or, for text, of its prompts."""
        folder = self.results / "embeddings" / model / modality
        if modality != "text":
            names = shards(self.config, collection)
            return [folder / collection / f"{shard}.parquet" for shard in names]
        prompt_set = self.config.prompt_set(collection)
        if prompt_set is None:
            return []
        names = text_shards(self.config, prompt_set)
        return [folder / prompt_set / f"{shard}.parquet" for shard in names]

    def companions(self, collection: str) -> list[Path]:
        """The tables of the files beside a collection's clips, a file a shard."""
        folder = self.results / "clips" / collection / "companions"
        return [folder / f"{shard}.parquet" for shard in shards(self.config, collection)]

    def origins(self, modality: Modality, collection: str) -> list[Path]:
        """The tables that name the files behind the embeddings of a modality; none for text."""
        if modality == "text":
            return []
        return self.companions(collection) if modality in COMPANIONS else self.media(collection)

    def embedded(self, collection: str) -> list[tuple[str, Modality]]:
        """(model, modality) of all embeddings that tasks read, those of the prompts included."""
        found = [
            (model, modality)
            for task, model in self.asked(collection)
            if model != SIGNAL
            for modality, files in self.needed(task, model, collection).items()
            if files
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
            for scope in scopes(self.config)
            for model in self.specs
            for modality in MODALITIES
            if any(source.embeddings for source in self.probe_sources(model, modality, scope))
        ]

    def probe_sources(self, model: str, modality: Modality, scope: str) -> list[Source]:
        """The tables that a probe reads, by collection."""
        return [
            Source(
                collection,
                self.clips(collection),
                self.origins(modality, collection),
                self.needed("features", model, collection)[modality],
                label,
            )
            for collection, label in scopes(self.config)[scope].items()
        ]

    def probe_inputs(self, model: str, modality: Modality, scope: str) -> list[Path]:
        """All tables that a probe reads."""
        found = self.probe_sources(model, modality, scope)
        return [path for s in found for path in (s.clips, *s.media, *s.embeddings)]

    def probe_parameters(self, modality: Modality) -> dict[str, Any]:
        """What of the configuration decides a probe's numbers, beside its inputs."""
        audio = self.config.audio.model_dump() if modality == "audio" else None
        return {
            "version": PROBES_VERSION,
            "probes": self.config.probes.model_dump(),
            "statistics": self.config.statistics.model_dump(),
            "audio": audio,
        }

    def score(self, task: str, model: str, collection: str) -> Path:
        """The table of one task's scores."""
        return self.results / "scores" / task / model / f"{collection}.parquet"

    def needed(self, task: str, model: str, collection: str) -> dict[Modality, list[Path]]:
        """The embedding tables a task reads, by modality; none where it does not need one."""
        modalities = needs(task, self.specs[model].modalities, self.config.tasks)
        unplanned = set(COMPANIONS) - set(companions(self.config, collection))
        return {
            modality: self.embeddings(model, modality, collection)
            if modality in modalities and modality not in unplanned
            else []
            for modality in MODALITIES
        }

    def features(self, model: str, modality: Modality, collections: Iterable[str]) -> list[Path]:
        """The tables behind the features of a modality: of clips, origins and embeddings."""
        files: list[Path] = []
        for name in collections:
            embeddings = self.needed("features", model, name)[modality]
            files += [self.clips(name), *self.origins(modality, name), *embeddings]
        return files

    def projections(self, collections: Iterable[str]) -> list[Path]:
        """Tables of pictures of features, one a model and modality; none unless asked for."""
        if "features" not in self.config.tasks or not self.config.report.projections:
            return []
        names, folder = list(collections), self.results / "projections"
        return [
            folder / model / f"{modality}.parquet"
            for model in self.specs
            for modality in MODALITIES
            if any(self.needed("features", model, name)[modality] for name in names)
        ]

    def score_parameters(self, task: str) -> dict[str, Any]:
        """What of the configuration decides a task's scores, beside its inputs."""
        parameters: dict[str, Any] = {"version": task_info(task).version}
        if task not in PAIRS or "audio" in PAIRS[task]:
            parameters["audio"] = self.config.audio.model_dump()
        if task == "retrieval":
            parameters["seed"] = self.config.statistics.seed
            parameters["pairs"] = list(companion_pairs(self.config.tasks))
        return parameters

    def everything(self, collections: Iterable[str]) -> list[Path]:
        """Every table that a summary of the collections rests on, each once."""
        files: list[Path] = []
        for collection in collections:
            files += [self.clips(collection), *self.media(collection)]
            files += [self.score(*found, collection) for found in self.scored(collection)]
            for task, model in self.asked(collection):
                if task == "synchrony":
                    files += self.synchrony(collection)
                else:
                    files += chain(*self.needed(task, model, collection).values())
            files += self.quality(collection)
        files += [folder / f"{name}.parquet" for folder in self.probed() for name in PROBE_TABLES]
        return list(dict.fromkeys(files))

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
