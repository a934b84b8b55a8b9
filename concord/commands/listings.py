"""`concord models` and `concord tasks`: what there is to choose from."""

from concord.commands.terminal import print_table, say
from concord.models import catalogue
from concord.models.base import MODALITIES
from concord.scores.tasks import OTHER_PAIRS, TASK_INFO


def run_models() -> None:
    """Print the catalogue of models, and the named protocols under it."""
    words = {"commercial": "commercial use", "memory_mb": "memory (MB)", "tried": "ran with"}
    columns = ["name", "modalities", "dim", "licence", "commercial", "memory_mb", "tried"]
    print_table(
        [words.get(column, column) for column in columns],
        ([row[column] for column in columns] for row in catalogue.rows()),
    )
    say("\nNamed protocols, chosen by models.NAME.protocol:\n")
    shown = ["protocol", "families", "decided by", "what it does"]
    print_table(shown, ([row[name] for name in shown] for row in catalogue.protocol_rows()))
    say("\ndocs/models.md says where weights come from, and what was verified how.")


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
