"""`concord cost`: what the jobs of the last runs cost, a stage a row, beside its forecast."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from concord.commands.forecast import BY_CLIP, Forecast, Spent, compare, kept, spent
from concord.commands.terminal import print_table, say
from concord.errors import UserError
from concord.load import load


def run(path: Path) -> None:
    """Print the cost of each stage; raises UserError if nothing has run yet."""
    results = load(path).results
    costs = spent(results)
    if not costs:
        raise UserError(f"{results / 'tables'}: no table `cost` yet; run snakemake first")
    forecasts = kept(results)
    columns = ["stage", "jobs", "core-hours", "GPU-hours", "job time (s)", "memory (GB)"]
    columns += ["clips", "clips a second", "forecast (core-hours)", "cost / forecast"]
    columns += ["forecast (GPU-hours)", "cost / forecast"] * any(f.gpu_hours for f in forecasts)
    rows = [
        (*_row(stage, cost), *_expected([f for f in forecasts if f.stage == stage], costs))
        for stage, cost in costs.items()
    ]
    rows.append((*_total(costs), *_expected(forecasts, costs)))
    print_table(columns, [row[: len(columns)] for row in rows])
    say("\nA job counts by its last execution; clips a second are those of one job.")
    say(BY_CLIP if forecasts else "No forecast was kept: `python -m concord plan` keeps one.")


def _row(stage: str, cost: Spent) -> tuple[object, ...]:
    return (
        stage,
        cost.jobs or None,
        f"{cost.core_hours:.4f}",
        f"{cost.gpu_hours:.4f}" if cost.gpu_hours else "",
        f"{cost.wall_s:.1f}",
        f"{cost.memory_mb / 1000:.2f}" if cost.memory_mb else "",
        cost.clips or None,
        f"{cost.clips / cost.clip_s:.2f}" if cost.clip_s else "",
    )


def _total(costs: Mapping[str, Spent]) -> tuple[object, ...]:
    core = sum(cost.core_hours for cost in costs.values())
    gpu = sum(cost.gpu_hours for cost in costs.values())
    jobs = sum(cost.jobs for cost in costs.values())
    return ("all", jobs, f"{core:.4f}", f"{gpu:.4f}" if gpu else "", "", "", None, "")


def _expected(stages: Sequence[Forecast], costs: Mapping[str, Spent]) -> tuple[str, ...]:
    """The forecast of core-hours and of GPU-hours, each with the ratio of the cost to it."""
    if not stages:
        return ("", "", "", "")
    core, gpu = sum(stage.core_hours for stage in stages), sum(stage.gpu_hours for stage in stages)
    ratios = compare(stages, costs)
    return f"{core:.4f}", ratios.core, f"{gpu:.4f}" if gpu else "", ratios.gpu
