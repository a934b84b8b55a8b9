"""The transformers family, run through the workflow from small random checkpoints."""

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.workflow.conftest import ROOT, Workflow

pytest.importorskip("transformers")
from transformers_checkpoints import make

from concord.config import Config
from concord.models.catalogue import entries, spec

PAIRS = {
    "video_text": {"video", "text"},
    "audio_text": {"audio", "text"},
    "av_consistency": {"video", "audio"},
}


def configure(workflow: Workflow, kind: str) -> Any:
    """Give the configuration a checkpoint of this kind; returns what the model is."""
    checkpoint = str(make(kind, workflow.folder / kind))
    given = {"entry": "transformers", "checkpoint": checkpoint, "workers": 1, "device": "cpu"}
    workflow.config |= {"models": {kind: given}, "tasks": list(PAIRS)}
    config = Config.model_validate({**workflow.config, "results": workflow.folder / "results"})
    return spec(config, kind)


def check(workflow: Workflow, model: Any, modality: str, rows_expected: int) -> None:
    """Every clip or prompt has an embedding of the model's size."""
    folder = workflow.folder / "results" / "embeddings" / model.name / modality
    (path,) = folder.glob("*/*.parquet")
    rows = pq.read_table(path).to_pylist()
    assert len(rows) == rows_expected
    assert {row["status"] for row in rows} == {"ok"}, (model.name, modality, rows[0])
    assert {len(row["embedding"]) for row in rows} == {model.dim}


@pytest.mark.slow
def test_scores_reach_the_tables(workflow: Workflow) -> None:
    """Of a model that sees frames and reads; tests/entries has the others."""
    model = configure(workflow, "siglip2")
    workflow.run()
    check(workflow, model, "video", 3)
    check(workflow, model, "text", 6)
    scored = {row["task"]: row["n_scored"] for row in workflow.table("summary").to_pylist()}
    assert scored == {"video_text": 3}


def test_an_entry_that_never_ran_says_so() -> None:
    """`tried` of the family's entries is what is done here: small random networks."""
    for entry in entries().values():
        if entry.backend == "transformers":
            assert entry.tried == ("small" if entry.architecture else "random"), entry.name
            assert "published weights never ran" in entry.verified, entry.name
    assert Path(ROOT / "docs/models.md").read_text("utf-8").count("published weights never ran")
