"""What leaves Concord: terminals, logs, spreadsheets, and the rules of the code itself."""

import ast
import csv
import io
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import report_results
from hostile import FORMULAS, SCRIPTS
from report_features import add_features
from report_results import make_results

from concord.config import TASKS
from concord.errors import printable
from concord.report.aggregate import aggregate
from concord.report.exports import export
from concord.report.spreadsheet import csv_text, write_csv

ROOT = Path(__file__).resolve().parents[2]
CODE = [p for name in ("concord", "scripts") for p in sorted((ROOT / name).rglob("*.py"))]
ESCAPES = "\x1b]0;pwned\x07\x1b[2J\x1b[31mred\x9b1m\r\x08\u202e"


SAY = """
import sys
from concord.errors import UserError
from concord.logs import log_to
from concord.run import tell
with log_to("/dev/stdout"):
    tell([sys.argv[1]])
    raise UserError(sys.argv[1])
"""


def cells(text: str) -> list[str]:
    return [cell for row in csv.reader(io.StringIO(text, newline="")) for cell in row]


def test_every_csv_is_free_of_formulas(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hostile names of clips, prompts and labels through the tables and exports of a run."""
    names = [*FORMULAS, *(script.replace("/", "_") for script in SCRIPTS), ESCAPES]
    monkeypatch.setattr(report_results, "NAMES", names)
    monkeypatch.setattr(report_results, "PROMPTS", [*FORMULAS, *SCRIPTS, ESCAPES])
    tasks = [*TASKS, "features"]
    config = make_results(
        tmp_path,
        ("faithful",),
        count=len(names),
        labels=2,
        tasks=tasks,
        probes={"classifiers": ["logistic"]},
        report={"projections": []},
    )
    add_features(config)
    before = {path for path in tmp_path.rglob("*") if config.results not in path.parents}
    aggregate(config, config.results / "tables")
    export(config)
    found = sorted(config.results.rglob("*.csv"))
    assert {"scores.csv", "clips.csv", "failures.csv"} <= {path.name for path in found}
    for path in found:
        text = path.read_text("utf-8")
        harmful = [c for c in cells(text) if c.startswith(FORMULAS) or re.match(r"[=@\t\r\n]", c)]
        assert not harmful, path
    assert {path for path in tmp_path.rglob("*") if config.results not in path.parents} == before


def test_csv_of_any_text_type_and_numbers(tmp_path: Path) -> None:
    rows = [{"a": text, "n": -1.5} for text in FORMULAS] + [{"a": None, "n": None}]
    found = csv_text(["a", "n"], rows)
    assert cells(found)[2:] == [c for text in FORMULAS for c in (f"'{text}", "-1.5")] + ["", ""]
    texts = list(FORMULAS)
    kinds = {"s": pa.string(), "l": pa.large_string(), "d": pa.dictionary(pa.int32(), pa.string())}
    table = pa.table({name: pa.array(texts, kind) for name, kind in kinds.items()})
    pq.write_table(table, tmp_path / "t.parquet")
    write_csv(tmp_path / "t.parquet")
    written = cells((tmp_path / "t.csv").read_bytes().decode())
    assert written[3:] == [f"'{text}" for text in FORMULAS for _ in kinds]


def test_escape_codes_do_not_reach_a_terminal() -> None:
    shown = printable(ESCAPES + "\n")
    assert shown.replace("\n", "").isprintable()
    assert "\\x1b]0;pwned" in shown
    said = subprocess.run(
        [sys.executable, "-c", SAY, ESCAPES],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    log = said.stdout + said.stderr
    assert log.count("pwned") == 2, log
    assert log.replace("\n", "").isprintable()


def calls(path: Path) -> Iterator[tuple[str, ast.Call]]:
    """The calls in a file, with the dotted name of what is called."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def constant(call: ast.Call, name: str) -> object:
    for keyword in call.keywords:
        if keyword.arg == name and isinstance(keyword.value, ast.Constant):
            return keyword.value.value
    return None


@pytest.mark.parametrize("path", CODE, ids=[str(path.relative_to(ROOT)) for path in CODE])
def test_the_code_opens_what_others_wrote_with_care(path: Path) -> None:
    """Rules for every file, also those to come; each refuses a way to run what a file says."""
    for name, call in calls(path):
        where = f"{path.relative_to(ROOT)}:{call.lineno}: {name}"
        last = name.rpartition(".")[2]
        assert name not in ("eval", "exec", "os.system", "os.popen"), where
        assert constant(call, "shell") is not True, where
        assert not (name.startswith("pickle.") and last in ("load", "loads", "Unpickler")), where
        assert last not in ("unsafe_load", "full_load"), where
        assert constant(call, "trust_remote_code") is not True, where
        if name == "torch.load":
            assert constant(call, "weights_only") is True, where
        if name in ("np.load", "numpy.load"):
            assert constant(call, "allow_pickle") is False, where
        if name in ("tarfile.open",) or last in ("extractall", "unpack_archive"):
            assert last == "open", where
        if name == "Image.open":
            assert any(keyword.arg == "formats" for keyword in call.keywords), where
        if name in ("csv.writer", "csv.DictWriter"):
            assert path.name == "spreadsheet.py", where
