"""Files deleted, cut short, changed or exchanged between stages: made again, never a wrong number.

The disturbed folder is a copy of a finished run. The same command is given until it ends well, at
most MOST times; each time that it does not, the message names the file.
"""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.conftest import Site
from tests.workflow.compare import content
from tests.workflow.conftest import Workflow

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("nothing_is_left")]

MOST = 5
EVERYTHING = [
    "clips/own/ledger.parquet",
    "clips/own/shards.json",
    "clips/own/companions.json",
    "clips/own/clips.parquet",
    "clips/own/labels.parquet",
    "clips/own/plan/0000.parquet",
    "prompts/*/ledger.parquet",
    "prompts/*/shards.json",
    "media/own/0000/media.parquet",
    "synchrony/own/0001.parquet",
    "embeddings/mini/video/own/*.parquet",
    "embeddings/mini/text/*/*.parquet",
    "embeddings/mini/video/own/.*.computed",
    "quality/mini/video/own.parquet",
    "scores/video_text/mini/own.parquet",
    "tables/media.parquet",
    "provenance.json",
    "exports/summary.json",
    "report/index.html",
]


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def zero(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def flip(path: Path) -> None:
    """Change a byte in the middle, as a failing disk does: size and time stay."""
    before, content = path.stat(), bytearray(path.read_bytes())
    content[len(content) // 3] ^= 0x41
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def delete(path: Path) -> None:
    path.unlink()


def chosen(workflow: Workflow, patterns: list[str]) -> list[Path]:
    results = workflow.folder / "results"
    found = {pattern: sorted(results.glob(pattern)) for pattern in patterns}
    assert all(found.values()), found
    return [path for paths in found.values() for path in paths]


def finish(workflow: Workflow) -> list[str]:
    """Give the same command until it ends well; what the failed runs printed."""
    printed = []
    for _ in range(MOST):
        done = workflow.attempt()
        if done.returncode == 0:
            return printed
        assert "Traceback" not in done.stdout, done.stdout[-4000:]
        printed.append(done.stdout)
    raise AssertionError(f"not finished after {MOST} runs: {printed[-1][-4000:]}")


@pytest.mark.parametrize("harm", [delete, truncate, zero, flip], ids=lambda f: f.__name__)
def test_tables_plans_and_notes(site: Site, tmp_path: Path, harm: Callable[[Path], None]) -> None:
    """One file of each kind at once, and the scores gone, so that what they rest on is read."""
    workflow = site.done(tmp_path / "run")
    for path in chosen(workflow, EVERYTHING):
        harm(path)
    for path in (workflow.folder / "results/scores").rglob("*.parquet"):
        path.unlink()
    (workflow.folder / "results/tables/summary.parquet").unlink()
    for printed in finish(workflow):
        assert "so it has been removed; run the same command again" in printed
    assert content(workflow) == site.wanted
    assert workflow.jobs() == {}


@pytest.mark.parametrize("folder", ["clips", "media", "embeddings", "tables", "exports/mini"])
def test_a_whole_folder_deleted(site: Site, tmp_path: Path, folder: str) -> None:
    """Also clips/ with the ledger: what was there is planned and, where needed, made again."""
    workflow = site.done(tmp_path / "run")
    shutil.rmtree(workflow.folder / "results" / folder)
    workflow.run()
    assert content(workflow) == site.wanted
    assert workflow.jobs() == {}


def test_proxies_and_waves(site: Site, tmp_path: Path) -> None:
    """Cut short, garbage in the middle, and one exchanged for another: all made again, and told."""
    workflow = site.done(tmp_path / "run")
    results = workflow.folder / "results"
    for kind, harm in (("video", truncate), ("audio", flip)):
        harm(sorted((results / "media/own/0000" / kind).iterdir())[0])
    for kind in ("video", "audio"):
        first, second = sorted((results / "media/own/0001" / kind).iterdir())[:2]
        shutil.copy(first, second)
    for room in ("embeddings/mini", "synchrony", "scores", "tables", "quality"):
        for path in (results / room).rglob("*.parquet*"):
            if "/text/" not in str(path):
                path.unlink()
        for path in (results / room).rglob(".*.parquet*"):
            if "/text/" not in str(path):
                path.unlink()
    workflow.run()
    logs = "".join(p.read_text() for p in (results / "logs").rglob("*.log"))
    assert "is damaged" in logs
    assert content(workflow) == site.wanted


def test_memories_of_shards(site: Site, tmp_path: Path) -> None:
    """`.previous` and journals full of garbage, in every room: the work is done again."""
    workflow = site.done(tmp_path / "run")
    results = workflow.folder / "results"
    previous = [*results.rglob(".*.previous")]
    assert len(previous) >= 6
    for path in previous:
        output = path.with_name(path.name.removeprefix(".").removesuffix(".previous"))
        output.unlink()
        path.write_bytes(b"PAR1" + bytes(500))
        path.with_name(f".{output.name}.journal").write_bytes(b'deadbeef {"key": "a"}\nhalf a l')
    (results / "tables/summary.parquet").unlink()
    workflow.run()
    assert content(workflow) == site.wanted
