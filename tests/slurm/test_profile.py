"""The documented command runs on SLURM, and what it asks SLURM for."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests.slurm.fixtures import ClusterRun
from tests.slurm.private_slurm import PrivateSlurm
from tests.workflow.conftest import ROOT

pytest_plugins = ["tests.slurm.fixtures"]


def test_the_documented_command_runs_on_the_cluster(
    on_slurm: Callable[..., ClusterRun], slurm: PrivateSlurm
) -> None:
    """`snakemake --profile profiles/slurm` in a checkout, with the executor's own poll."""
    run = on_slurm(clips=1, name="an odd d'ir é")
    run.write_config()
    for name in ("Snakefile", "rules", "scripts", "concord", "profiles", "envs"):
        (run.folder / name).symlink_to(ROOT / name)
    target = "results/media/own/0000/media.parquet"
    before = {job for job, _, _ in slurm.jobs("all")}
    done = subprocess.run(
        [str(Path(sys.executable).with_name("snakemake")), "--profile", "profiles/slurm", target],
        cwd=run.folder,
        env=run.surroundings(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    submitted = [name for job, name, _ in slurm.jobs("all") if job not in before]
    assert len(submitted) == 1, "the one job ran on the cluster, not here"
    assert re.fullmatch(r"concord-[0-9a-f]{12}_[0-9a-f-]{36}", submitted[0])
    assert (run.folder / target).exists()
    assert "profiles/slurm and workflow specific profile profiles/default" in done.stdout
    assert not (run.folder / "results" / ".slurm").exists(), "no job is left, and it is known"
    logs = run.folder / "results" / "logs" / "slurm"
    assert str(logs) in done.stdout
    assert not list(logs.rglob("*.log")), "a job that went well needs none"
