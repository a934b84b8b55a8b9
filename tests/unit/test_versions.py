"""Code that decides results carries a version, by which Snakemake knows what to make again.

A version is recorded in tests/versions.json with a digest of its sources. Record it again with
`python -m tests.unit.test_versions`.
"""

import ast
import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from concord.media import protocol as media
from concord.mini import DEMO_VERSION
from concord.models.catalogue import backend_sources, backend_version, backends
from concord.report import versions as report
from concord.scores import synchrony
from concord.scores import versions as features
from concord.scores.tasks import TASK_INFO
from concord.training import MINI_VERSION

ROOT = Path(__file__).resolve().parents[2]
RECORD = ROOT / "tests" / "versions.json"


@dataclass(frozen=True)
class Held:
    """A version, where it is written, and the files whose code it stands for."""

    name: str
    version: int
    where: str
    sources: tuple[str, ...]

    def now(self) -> dict[str, Any]:
        """What there is to record."""
        parts = [fingerprint(ROOT / source) for source in self.sources]
        return {"version": self.version, "digest": digest(" ".join(parts))}


def sources(folder: str, *names: str) -> tuple[str, ...]:
    return tuple(f"concord/{folder}/{name}" for name in names)


WORLD = sources("mini", "render.py", "world.py")
GATHERED = (*sources("scores", "gather.py"), *sources("media", "gate.py"))
SCORED = {
    "retrieval": sources("scores", "score.py", "similarity.py", "ranking.py", "retrieval.py"),
    "synchrony": sources("scores", "synchrony.py"),
}
MODELS = "concord.models"
JOB = ("concord.models.batches", "concord.models.sources")
"""What every embedding job runs beside its family; what these import finds and fetches files."""
ALL_FAMILIES = "concord.models.families"
"""What reads the configuration of any family, and so leads from each to all others."""
DECIDE_NOTHING = {
    ALL_FAMILIES,  # what it finds is in the protocol
    "concord.errors",
    "concord.files",
    "concord.memory",  # limits, which end a clip and change none
    "concord.mini",  # the demo's version
    "concord.models.base",  # types, and what a protocol holds
    "concord.models.download",  # weights, whose digest is in the protocol
    "concord.models.hub",
    "concord.models.leases",  # which of several GPUs
    "concord.models.weights",
    "concord.progress",
}
"""Modules that change no embedding, so that they may change without a new version."""
REPORT = "concord/report/versions.py"
TEMPLATES = sorted(path.name for path in (ROOT / "concord/report/templates").iterdir())

HELD = [
    Held(
        "media",
        media.VERSION,
        "concord/media/protocol.py",
        sources(
            "media", "clip.py", "gate.py", "measure.py", "probe.py", "protocol.py", "transcode.py"
        ),
    ),
    *(
        Held(
            f"models/{backend}",
            backend_version(backend),
            "concord/models/catalogue.yaml",
            tuple(p.resolve().relative_to(ROOT).as_posix() for p in backend_sources(backend)),
        )
        for backend in backends()
    ),
    Held(
        "mini/training",
        MINI_VERSION,
        "concord/training/__init__.py",
        (*sources("training", "mini.py"), *WORLD, *sources("mini", "inputs.py", "network.py")),
    ),
    Held(
        "mini/demo", DEMO_VERSION, "concord/mini/__init__.py", (*sources("mini", "demo.py"), *WORLD)
    ),
    Held(
        "synchrony",
        synchrony.VERSION,
        "concord/scores/synchrony.py",
        sources("scores", "synchrony.py", "onsets.py", "motion.py", "offset.py"),
    ),
    *(
        Held(
            f"scores/{info.name}",
            info.version,
            "concord/scores/tasks.py",
            (*SCORED.get(info.name, sources("scores", "score.py", "similarity.py")), *GATHERED),
        )
        for info in TASK_INFO
        if info.name != "features"
    ),
    Held(
        "features/quality",
        features.QUALITY_VERSION,
        "concord/scores/versions.py",
        sources("scores", "quality.py", "inputs.py"),
    ),
    Held(
        "features/probes",
        features.PROBES_VERSION,
        "concord/scores/versions.py",
        (
            *sources("scores", "probes.py", "classification.py", "distributions.py"),
            *sources("scores", "labelled.py", "splits.py"),
            *GATHERED,
        ),
    ),
    Held(
        "report/tables",
        report.TABLES_VERSION,
        REPORT,
        (
            *sources(
                "report",
                "aggregate.py",
                "comparisons.py",
                "metrics.py",
                "feature_tables.py",
                "results.py",
                "spreadsheet.py",
            ),
            *sources("scores", "statistics.py"),
        ),
    ),
    Held(
        "report/exports",
        report.EXPORTS_VERSION,
        REPORT,
        (
            *sources("report", "exports.py", "feature_exports.py", "pairs.py", "results.py"),
            *sources("scores", "gather.py"),
        ),
    ),
    Held(
        "report/projections",
        report.PROJECTIONS_VERSION,
        REPORT,
        (
            *sources("report", "projections.py"),
            *sources("scores", "labelled.py", "splits.py"),
            *GATHERED,
        ),
    ),
    Held(
        "report/page",
        report.REPORT_VERSION,
        REPORT,
        (
            *sources(
                "report",
                "page.py",
                "checks.py",
                "confusion.py",
                "feature_section.py",
                "figures.py",
                "gallery.py",
                "media.py",
                "metrics.py",
                "missing.py",
                "scatter.py",
                "verdicts.py",
            ),
            *sources("report/templates", *TEMPLATES),
        ),
    ),
]


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def fingerprint(path: Path) -> str:
    """Digest of a file; of Python its meaning alone: comments, docstrings and layout apart."""
    text = path.read_text(encoding="utf-8")
    return digest(repr(_plain(ast.parse(text))) if path.suffix == ".py" else text)


def _plain(node: Any) -> Any:
    """A syntax tree as lists that are the same in every Python version."""
    if isinstance(node, list):
        return [_plain(part) for part in node if not _is_docstring(part)]
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = [(k, _plain(v)) for k, v in ast.iter_fields(node) if v not in (None, [])]
    return [type(node).__name__, fields]


def _is_docstring(node: Any) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def module_file(name: str) -> Path | None:
    """The file of a module or package of this project; None for what is neither."""
    path = ROOT.joinpath(*name.split("."))
    found = (path.with_suffix(".py"), path / "__init__.py")
    return next((file for file in found if file.is_file()), None)


def imported(node: ast.AST) -> Iterator[str]:
    """Names of this project's modules that code imports, in functions too; not for types alone."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            continue
        names: list[str] = []
        if isinstance(child, ast.Import):
            names = [alias.name for alias in child.names]
        elif isinstance(child, ast.ImportFrom):
            names = [f"{child.module}.{alias.name}" for alias in child.names]
            names.append(str(child.module))
        yield from (name for name in names if name.startswith("concord."))
        yield from imported(child)


def reached(module: str) -> dict[str, Path]:
    """The module and all that it imports, directly or not, with their files."""
    found: dict[str, Path] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        path = module_file(name)
        if path and name not in found:
            found[name] = path
            if name != ALL_FAMILIES:
                waiting += imported(ast.parse(path.read_text(encoding="utf-8")))
    return found


@pytest.mark.parametrize("held", HELD, ids=lambda held: held.name)
def test_changed_code_has_a_new_version(held: Held) -> None:
    recorded, now = json.loads(RECORD.read_text()).get(held.name), held.now()
    assert recorded == now, (
        f"{held.name}: recorded is {recorded}, found {now}. If the change can change a result, "
        f"raise the version in {held.where}. Then record it: python -m tests.unit.test_versions"
    )


@pytest.mark.parametrize("backend", backends())
def test_a_family_names_all_code_that_decides_its_results(backend: str) -> None:
    modules = reached(f"{MODELS}.{backend}") | {name: module_file(name) for name in JOB}
    found = {path for name, path in modules.items() if name not in DECIDE_NOTHING}
    listed = {path.resolve() for path in backend_sources(backend)}
    missing, idle = (sorted(map(str, paths)) for paths in (found - listed, listed - found))
    assert not missing, (
        f"catalogue.yaml, backends.{backend}.sources: {missing} is imported and not there; list "
        "it, or name it in DECIDE_NOTHING if no embedding depends on it"
    )
    assert not idle, f"catalogue.yaml, backends.{backend}.sources: {idle} is not used; remove it"


def test_modules_that_decide_nothing_are_imported() -> None:
    used = {name for backend in backends() for name in reached(f"{MODELS}.{backend}")}
    assert used >= DECIDE_NOTHING


def test_nothing_is_recorded_that_no_longer_exists() -> None:
    assert list(json.loads(RECORD.read_text())) == sorted(held.name for held in HELD)


def test_only_what_python_does_counts(tmp_path: Path) -> None:
    path = tmp_path / "a.py"

    def found(text: str) -> str:
        path.write_text(text)
        return fingerprint(path)

    usual = found('"""What."""\ndef f(x):\n    """Why."""\n    return x + 1\n')
    assert found("# why\ndef f( x ):\n    return x+1\n") == usual
    assert found("def f(x):\n    return x + 2\n") != usual


def test_versions_of_the_rules_load_no_heavy_package() -> None:
    """The Snakefile reads them when it is parsed, and every job parses it again."""
    code = (
        "import sys, concord.mini, concord.training, concord.report.versions, "
        "concord.media.protocol; print(*{m.split('.')[0] for m in sys.modules})"
    )
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert not {"torch", "numpy", "av", "pandas"} & set(run.stdout.split())


if __name__ == "__main__":
    content = {held.name: held.now() for held in sorted(HELD, key=lambda held: held.name)}
    RECORD.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
