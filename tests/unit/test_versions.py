"""Code that decides results carries a version, by which Snakemake knows what to make again.

A version is recorded in tests/versions.json with a digest of its sources. Record it again with
`python -m tests.unit.test_versions`.
"""

import ast
import hashlib
import json
import subprocess
import sys
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
        sources("report", "exports.py", "feature_exports.py", "pairs.py", "results.py"),
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


@pytest.mark.parametrize("held", HELD, ids=lambda held: held.name)
def test_changed_code_has_a_new_version(held: Held) -> None:
    recorded, now = json.loads(RECORD.read_text()).get(held.name), held.now()
    assert recorded == now, (
        f"{held.name}: recorded is {recorded}, found {now}. If the change can change a result, "
        f"raise the version in {held.where}. Then record it: python -m tests.unit.test_versions"
    )


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
