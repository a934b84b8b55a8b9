"""The record of every run: what made a results folder what it is, run by run.

The list lies in `<results>/.runs.jsonl`, a line a run; results/provenance.json shows it as `runs`.
That file belongs to a rule, which deletes and writes it, so what a run adds at its end keeps the
file's time: it is no reason to make the page again.
"""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from concord.config import Config
from concord.errors import UserError
from concord.files import write_text
from concord.usage import host_kind

Record = dict[str, Any]

LIST, OPEN = ".runs.jsonl", ".run.json"
"""Below the results: the runs that have ended, and the one that has not."""
_SECRET = re.compile(r"[\w.-]*(secret|token|passw|credential|(access|api)[-_]?key)[\w.-]*", re.I)


def begin(config: Config, workflow: Any) -> None:
    """Note what starts now, for the process that holds the results folder; never raises.

    A run that never ended, since it or its machine was killed, is told as such.
    """
    with _noting("begin"):
        _settle(config.results)
        write_text(config.results / OPEN, json.dumps(_started(config, workflow)))


def end(config: Config, *, success: bool) -> None:
    """Add the run that began to the list, with its outcome, and show the list; never raises."""
    with _noting("end"):
        path = config.results / OPEN
        record = read_json(path) | {
            "ended": _now(),
            "outcome": "success" if success else "error",
            "weights": _weights(config),
            **_job_hosts(config.results, path.stat().st_mtime),
        }
        _append(config.results, record)
        path.unlink(missing_ok=True)
        show(config.results)


def runs(results: Path) -> list[Record]:
    """All runs that have ended, the newest last; lines that are damaged are left out."""
    try:
        lines = (results / LIST).read_text("utf-8", errors="replace").splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        with suppress(ValueError):
            record = json.loads(line)
            if isinstance(record, dict) and "outcome" in record:
                found.append(record)
    return found


def show(results: Path) -> None:
    """Put the list of runs into provenance.json, whose time stays as it was.

    What is damaged is replaced by the list alone, until the rule writes it anew.
    """
    path = results / "provenance.json"
    state = path.stat() if path.exists() else None
    write_text(path, _as_json(read_json(path) | {"runs": runs(results)}))
    if state:
        os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


def command_line(arguments: Sequence[str]) -> str:
    """A command as it was typed, without the values of what is called a secret or a key."""
    shown, hide = [], False
    for argument in arguments:
        name, sign, _ = argument.partition("=")
        secret = bool(_SECRET.fullmatch(name.lstrip("-")))
        if hide and not argument.startswith("-"):
            argument = "***"
        elif secret and sign:
            argument = f"{name}=***"
        hide = secret and not sign
        shown.append(re.sub(r"://[^/@\s]+@", "://***@", argument))
    return shlex.join(shown)


def _started(config: Config, workflow: Any) -> Record:
    from concord.protocol import digest
    from concord.provenance import software

    configuration = config.model_dump(mode="json")
    found = software()
    return {
        "started": _now(),
        "command": command_line([_program(Path(sys.argv[0])), *sys.argv[1:]]),
        "executor": workflow.executor_plugin.name,
        **_cluster(),
        "host": host_kind(),
        **found,
        "dirty": bool(found["commit"] and found["commit"].endswith("+")),
        "configuration_id": digest(json.dumps(configuration, sort_keys=True))[:12],
        "configuration": configuration,
    }


def _cluster() -> Record:
    """Name and SLURM version of the cluster that this machine is of; nothing if of none."""
    try:
        done = subprocess.run(
            ["scontrol", "show", "config"], capture_output=True, text=True, timeout=20
        )
    except (OSError, subprocess.TimeoutExpired):
        return {}
    pairs = (line.partition("=") for line in done.stdout.splitlines())
    known = {name.strip(): value.strip() for name, _, value in pairs}
    wanted = {"cluster": "ClusterName", "slurm": "SLURM_VERSION"}
    return {key: known[name] for key, name in wanted.items() if name in known}


def _program(path: Path) -> str:
    """The name of a program, or of the package that `python -m` runs."""
    return path.parent.name if path.name == "__main__.py" else path.name


def _settle(results: Path) -> None:
    """Add the run that never ended, if there is one."""
    path = results / OPEN
    if path.exists():
        _append(results, read_json(path) | {"ended": None, "outcome": "killed"})
        path.unlink()


def _append(results: Path, record: Record) -> None:
    lines = (json.dumps(known, ensure_ascii=False) + "\n" for known in [*runs(results), record])
    write_text(results / LIST, "".join(lines))


def _weights(config: Config) -> dict[str, str | None]:
    """SHA-256 of each model's weights: as configured, else as its tables say."""
    from concord.models import catalogue

    found: dict[str, str | None] = {}
    for name in config.models:
        try:
            found[name] = catalogue.spec(config, name).sha256 or _fetched(config.results, name)
        except UserError:  # the weights are gone
            found[name] = None
    return found


def _fetched(results: Path, model: str) -> str | None:
    """The weights that computed the first table of a model; one run never mixes two."""
    from concord.tables import read_metadata

    for path in (results / "embeddings" / model).glob("*/*/*.parquet"):
        for note in read_metadata(path).get("computed") or ():
            return str(note["weights_sha256"])
    return None


def _job_hosts(results: Path, began: float) -> Record:
    """The kinds of machines and devices of this run's jobs; nothing if no table tells them."""
    from concord.cost_table import COST, WORKFLOW
    from concord.tables import read_table

    path = results / "tables" / "cost.parquet"
    if not path.exists() or path.stat().st_mtime < began:
        return {}
    rows = read_table(path, COST).to_pylist()
    jobs = [row for row in rows if row["run"] == "last" and row["rule"] != WORKFLOW]
    return {
        "jobs": len(jobs),
        "job_hosts": _known(row["host"] for row in jobs),
        "devices": _known(row["device"] for row in jobs),
    }


def _known(values: Iterable[str | None]) -> list[str]:
    return sorted({value for value in values if value})


def read_json(path: Path) -> Record:
    """The object in a JSON file; an empty one if it is missing or damaged."""
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _as_json(content: Record) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


@contextmanager
def _noting(what: str) -> Iterator[None]:
    """Print a note in place of an error: a run does not fail because it is not recorded."""
    try:
        yield
    except Exception as error:
        print(f"note: the {what} of the run was not recorded ({error!r})", file=sys.stderr)
