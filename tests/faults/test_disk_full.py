"""A disk that fills up in the middle: a message says so, and after making room the run goes on."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.faults.conftest import Running, Site, mounted
from tests.workflow.compare import content

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("nothing_is_left")]

MOMENTS = [
    ("planning", None),
    ("media", "media/own/*/.media.parquet.journal"),
    ("embedding", "logs/embed_media/*video*.log"),
    ("tables", "logs/aggregate_tables.log"),
]


def fill(folder: Path) -> Path:
    """Leave no room on the disk of a folder; the file that takes it all."""
    filler = folder / "filler"
    subprocess.run(["dd", "if=/dev/zero", f"of={filler}", "bs=4k"], capture_output=True)
    return filler


def test_results_on_a_disk_that_fills_up(site: Site, tmp_path: Path) -> None:
    """Full while the plan, media journals, embeddings and tables are written, one after the other.

    Each time the run fails, says which file found no room and how much is free, and loses nothing:
    with room made, the same command goes on. The clips that media did before are not done again.
    """
    disk = tmp_path / "disk"
    with mounted(disk, "-t", "tmpfs", "-o", "size=24m", "tmpfs"):
        workflow = site.workflow(tmp_path / "run", results=str(disk / "results"))
        (workflow.folder / "results").symlink_to(disk / "results")
        for moment, pattern in MOMENTS:
            if pattern is None:
                filler = fill(disk)
                run = Running(workflow)
            else:
                run = Running(workflow)
                run.wait_for(pattern, empty=True)
                filler = fill(disk)
            printed = run.end(ok=False)
            filler.unlink()
            logs = [p.read_text() for p in (disk / "results").glob("logs/**/*.log")]
            assert "no room" in printed or "No space left" in printed, (moment, printed[-3000:])
            assert "Traceback" not in "".join(logs), moment
            if pattern is None:
                assert "0 MB are free" in printed
        workflow.run()
        assert content(workflow) == site.wanted
        left = [p for p in disk.rglob("*") if ".tmp-" in p.name or p.suffix == ".journal"]
        assert left == []


def test_a_full_folder_for_temporary_files(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TMPDIR has no room for a clip's wave: media fails with its name, and goes on elsewhere."""
    with mounted(tmp_path / "small", "-t", "tmpfs", "-o", "size=16k", "tmpfs") as small:
        monkeypatch.setenv("TMPDIR", str(small))
        workflow = site.workflow(tmp_path / "run")
        printed = workflow.run(ok=False)
        message = rf"{small}\S*: .*No space left on device; this is the folder for temporary files"
        assert re.search(message, printed), printed[-4000:]
        monkeypatch.setenv("TMPDIR", str(tmp_path / "scratch"))
        workflow.run()
    assert content(workflow) == site.wanted
