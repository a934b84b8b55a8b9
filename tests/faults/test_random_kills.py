"""What a kill leaves behind does not matter."""

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.workflow.compare import content, fresh
from tests.workflow.conftest import Workflow


@pytest.mark.slow
def test_a_kill_at_any_moment_changes_nothing(
    workflow: Workflow, clip: Callable[..., Path]
) -> None:
    for i in range(4, 12):
        clip(workflow.folder / "clips" / f"sample_{i:04d}.mp4", hue=30 * i)
    wanted = fresh(workflow)
    pause = random.Random(2)
    for orphans in (False, True) * 3:
        process = subprocess.Popen(
            workflow.command(),
            cwd=workflow.folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        time.sleep(pause.uniform(1, 6))
        if orphans:
            process.kill()  # its jobs work on, beside those of the next run
        else:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    workflow.run()
    assert content(workflow) == wanted
    left = [p.name for p in (workflow.folder / "results").rglob("*") if ".tmp-" in p.name]
    assert left == []
