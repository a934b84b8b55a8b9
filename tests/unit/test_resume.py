"""A shard's finished rows survive kills, damage and changed members."""

import errno
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from concord.errors import DamagedError, MachineError, UserError
from concord.resume import Resume, finished_rows, forget
from concord.tables import EMBEDDINGS, read_metadata, read_table, write_table


def row(key: str, value: float = 1.0) -> dict:
    vector = np.array([value, 2], dtype=np.float32)
    return {"id": f"clip {key}", "key": key, "status": "ok", "views": 1, "embedding": vector}


def run_shard(output: Path, keys: list[str]) -> list[str]:
    """Work off a shard; returns the keys that had to be processed."""
    processed = []
    with Resume(output, EMBEDDINGS) as resume:
        for key in keys:
            if key not in resume.done:
                processed.append(key)
                resume.add(row(key, float(len(key))))
        resume.finish(keys)
    return processed


def test_only_new_keys_are_processed_and_dropped_keys_leave(tmp_path: Path) -> None:
    output = tmp_path / "0000.parquet"
    assert run_shard(output, ["a", "b", "c"]) == ["a", "b", "c"]
    output.unlink()  # as Snakemake does before it runs a job
    assert run_shard(output, ["a", "c", "dd"]) == ["dd"]
    table = read_table(output, EMBEDDINGS)
    assert table["key"].to_pylist() == ["a", "c", "dd"]
    assert table["embedding"].to_pylist() == [[1, 2], [1, 2], [2, 2]]
    assert read_metadata(output)["run"] == {"processed": 1, "reused": 2}
    assert run_shard(output, ["b"]) == ["b"], "a dropped row must not come back"


def test_a_killed_process_loses_no_finished_row(tmp_path: Path) -> None:
    output = tmp_path / "0000.parquet"
    code = f"""
        import os, signal, sys
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from pathlib import Path
        from test_resume import row
        from concord.resume import Resume
        from concord.tables import EMBEDDINGS
        with Resume(Path({str(output)!r}), EMBEDDINGS) as resume:
            resume.add(row("a")); resume.add(row("b"))
            os.kill(os.getpid(), signal.SIGKILL)
    """
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], env={**os.environ, "PYTHONPATH": str(root)}
    )
    assert done.returncode == -signal.SIGKILL
    assert not output.exists()
    with (tmp_path / ".0000.parquet.journal").open("ab") as journal:
        journal.write(b'{"id": "torn", "key": "c", "sta')
    assert run_shard(output, ["a", "b", "c"]) == ["c"]
    assert not (tmp_path / ".0000.parquet.journal").exists()


def test_a_damaged_memory_means_more_work_not_an_error(tmp_path: Path) -> None:
    output = tmp_path / "0000.parquet"
    run_shard(output, ["a"])
    (tmp_path / ".0000.parquet.previous").write_bytes(b"PAR1 no longer")
    output.unlink()
    (tmp_path / ".0000.parquet.journal").write_text('{"key": "a", "no_such_column": 1}\n')
    assert run_shard(output, ["a"]) == ["a"]


def test_a_changed_byte_in_a_journal_is_never_a_number(tmp_path: Path) -> None:
    output = tmp_path / "0000.parquet"
    with Resume(output, EMBEDDINGS) as resume:
        resume.add(row("a"), row("b", 3.0))
    journal = tmp_path / ".0000.parquet.journal"
    content = journal.read_bytes()
    at = content.index(b'"f32": "') + 10
    journal.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
    assert run_shard(output, ["a", "b"]) == ["a"]


def test_a_changed_byte_in_a_table_is_never_a_number(tmp_path: Path) -> None:
    output = tmp_path / "0000.parquet"
    run_shard(output, [str(i) for i in range(200)])
    whole = output.read_bytes()
    for at in range(4, len(whole) - 3000, 211):
        output.write_bytes(whole[:at] + bytes([whole[at] ^ 65]) + whole[at + 1 :])
        with pytest.raises(DamagedError, match=r"0000\.parquet: damaged"):
            read_table(output, EMBEDDINGS)


@pytest.mark.parametrize(
    ("place", "error"),
    [
        ("pyarrow.parquet.ParquetFile.read", pa.ArrowMemoryError("malloc of size 1 failed")),
        ("pyarrow.parquet.ParquetFile.read", pa.ArrowException("Failed to launch worker thread")),
        ("concord.resume.to_arrow", pa.ArrowMemoryError("malloc of size 1 failed")),
    ],
)
def test_a_machine_at_fault_costs_no_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, error: Exception
) -> None:
    """Memory or threads that ran out are not damage, for which a job would remove the file."""
    output = tmp_path / "0000.parquet"
    run_shard(output, ["a"])
    with Resume(output, EMBEDDINGS) as resume:
        resume.add(row("b"))

    def fail(*_: Any, **__: Any) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(place, fail)
        with pytest.raises((MemoryError, MachineError)), Resume(output, EMBEDDINGS):
            pass
    assert run_shard(output, ["a", "b"]) == []


def test_a_full_disk_leaves_a_journal_that_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "0000.parquet"

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with Resume(output, EMBEDDINGS) as resume:
        resume.add(row("a"))
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            with pytest.raises(UserError, match=r"journal: there is no room for it .* are free in"):
                resume.add(row("b"))
    assert run_shard(output, ["a", "b"]) == ["b"]


def test_forgotten_rows_are_done_again(tmp_path: Path) -> None:
    output = tmp_path / "0000.parquet"
    run_shard(output, ["a", "b"])
    assert forget(output, EMBEDDINGS, lambda r: r["key"] == "b") == 1
    assert not output.exists()
    assert run_shard(output, ["a", "b"]) == ["b"]
    assert forget(output, EMBEDDINGS, lambda r: False) == 0
    assert output.exists()


@pytest.mark.parametrize("killed", [False, True])
def test_what_the_machine_may_have_done_to_a_clip_is_tried_again(
    tmp_path: Path, killed: bool
) -> None:
    """A job that ran out of memory is started again with more; its rows say that clips crashed."""
    output = tmp_path / "0000.parquet"
    run_shard(output, ["a"])
    crashed = row("b") | {"status": "failed", "reason": "crashed", "embedding": None}
    with Resume(output, EMBEDDINGS) as resume:
        resume.add(crashed)
        if not killed:
            resume.finish(["a", "b"])
    assert [found["reason"] for found in finished_rows(output, EMBEDDINGS)] == [None, "crashed"]
    output.unlink()
    assert run_shard(output, ["a", "b"]) == ["b"]
    assert read_table(output, EMBEDDINGS)["status"].to_pylist() == ["ok", "ok"]


def test_a_table_is_refused_for_another(tmp_path: Path) -> None:
    from concord.tables import MEDIA

    path = tmp_path / "x.parquet"
    write_table(path, EMBEDDINGS, [row("a")])
    with pytest.raises(UserError, match=f"expected table media version {MEDIA.version}"):
        read_table(path, MEDIA)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(UserError, match=r"x\.parquet: damaged"):
        read_table(path, EMBEDDINGS)


def test_undeclared_columns_and_reasons_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such columns"):
        write_table(tmp_path / "x", EMBEDDINGS, [{"id": "a", "colour": "red"}])
    with pytest.raises(ValueError, match="undeclared reasons"):
        write_table(tmp_path / "x", EMBEDDINGS, [{"id": "a", "reason": "tired"}])
    assert not list(tmp_path.iterdir()), "a refused table leaves nothing behind"
