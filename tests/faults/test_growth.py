"""A collection that grows, shrinks and changes at random over many runs."""

import pytest

from tests.workflow.compare import content, fresh
from tests.workflow.conftest import Workflow
from tests.workflow.test_rerun import SCORES, Folder, costs_itself, marks, processed_since

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("nothing_is_left")]

ROUNDS = 5
STEPS = 4
RUNS = 20


def test_every_change_costs_itself(workflow: Workflow) -> None:
    workflow.config["clips"] = {"shard_size": 2}
    workflow.write_prompts(range(40))
    workflow.run()
    folder = Folder(workflow.folder / "clips", seed=5)
    for number in range(RUNS):
        step = folder.random.choice([folder.add, folder.change, folder.rename, folder.remove])
        costs_itself(workflow, step, *([] if number % 10 == 9 else [SCORES]))
    assert content(workflow) == fresh(workflow)


def test_growth_and_removal(workflow: Workflow) -> None:
    """After each round of additions, removals, renames and changes: the tables of a fresh run.

    And no more clips processed than were added or changed, counted in the tables themselves.
    """
    workflow.config["clips"] = {"shard_size": 2}
    workflow.write_prompts(range(60))
    workflow.run()
    folder = Folder(workflow.folder / "clips", seed=11)
    for round_ in range(ROUNDS):
        before, changed = marks(workflow), 0
        for _ in range(STEPS):
            step = folder.random.choice([folder.add, folder.change, folder.rename, folder.remove])
            changed += step()
        workflow.run()
        done = processed_since(workflow, before)
        assert done["media"] <= changed, (round_, done, changed)
        assert content(workflow) == fresh(workflow), round_
