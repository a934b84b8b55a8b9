"""What two runs over the same clips must agree on."""

import shutil
from typing import Any

import pyarrow as pa

from tests.workflow.conftest import Workflow

PLACES = {"path", "key", "source_key", "proxy", "wave", "shard"}


def content(workflow: Workflow) -> dict[str, list[dict[str, Any]]]:
    """The final tables as sorted rows, without what names a place or an arrangement."""
    tables = {}
    for name in ("summary", "status", "scores", "media"):
        table: pa.Table = workflow.table(name)
        drop = [name for name in table.column_names if name in PLACES]
        tables[name] = sorted(table.drop_columns(drop).to_pylist(), key=repr)
    return tables


def fresh(workflow: Workflow) -> dict[str, list[dict[str, Any]]]:
    """The tables of a run that starts from nothing over the same clips."""
    other = workflow.folder / "fresh"
    shutil.rmtree(other, ignore_errors=True)
    other.mkdir()
    for name in ("clips", "prompts.json"):
        (other / name).symlink_to(workflow.folder / name)
    again = Workflow(other, workflow.config)
    again.run()
    return content(again)
