"""`concord models` and `concord tasks`: what there is to choose from."""

from concord.commands.terminal import print_table, say
from concord.models import catalogue
from concord.models.base import MODALITIES
from concord.scores.tasks import OTHER_PAIRS, TASK_INFO


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
    """Print the tasks; pairs without a name of their own share a row."""
    columns = ("task", "what it measures", "needs", "metrics", "range", "better")
    rows = [
        (info.name, info.what, info.needs, info.metrics, info.value_range, info.better)
        for info in TASK_INFO
    ]
    what = "how well any two of " + ", ".join(MODALITIES) + " agree"
    print_table(columns, [*rows, ("A_B", what, "A, B", *rows[0][3:])])
    say(f"\nA_B: {', '.join(info.name for info in OTHER_PAIRS)}")
