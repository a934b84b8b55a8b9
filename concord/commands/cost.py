"""`concord cost`: what the jobs of the last runs cost, a stage a row, beside its forecast."""

from collections.abc import Mapping
from pathlib import Path

from concord.commands.forecast import Forecast, Spent, kept, spent
from concord.commands.terminal import print_table, say
from concord.errors import UserError
from concord.load import load


def run(path: Path) -> None:
    """Print the cost of each stage; raises UserError if nothing has run yet."""
    results = load(path).results
    costs = spent(results)
    if not costs:
        raise UserError(f"{results / 'tables'}: no table `cost` yet; run snakemake first")
    forecasts = {stage.stage: stage for stage in kept(results)}
    columns = ["stage", "jobs", "core-hours", "GPU-hours", "job time (s)", "memory (GB)"]
    columns += ["clips", "clips a second", "forecast (core-hours)", "cost / forecast"]
    rows = [_row(stage, cost, forecasts.get(stage)) for stage, cost in costs.items()]
    total = sum(cost.core_hours for cost in costs.values())
    print_table(columns, [*rows, _total(costs, forecasts, total)])
    say("\nA job counts by its last execution; clips a second are those of one job.")
    if not forecasts:
        say("No forecast was kept: `python -m concord plan` keeps one.")


def _row(stage: str, cost: Spent, forecast: Forecast | None) -> tuple[object, ...]:
    return (
        stage,
        cost.jobs or None,
        f"{cost.core_hours:.4f}",
        f"{cost.gpu_hours:.4f}" if cost.gpu_hours else "",
        f"{cost.wall_s:.1f}",
        f"{cost.memory_mb / 1000:.2f}" if cost.memory_mb else "",
        cost.clips or None,
        f"{cost.clips / cost.clip_s:.2f}" if cost.clip_s else "",
        f"{forecast.core_hours:.4f}" if forecast else "",
        ratio(cost.core_hours, forecast.core_hours) if forecast else "",
    )


def _total(
    costs: Mapping[str, Spent], forecasts: Mapping[str, Forecast], hours: float
) -> tuple[object, ...]:
    expected = sum(stage.core_hours for stage in forecasts.values())
    gpu = sum(cost.gpu_hours for cost in costs.values())
    jobs = sum(cost.jobs for cost in costs.values())
    forecast = (f"{expected:.4f}", ratio(hours, expected)) if forecasts else ("", "")
    return ("all", jobs, f"{hours:.4f}", f"{gpu:.4f}" if gpu else "", "", "", None, "", *forecast)


def ratio(cost: float, forecast: float) -> str:
    """How many times its forecast something cost; nothing where nothing was forecast."""
    return f"{cost / forecast:.2f}" if forecast else ""
