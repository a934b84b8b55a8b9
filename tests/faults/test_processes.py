"""Jobs and the processes they start, killed or short of memory: tried again in the same run."""

import resource
import signal
import time
from pathlib import Path

import psutil
import pytest

from tests.faults.conftest import Running, Site, until
from tests.faults.test_killed import cmdline
from tests.workflow.compare import content

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("nothing_is_left")]


def test_killed_tools_and_decoders(site: Site, tmp_path: Path) -> None:
    """An ffmpeg, a media worker and a decoder process are killed (-9); no clip is lost by it."""
    run = Running(site.workflow(tmp_path / "run"))
    signs = ["-filter_threads", "concord.media.worker", "multiprocessing.spawn"]
    killed = []
    while run.process.poll() is None:
        for process in run.children():
            line = cmdline(process)
            if sign := next((s for s in signs if s in line and s not in killed), None):
                time.sleep(0.05)
                try:
                    process.kill()
                    killed.append(sign)
                except psutil.Error:
                    pass
        time.sleep(0.01)
    run.end()
    assert sorted(killed) == sorted(signs)
    assert content(site.workflow(tmp_path / "run")) == site.wanted


def test_a_job_over_its_memory(site: Site, tmp_path: Path) -> None:
    """The limit of a scoring job's memory is lowered while it runs: the run tries it once more.

    The second attempt asks for more (mem_mb * attempt), and finds all that the first one read.
    """
    workflow = site.done(tmp_path / "run")
    (workflow.folder / "results/scores/video_text/mini/own.parquet").unlink()
    (workflow.folder / "results/tables/summary.parquet").unlink()
    run = Running(workflow)
    job = until(
        lambda: next((p for p in run.children() if ".snakemake/scripts" in cmdline(p)), None),
        "the job's process",
    )
    used = job.memory_info().vms
    resource.prlimit(job.pid, resource.RLIMIT_AS, (used + 2**20, used + 2**20))
    printed = run.end()
    assert "Trying to restart job" in printed
    assert "damaged" not in printed, "a lack of memory is no fault of the files"
    assert content(workflow) == site.wanted


def test_a_job_killed_by_the_system(site: Site, tmp_path: Path) -> None:
    """What the kernel does to a job over its memory, kill -9: the run tries it once more."""
    workflow = site.done(tmp_path / "run")
    for name in ("embeddings/mini/video/own", "scores/video_text", "tables"):
        for path in (workflow.folder / "results" / name).rglob("*.parquet*"):
            path.unlink()
    run = Running(workflow)
    job = until(
        lambda: next((p for p in run.children() if ".snakemake/scripts" in cmdline(p)), None),
        "the job's process",
    )
    job.send_signal(signal.SIGKILL)
    assert "Trying to restart job" in run.end()
    assert content(workflow) == site.wanted
