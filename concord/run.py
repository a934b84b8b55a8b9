"""What the Snakefile asks of the machine: the lock of a results folder, processors, memory."""

import os
import shlex
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import psutil
from filelock import FileLock, Timeout

from concord.clock import settle
from concord.config import Config
from concord.config_data import Remote
from concord.errors import UserError, printable
from concord.files import told_faults
from concord.models import leases
from concord.orphans import begin_run, living
from concord.remote.settings import use

PACKAGE_ROOT = str(Path(__file__).resolve().parents[1])

_held: dict[Path, FileLock] = {}
_begun: set[Path] = set()


def lock_results(results: Path) -> None:
    """Hold the results folder until this process ends, however it ends.

    Jobs that a killed run left at work there are ended. Raises UserError when another run holds it,
    or if it cannot be written.
    """
    hold_results(results)
    if results.resolve() not in _begun:
        settle(results.resolve())
        begin_run(results.resolve())
        _begun.add(results.resolve())


def hold_results(results: Path) -> None:
    """Lock the results folder alone; raises UserError as `lock_results` does."""
    if not _hold(results):
        raise UserError(
            f"{results}: another run is writing to this folder; wait until it ends, "
            "or set `results:` to another folder"
        )


def is_locked(results: Path) -> bool:
    """Whether another run, or a job that a killed one left, is writing to the results folder."""
    return not _hold(results) or bool(living(results.resolve()))


def _hold(results: Path) -> bool:
    """Lock the results folder for this process; False if another one has."""
    path = results.resolve() / ".lock"
    if path in _held:
        return True
    with told_faults(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path, fallback_to_soft=False)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return False
    _held[path] = lock
    return True


def prepare_jobs(workflow: Any, remote: Remote) -> None:
    """Let the processes that the workflow starts find this package, this Python, and storages.

    Snakemake puts the interpreter's path into shell commands as it is, spaces and quotes too.
    Raises UserError for a default storage of Snakemake's, which would take each output away to
    its objects while what lies beside it undeclared, such as proxies, is lost.
    """
    if provider := workflow.storage_settings.default_storage_provider:
        raise UserError(
            f"--default-storage-provider: found {provider}, expected none: the folder of results "
            "holds more than Snakemake's outputs, and has to be a local or shared one. Clips may "
            "lie at s3:// all the same, and `publish: s3://bucket/prefix` uploads the results; "
            "docs/remote.md says how"
        )
    use(remote)
    if not sys.executable.startswith("'"):
        sys.executable = shlex.quote(sys.executable)
    # Snakemake looks for plugins in all of Python's path and lists the folders beside each module,
    # those of the clips too, in every job of a cluster: so the working folder is kept out of it,
    # and this package is in it only where scripts are started.
    os.environ["PYTHONSAFEPATH"] = "1"
    paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    if workflow.nodes is None and PACKAGE_ROOT not in paths:
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [PACKAGE_ROOT, *paths]))


def offer_resources(workflow: Any, **amounts: int) -> None:
    """Tell a workflow what this machine has, unless the user said; a cluster's scheduler knows."""
    if workflow.nodes is not None:
        return
    for resource, amount in amounts.items():
        if resource not in workflow.global_resources:
            workflow.register_resource(resource, amount)


def cores(workflow: Any) -> int | None:
    """Cores that jobs of this machine share; None for jobs of a cluster.

    There, each takes what it asks for; the machine it runs on may not count (it parses the
    Snakefile again, and has to ask for the same as the process that submitted it).
    """
    if workflow.remote_exec or workflow.nodes is not None:
        return None
    found: int = workflow.cores
    return found


def tell(notes: Iterable[str]) -> None:
    """Print notes to the standard error, where Snakemake prints too."""
    for note in notes:
        print(f"note: {printable(note)}", file=sys.stderr)


def show_results(results: Path) -> None:
    """Print the compact table, if there is one: a run may have had another target."""
    from concord.report.console import print_summary

    if (results / "tables" / "summary.parquet").exists():
        print_summary(results / "tables")


def publish_the_rest(config: Config) -> None:
    """Upload what the end of a run added. Raises UserError as publish does."""
    if config.publish and (config.results / "publish").exists():  # else it had another target
        from concord.remote.publish import publish

        publish(config)


def count_gpus() -> int:
    """GPUs of this machine that the process may use, without loading a GPU library."""
    visible = os.environ.get(leases.VISIBLE)
    if visible is not None:
        return len(leases.named(visible))
    return len(list(Path("/dev").glob("nvidia[0-9]*")))


def memory_mb() -> int:
    """Memory of this machine, or of the control group it runs in, in MB."""
    total: int = psutil.virtual_memory().total
    limit = Path("/sys/fs/cgroup/memory.max")
    if limit.exists() and (text := limit.read_text().strip()) != "max":
        total = min(total, int(text))
    return total // 10**6
