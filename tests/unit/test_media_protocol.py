"""The protocol of the media stage, and that its version follows the code."""

import ast
import json
from pathlib import Path
from typing import Any

import pytest
from media_clips import protocol

from concord.media import protocol as module
from concord.media.protocol import row_keys
from concord.protocol import protocol_id

VERSIONS = Path(__file__).with_name("media_version.json")
FOLDER = Path(module.__file__).parent
DECIDING = ("clip", "gate", "measure", "probe", "protocol", "transcode")


def test_gate_is_part_of_the_protocol_only_where_it_filters() -> None:
    assert "silence_db" not in protocol()
    assert protocol(silence_db=-40) == protocol()
    assert protocol(filters=True)["silence_db"] == -60
    assert protocol(filters=True, silence_db=-40) != protocol(filters=True)


@pytest.mark.parametrize(
    "change", [{"size_px": 128}, {"fps": 25}, {"fit": "stretch"}, {"encoder": {"crf": 30}}]
)
def test_what_decides_a_result_changes_the_keys(change: dict[str, Any]) -> None:
    assert not set(row_keys("x", protocol(**change))) & set(row_keys("x", protocol()))


@pytest.mark.parametrize(
    "change", [{"workers": 3}, {"timeout_s": 3}, {"memory_mb": 900}, {"keep_proxies": False}]
)
def test_what_decides_no_result_changes_nothing(change: dict[str, Any]) -> None:
    assert protocol(**change) == protocol()


def test_keys_tell_clip_and_decision_apart() -> None:
    assert len({*row_keys("x", protocol()), *row_keys("y", protocol())}) == 4
    assert row_keys("x", protocol()) == row_keys("x", protocol(filters=True, silence_db=-40))


def test_changed_code_has_a_new_version() -> None:
    """Comments, docstrings and layout apart."""
    code = {name: fingerprint(FOLDER / f"{name}.py") for name in DECIDING}
    now = {"version": module.VERSION, "code": code}
    assert json.loads(VERSIONS.read_text()) == now, (
        "if this change can change a result, raise VERSION in concord/media/protocol.py; "
        f"either way put this into {VERSIONS.name}: {json.dumps(now)}"
    )


def fingerprint(path: Path) -> str:
    """Digest of a module's syntax tree without docstrings, the same in every Python."""
    return protocol_id({"tree": _plain(ast.parse(path.read_text(encoding="utf-8")))})


def _plain(node: Any) -> Any:
    if isinstance(node, list):
        return [_plain(part) for part in node if not _is_docstring(part)]
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = {
        name: _plain(value) for name, value in ast.iter_fields(node) if value not in (None, [])
    }
    return [type(node).__name__, fields]


def _is_docstring(node: Any) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )
