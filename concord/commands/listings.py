"""`concord models` and `concord tasks`: what there is to choose from."""

from concord.commands.terminal import print_table
from concord.models import catalogue
from concord.scores.tasks import TASK_INFO


def run_models() -> None:
    """Print the catalogue of models."""
    columns = ("name", "modalities", "dim", "licence", "commercial", "memory_mb", "verified")
    rows = catalogue.rows()
    print_table(
        [
            column.replace("_mb", " (MB)").replace("commercial", "commercial use")
            for column in columns
        ],
        ([row[column] for column in columns] for row in rows),
    )


def run_tasks() -> None:
    """Print the tasks."""
    columns = ("task", "what it measures", "needs", "metrics", "range", "better")
    print_table(
        columns,
        (
            (info.name, info.what, info.needs, info.metrics, info.value_range, info.better)
            for info in TASK_INFO
        ),
    )
