"""Where everything lies under the results folder, and what a configuration asks to be made."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from concord.clips import companions, shards, text_shards
from concord.config import Config
from concord.media.paths import unusual_by_shard
from concord.models.base import COMPANIONS, MODALITIES, Modality, ModelSpec
from concord.scores.tasks import PAIRS, applies, companion_pairs, needs, task_info

SIGNAL = "signal"
"""Stands for the model in the paths of scores that need none."""


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
