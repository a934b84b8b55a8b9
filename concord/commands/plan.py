"""`concord plan`: clips, shards, jobs, and what they cost, before anything runs."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import chain
from math import ceil
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from concord.clips.describe import Described
from concord.clips.plan import planned_texts
from concord.clips.survey import Survey, survey
from concord.commands.estimates import (
    MACHINE,
    Cost,
    Footage,
    embedding_cost,
    footage,
    media_cost,
    synchrony_cost,
)
from concord.commands.terminal import print_table, say
from concord.config import Config
from concord.errors import UserError
from concord.load import load, without_unmade
from concord.models import catalogue
from concord.models.base import COMPANIONS, Modality, ModelSpec
from concord.scores.tasks import applies, needs

LAST_JOBS = 3
"""Tables, exports and page."""


def run(path: Path) -> None:
    """Print clips and shards of each collection and the cost of each stage; writes nothing.

    Raises UserError with all problems of the inputs.
    """
    config = load(path)
    part = without_unmade(config)
    found = survey(part)
    if found.problems:
        raise UserError(*(f"{path}: {problem}" for problem in found.problems))
    measured = {
        name: footage(described.plan["path"].to_pylist())
        for name, described in found.collections.items()
    }
    unmade = [name for name in config.collections if name not in found.collections]
    if measured:
        _print_collections(part, found, measured)
    if unmade:
        say(f"not counted, since the workflow makes them first: {', '.join(unmade)}", "yellow")
    say("")
    _print_costs(_total(costs(part, found, measured)))


def costs(config: Config, found: Survey, measured: dict[str, Footage]) -> Iterator[Cost]:
    """What every stage of every collection costs."""
    specs = [catalogue.spec(config, name) for name in config.models]
    embedded: set[tuple[str, str]] = set()
    for name, clips in measured.items():
        jobs = _shards(config, clips.clips)
        yield media_cost(clips, jobs)
        prompt_set = config.prompt_set(name)
        scored = [
            (task, spec)
            for task in config.tasks
            for spec in specs
            if task != "synchrony"
            and applies(task, spec.modalities, prompt_set is not None, config.tasks)
        ]
        for spec in specs:
            for modality in _modalities(scored, spec, config.tasks):
                if modality in COMPANIONS:
                    beside = Footage(_files(found.collections[name], modality), 0, 0, 0)
                    yield embedding_cost(spec, modality, beside, _blocks(config, jobs))
                elif modality != "text":
                    yield embedding_cost(spec, modality, clips, _blocks(config, jobs))
                elif prompt_set and (prompt_set, spec.name) not in embedded:
                    embedded.add((prompt_set, spec.name))
                    count = len(planned_texts(config, found.prompts[prompt_set]))
                    prompts = Footage(count, 0, 0, 0)
                    blocks = _blocks(config, _shards(config, count))
                    yield embedding_cost(spec, "text", prompts, blocks)
        if "synchrony" in config.tasks:
            yield synchrony_cost(clips, jobs)
        tables = sum(task != "features" for task, _ in scored) + ("synchrony" in config.tasks)
        yield Cost("scores", tables, 0.0)
    yield Cost("tables, exports, page", LAST_JOBS, 0.0)


def _files(described: Described, modality: Modality) -> int:
    """The number of files of a modality beside the clips of a collection."""
    rows = described.companions
    there = pc.and_(pc.equal(rows["modality"], modality), pc.equal(rows["status"], "ok"))
    return int(pc.sum(there.cast(pa.int64())).as_py() or 0)


def _modalities(
    scored: Sequence[tuple[str, ModelSpec]], spec: ModelSpec, tasks: Sequence[str]
) -> list[Modality]:
    """What a model has to embed for the tasks it is scored on, in its own order."""
    found = (needs(task, spec.modalities, tasks) for task, model in scored if model is spec)
    wanted = set(chain(*found))
    return [modality for modality in spec.modalities if modality in wanted]


def _shards(config: Config, count: int) -> int:
    return ceil(count / config.clips.shard_size)


def _blocks(config: Config, shards: int) -> int:
    return ceil(shards / config.clips.shards_a_block)


def _total(parts: Iterator[Cost]) -> list[Cost]:
    """The costs of all collections together, a stage a row."""
    stages: dict[str, list[Cost]] = defaultdict(list)
    for part in parts:
        stages[part.stage].append(part)
    return [
        Cost(
            stage,
            sum(part.jobs for part in group),
            sum(part.core_hours for part in group),
            sum(part.gpu_hours for part in group),
            sum(part.size for part in group),
        )
        for stage, group in stages.items()
    ]


def _print_collections(config: Config, found: Survey, measured: dict[str, Footage]) -> None:
    rows = []
    for name, clips in measured.items():
        described = found.collections[name]
        size = sum(described.members["size"].to_pylist()) / 1e9
        others = len(described.clips) - clips.clips
        shards = _shards(config, clips.clips)
        hours = f"{clips.seconds / 3600:.2f}"
        rows.append((name, clips.clips, others, shards, f"{size:.2f}", hours))
    print_table(("collection", "clips", "not processed", "shards", "GB", "hours of play"), rows)


def _print_costs(stages: list[Cost]) -> None:
    total = _total(iter(Cost("all", *_numbers(stage)) for stage in stages))
    columns = ("stage", "jobs", "core-hours", "GPU-hours", "disk (GB)")
    print_table(columns, map(_row, [*stages, *total]))
    say(
        f"\nEstimates for {MACHINE}, from up to 16 sampled clips a collection; yours may differ by "
        "a factor of two or three.\nGPU-hours replace the core-hours of their row where there is a "
        "GPU (a GPU of 20 TFLOP/s in practice is assumed).\nJobs count everything; "
        "`snakemake -n` lists those that would run now."
    )


def _row(cost: Cost) -> tuple[object, ...]:
    gpu = f"{cost.gpu_hours:.3f}" if cost.gpu_hours else ""
    disk = f"{cost.size / 1e9:.3f}" if cost.size else ""
    return cost.stage, cost.jobs, f"{cost.core_hours:.3f}", gpu, disk


def _numbers(cost: Cost) -> tuple[int, float, float, float]:
    return cost.jobs, cost.core_hours, cost.gpu_hours, cost.size
