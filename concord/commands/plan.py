"""`concord plan`: clips, shards, jobs, and what they take, before anything runs."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from math import ceil
from pathlib import Path
from typing import cast

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
from concord.commands.forecast import (
    BY_CLIP,
    Forecast,
    Spent,
    compare,
    factor,
    forecasts,
    keep,
    sampled,
    scaled,
    spent,
    together,
)
from concord.commands.probing import Measured, Probe, probe
from concord.commands.terminal import print_table, say
from concord.config import Config
from concord.cost_table import LAST_STAGE
from concord.errors import UserError
from concord.load import load, without_unmade
from concord.models import catalogue
from concord.models.base import COMPANIONS, Modality, ModelSpec
from concord.report.cost import words
from concord.scores.tasks import applies, needs

LAST_JOBS, LAST_JOBS_S = 3, 5.0
"""Tables, exports and page, and seconds of one core for all of them (measured, of 100 clips)."""


def run(path: Path, probing: bool, seconds: float, heavy: bool, cores: int, gpus: int) -> None:
    """Print clips and shards of each collection and what each stage takes on this machine.

    Keeps the forecast in the results folder, to be held against the cost of the next run; writes
    nothing else there. Raises UserError with all problems of the inputs.
    """
    config = load(path)
    part = without_unmade(config)
    found = survey(part)
    if found.problems:
        raise UserError(*(f"{path}: {problem}" for problem in found.problems))
    measured = {
        name: footage(described.plan["path"].to_pylist(), config.media.max_pixels)
        for name, described in found.collections.items()
    }
    unmade = [name for name in config.collections if name not in found.collections]
    if measured:
        _print_collections(part, found, measured)
    if unmade:
        say(f"not counted, since the workflow makes them first: {', '.join(unmade)}", "yellow")
    expected, seen = list(costs(part, found, measured)), Probe()
    if probing and measured:
        wanted = _wanted(part, expected)
        seen = probe(path, part, found, wanted, cores=cores, seconds=seconds, heavy=heavy)
    forecast = forecasts(_total(_scaled(part, cost, seen) for cost in expected), cores, gpus)
    say("")
    then, trouble = _spent(config)
    _print_forecast(forecast, then, cores, gpus)
    for note in (*seen.notes, *trouble):
        say(f"note: {note}", "yellow")
    keep(config.results, forecast, cores, gpus)


def _spent(config: Config) -> tuple[Mapping[str, Spent], list[str]]:
    """What the last run cost, and what keeps that from being known."""
    try:
        return spent(config.results), []
    except UserError as error:
        return {}, [str(error)]


def _wanted(config: Config, stages: Sequence[Cost]) -> list[tuple[ModelSpec, Modality]]:
    """The models and modalities that are embedded."""
    names = {stage.stage for stage in stages}
    return [
        (spec, modality)
        for spec in (catalogue.spec(config, name) for name in config.models)
        for modality in spec.modalities
        if f"embeddings/{spec.name}/{modality}" in names
    ]


def _scaled(config: Config, cost: Cost, seen: Probe) -> Cost:
    """What a stage costs, with what the probe says of it."""
    if cost.stage == "media":
        found = seen.media.get(cost.collection or "") or together(seen.media.values())
    else:
        found = seen.stages.get(cost.stage)
    return scaled(cost, seen, found, _by_constants(config, cost.stage, found) if found else None)


def _by_constants(config: Config, stage: str, seen: Measured) -> Cost:
    """What the constants say of the clips or texts that a stage was probed with."""
    clips = sampled(seen, config.media.max_pixels)
    if stage == "media":
        return media_cost(clips, 0)
    if stage == "synchrony":
        return synchrony_cost(clips, 0)
    _, model, modality = stage.split("/")
    if modality == "text":
        clips = Footage(seen.clips, 0, 0, 0)
    return embedding_cost(catalogue.spec(config, model), cast(Modality, modality), clips, 0)


def costs(config: Config, found: Survey, measured: dict[str, Footage]) -> Iterator[Cost]:
    """What every stage of every collection costs."""
    specs = [catalogue.spec(config, name) for name in config.models]
    embedded: set[tuple[str, str]] = set()
    for name, clips in measured.items():
        jobs, checks = _shards(config, clips.clips), 0
        yield replace(media_cost(clips, jobs), collection=name)
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
                checks += modality != "text" or (prompt_set, spec.name) not in embedded
                if modality in COMPANIONS:
                    beside = Footage(_files(found.collections[name], modality), 0, 0, 0)
                    cost = _embedding(config, spec, modality, beside, jobs)
                    yield replace(cost, clips=clips.clips)
                elif modality != "text":
                    yield _embedding(config, spec, modality, clips, jobs)
                elif prompt_set and (prompt_set, spec.name) not in embedded:
                    embedded.add((prompt_set, spec.name))
                    count = len(planned_texts(config, found.prompts[prompt_set]))
                    prompts = Footage(count, 0, 0, 0)
                    yield _embedding(config, spec, "text", prompts, _shards(config, count))
        if "synchrony" in config.tasks:
            yield synchrony_cost(clips, jobs)
        tables = sum(task != "features" for task, _ in scored) + ("synchrony" in config.tasks)
        yield Cost("scores", tables + checks, 0.0)
    yield Cost(LAST_STAGE, LAST_JOBS, LAST_JOBS_S)


def _embedding(
    config: Config, spec: ModelSpec, modality: Modality, found: Footage, shards: int
) -> Cost:
    """What embedding costs, on the device that the model is configured for."""
    jobs = ceil(shards / config.clips.shards_a_block)
    cost = embedding_cost(spec, modality, found, jobs)
    return replace(cost, gpu_s=0.0) if config.models[spec.name].device == "cpu" else cost


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


def _total(parts: Iterable[Cost]) -> list[Cost]:
    """The costs of all collections together, a stage a row."""
    stages: dict[str, list[Cost]] = defaultdict(list)
    for part in parts:
        stages[part.stage].append(part)
    return [
        replace(
            group[0],
            probed=all(part.probed for part in group),
            gpu_probed=all(part.gpu_probed for part in group),
            jobs=sum(part.jobs for part in group),
            clips=sum(part.clips for part in group),
            work_s=sum(part.work_s for part in group),
            gpu_s=sum(part.gpu_s for part in group),
            beside_s=sum(part.beside_s for part in group),
            size=sum(part.size for part in group),
        )
        for group in stages.values()
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


def _print_forecast(
    stages: Sequence[Forecast], before: Mapping[str, Spent], cores: int, gpus: int
) -> None:
    columns = ["stage", "jobs", "core-hours", "from", "to", "GPU-hours", "disk (GB)"]
    columns += ["memory (GB)", "by"]
    rows = [_row(stage) for stage in stages]
    rows.append((*_row(_sum(stages))[:8], ""))
    if before:
        columns += ["last cost (core-hours)", "cost / forecast"]
        columns += ["last cost (GPU-hours)", "cost / forecast"] * any(s.gpu_hours for s in stages)
        known = [_last([stage], before) for stage in stages]
        known.append(_last(stages, before))
        rows = [(*row, *last) for row, last in zip(rows, known, strict=True)]
    print_table(columns, [row[: len(columns)] for row in rows])
    if before:
        say(f"\n{BY_CLIP}")
    wall_s = sum(stage.wall_s for stage in stages)
    low = sum(stage.wall_s / factor(stage.probed) for stage in stages)
    high = sum(stage.wall_s * factor(stage.probed) for stage in stages)
    say(
        f"\nAbout {words(wall_s)} on {cores} cores and {gpus} GPUs like this machine's, from "
        f"{words(low)} to {words(high)} (--cores, --gpus).\nBy probe: a few of your clips were "
        f"worked on here. By constants: of {MACHINE}, with clips and networks like yours.\n"
        "Where there are GPU-hours, core-hours are those beside the GPU; constants assume one of "
        "20 TFLOP/s in practice.\n"
        "Everything counts; `snakemake -n` lists the jobs that would run now."
    )


def _row(stage: Forecast) -> tuple[object, ...]:
    return (
        stage.stage,
        stage.jobs or None,
        *(f"{hours:.4f}" for hours in (stage.core_hours, stage.low, stage.high)),
        f"{stage.gpu_hours:.4f}" if stage.gpu_hours else "",
        f"{stage.size / 1e9:.3f}" if stage.size else "",
        f"{stage.memory_mb / 1000:.2f}" if stage.memory_mb else "",
        "probe" if stage.probed else "constants",
    )


def _last(stages: Sequence[Forecast], before: Mapping[str, Spent]) -> tuple[str, ...]:
    """What stages cost last, core-hours and GPU-hours, each with the ratio to the forecast."""
    costs = [before[stage.stage] for stage in stages if stage.stage in before]
    if not costs:
        return ("", "", "", "")
    core, gpu = sum(cost.core_hours for cost in costs), sum(cost.gpu_hours for cost in costs)
    ratios = compare(stages, before)
    return f"{core:.4f}", ratios.core, f"{gpu:.4f}" if gpu else "", ratios.gpu


def _sum(stages: Sequence[Forecast]) -> Forecast:
    return Forecast(
        "all",
        sum(stage.jobs for stage in stages),
        0,
        sum(stage.core_hours for stage in stages),
        sum(stage.low for stage in stages),
        sum(stage.high for stage in stages),
        sum(stage.gpu_hours for stage in stages),
        sum(stage.wall_s for stage in stages),
        sum(stage.size for stage in stages),
        None,
        True,
    )
