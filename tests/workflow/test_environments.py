"""The conda environment of each job, as `--sdm conda` would make it."""

import os
from pathlib import Path

from tests.workflow.conftest import Workflow

CONDA = """#!/bin/sh
case "$*" in
    *--version*) echo "conda 24.7.1" ;;
    *channel_priority*) echo '{"get": {"channel_priority": "strict"}}' ;;
    *) echo '{"conda_prefix": "/conda", "platform": "linux-64"}' ;;
esac
"""


def listed(workflow: Workflow, model: str) -> set[str]:
    """The environments of a run with one model, which is not started."""
    workflow.config |= {"models": {model: {}}, "tasks": ["video_text", "av_consistency"]}
    printed = workflow.run("--sdm", "conda", "--list-conda-envs")
    rows = [line.split("\t") for line in printed.splitlines() if line.count("\t") == 2]
    return {Path(row[0]).name for row in rows if row[0].endswith(".yaml")}


def test_a_model_runs_in_the_environment_of_its_family(workflow: Workflow) -> None:
    """ImageBind's own package is in an environment of its own."""
    conda = workflow.folder / "bin" / "conda"
    conda.parent.mkdir()
    conda.write_text(CONDA)
    conda.chmod(0o755)
    workflow.environment["PATH"] = f"{conda.parent}:{os.environ['PATH']}"
    usual = listed(workflow, "mini")
    assert "models.yaml" in usual
    assert listed(workflow, "imagebind-package") == usual | {"imagebind.yaml"}
