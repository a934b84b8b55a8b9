"""What a run will take: constants, scaled by what the probe measured, and what it then cost."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import NamedTuple

from concord.commands.estimates import Cost, Footage, footage
from concord.commands.probing import Measured, Probe
from concord.cost_table import COST, WORKFLOW, WORKFLOW_STAGE
from concord.errors import UserError
from concord.files import write_text
from concord.report.cost import Row, by_stage
from concord.tables import read_table

PROBED_FACTOR, CONSTANT_FACTOR = 1.5, 3.0
"""How far the truth may be from a number that rests on a probe, or on constants alone."""
PLANNING_S = 5.0
STEP_S = 0.7
"""What the workflow itself takes to plan, and for every job, seconds of one core."""
LATENCY_S = 2.0
"""From the end of a job to the work of the next in its place."""
LEAST_PART = 0.1
"""Of the clips; in jobs that hold fewer, their start may hide what a clip costs."""
UNKNOWN = "—"
BY_CLIP = (
    f"Cost / forecast is by clip, of jobs whose last execution did all their clips; {UNKNOWN} "
    "where these hold\nless than a tenth of the clips (after a kill, a retry or growth), or where "
    "the run itself found jobs done."
)


@dataclass(frozen=True)
class Forecast:
    """Of one stage, in hours, bytes and MB; from `low` to `high` core-hours.

    `units` are its clips or, if it has none, its jobs.
    """

    stage: str
    jobs: int
    units: int
    core_hours: float
    low: float
    high: float
    gpu_hours: float
    wall_s: float
    size: float
    memory_mb: float | None
    probed: bool


def scaled(cost: Cost, probe: Probe, seen: Measured | None, unit: Cost | None) -> Cost:
    """A stage's cost by constants, with what the probe says of it.

    `seen` is what was measured, and `unit` what the constants say of the clips it was measured
    with: the work is to the stage's estimate as the measured work is to that. What was measured on
    a GPU says nothing of the work without one, nor the other way round.
    """
    if probe.import_s is not None:
        cost = replace(cost, start_s=probe.import_s)
    if seen is None or seen.start_s < 0 or unit is None or not unit.work_s:
        return cost
    package_s = probe.package_s if cost.stage.startswith("embeddings/") else 0.0
    imports_s, work_s = cost.start_s + package_s, cost.work_s * seen.work_s / unit.work_s
    cost = replace(
        cost,
        start_s=imports_s + seen.start_s,
        size=cost.size * seen.size / unit.size if seen.size and unit.size else cost.size,
        memory_mb=seen.memory_mb,
    )
    if not seen.on_gpu:
        return replace(cost, work_s=work_s, probed=True)
    return replace(
        cost,
        beside_s=work_s,
        gpu_s=cost.gpu_s * seen.gpu_s / unit.gpu_s,
        gpu_start_s=imports_s + seen.gpu_start_s,
        gpu_probed=True,
    )


def together(parts: Collection[Measured]) -> Measured | None:
    """What was measured of several collections, for one that time did not suffice for."""
    if not parts:
        return None
    return Measured(
        start_s=max(part.start_s for part in parts),
        work_s=sum(part.work_s for part in parts),
        size=sum(part.size for part in parts),
        memory_mb=max(part.memory_mb or 0.0 for part in parts) or None,
        paths=[path for part in parts for path in part.paths],
    )


def sampled(seen: Measured, max_pixels: int) -> Footage:
    """The clips that a stage was measured with."""
    return footage(seen.paths, max_pixels) if seen.paths else Footage(seen.clips, 0, 0, 0)


def forecasts(costs: Sequence[Cost], cores: int, gpus: int) -> list[Forecast]:
    """What each stage takes on so many cores and GPUs, and the workflow itself."""
    jobs = sum(cost.jobs for cost in costs)
    own = Cost(WORKFLOW_STAGE, 0, PLANNING_S + STEP_S * jobs, probed=True)
    workflow = replace(_forecast(own, cores, gpus), units=jobs)
    return [*(_forecast(cost, cores, gpus) for cost in costs), workflow]


def factor(probed: bool) -> float:
    """How far the truth may be from a forecast, either way."""
    return PROBED_FACTOR if probed else CONSTANT_FACTOR


def _forecast(cost: Cost, cores: int, gpus: int) -> Forecast:
    gpu_hours = cost.gpu_hours if gpus else 0.0
    hours = cost.core_hours_beside if gpu_hours else cost.core_hours
    probed = cost.gpu_probed if gpu_hours else cost.probed
    work_s = 3600 * gpu_hours / max(1, min(gpus, cost.jobs)) if gpu_hours else 3600 * hours / cores
    wall_s = work_s + LATENCY_S * cost.jobs / min(cores, max(1, cost.jobs))
    return Forecast(
        cost.stage,
        cost.jobs,
        cost.clips or cost.jobs,
        hours,
        hours / factor(probed),
        hours * factor(probed),
        gpu_hours,
        wall_s,
        cost.size,
        cost.memory_mb,
        probed,
    )


def keep(results: Path, found: Sequence[Forecast], cores: int, gpus: int) -> None:
    """Write `<results>/forecast.json`, to be held against what the next run costs."""
    content = {"cores": cores, "gpus": gpus, "stages": [asdict(stage) for stage in found]}
    write_text(results / "forecast.json", json.dumps(content, indent=2) + "\n")


def kept(results: Path) -> list[Forecast]:
    """The forecast that was kept last; none if there is none, or one of another version.

    Raises UserError if the file is damaged.
    """
    path = results / "forecast.json"
    if not path.exists():
        return []
    try:
        stages = json.loads(path.read_text("utf-8"))["stages"]
        known = {field.name for field in fields(Forecast)}
        return [Forecast(**stage) for stage in stages if stage.keys() == known]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(f"{path}: damaged ({error}); run `python -m concord plan` again") from error


class Hours(NamedTuple):
    """Core-hours and GPU-hours."""

    core: float
    gpu: float


@dataclass(frozen=True)
class Spent:
    """What a stage's jobs cost, each by its last execution.

    `each` is of a clip or, in stages without any, of a job; None where that cannot be told.
    """

    jobs: int
    core_hours: float
    gpu_hours: float
    wall_s: float
    memory_mb: float | None
    clips: int
    clip_s: float
    each: Hours | None


def spent(results: Path) -> Mapping[str, Spent]:
    """By stage, what tables/cost.parquet holds; nothing if there is none.

    Raises UserError if it is damaged or of another version.
    """
    path = results / "tables" / "cost.parquet"
    if not path.exists():
        return {}
    table = read_table(path, COST).to_pylist()
    jobs = [row for row in table if row["rule"] != WORKFLOW]
    return {
        stage: Spent(
            sum(row["rule"] != WORKFLOW for row in rows),
            sum(row["cpu_s"] or 0.0 for row in rows) / 3600,
            sum(row["gpu_s"] or 0.0 for row in rows) / 3600,
            sum(row["wall_s"] or 0.0 for row in rows),
            max((row["memory_mb"] or 0.0 for row in rows), default=0.0) or None,
            sum(row["processed"] or 0 for row in rows),
            sum(row["wall_s"] or 0.0 for row in rows if row["processed"]),
            _each_job(rows, jobs) if stage == WORKFLOW_STAGE else _each(rows),
        )
        for stage, rows in by_stage(table).items()
    }


def _each(rows: Sequence[Row]) -> Hours | None:
    """What one clip, or one job of a stage without clips, took.

    By the jobs whose last execution did all their clips: after a kill, a retry or growth it did the
    rest, and what was spent before is not known. None if they hold less than LEAST_PART.
    """
    ended = [row for row in rows if row["status"] == "ok"]
    if counted := [row for row in ended if row["processed"] is not None]:
        whole = [row for row in counted if not row["reused"]]
        units = sum(row["processed"] for row in whole)
        everything = sum(row["processed"] + (row["reused"] or 0) for row in counted)
        return _hours(whole, units) if units >= LEAST_PART * everything else None
    return _hours(ended, len(ended))


def _each_job(run: Sequence[Row], jobs: Sequence[Row]) -> Hours | None:
    """What the run itself took for each job; None if it found some done, or did not end well."""
    complete = all(row["run"] == "last" and row["status"] == "ok" for row in (*run, *jobs))
    return _hours(run, len(jobs)) if complete else None


def _hours(rows: Sequence[Row], units: int) -> Hours | None:
    """The mean cost of so many units of work."""
    if not units:
        return None
    core_s, gpu_s = (sum(row[name] or 0.0 for row in rows) for name in ("cpu_s", "gpu_s"))
    return Hours(core_s / 3600 / units, gpu_s / 3600 / units)


class Ratios(NamedTuple):
    """How many times the forecast of core-hours and of GPU-hours something cost, in words."""

    core: str
    gpu: str


def compare(stages: Sequence[Forecast], costs: Mapping[str, Spent]) -> Ratios:
    """Hold the costs of these stages, unit by unit, against their forecasts.

    Those of which no cost of a unit is known are left out; without any other, the ratio is a dash.
    Of hours that were not forecast it is empty.
    """
    known = [
        (stage, each)
        for stage in stages
        if stage.stage in costs and (each := costs[stage.stage].each)
    ]
    core = _ratio(
        sum(stage.units * each.core for stage, each in known),
        sum(stage.core_hours for stage, _ in known),
    )
    gpu = _ratio(
        sum(stage.units * each.gpu for stage, each in known),
        sum(stage.gpu_hours for stage, _ in known),
    )
    return Ratios(core, gpu if any(stage.gpu_hours for stage in stages) else "")


def _ratio(cost: float, forecast: float) -> str:
    return f"{cost / forecast:.2f}" if forecast else UNKNOWN
