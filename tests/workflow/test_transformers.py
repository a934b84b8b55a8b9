"""The transformers family, run through the workflow from small random checkpoints."""

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from conftest import ROOT, Workflow

pytest.importorskip("transformers")
from transformers_checkpoints import make

from concord.config import Config
from concord.models.catalogue import entries, spec

PAIRS = {
    "video_text": {"video", "text"},
    "audio_text": {"audio", "text"},
    "av_consistency": {"video", "audio"},
}
FEW = ["siglip2", "clap", "pe_audio_video"]
"""One that sees frames, one that hears, one that does both, from originals."""
OTHERS = ["xclip", "clap_fused", "pe_video"]
"""The other ways to read a clip; what every architecture computes is tested without a workflow."""


def configure(workflow: Workflow, kinds: list[str]) -> dict[str, Any]:
    """Give the configuration a checkpoint of each kind; returns what each model is."""
    models = {
        kind: {
            "entry": "transformers",
            "checkpoint": str(make(kind, workflow.folder / kind)),
            "workers": 1,
            "device": "cpu",
        }
        for kind in kinds
    }
    workflow.config |= {"models": models, "tasks": list(PAIRS)}
    config = Config.model_validate({**workflow.config, "results": workflow.folder / "results"})
    return {name: spec(config, name) for name in models}


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
    models = configure(workflow, FEW)
    workflow.run()
    summary = {(row["model"], row["task"]): row for row in workflow.table("summary").to_pylist()}
    for name, model in models.items():
        for modality in set(model.modalities) - {"image"}:
            # the prompts of three pictures and three sounds are six texts
            check(workflow, model, modality, 6 if modality == "text" else 3)
        for task, pair in PAIRS.items():
            if pair <= set(model.modalities):
                assert summary[name, task]["n_scored"] == 3, (name, task)
            else:
                assert (name, task) not in summary


@pytest.mark.slow
def test_other_ways_to_read_clips_work(workflow: Workflow) -> None:
    models = configure(workflow, OTHERS)
    seen = {name: "audio" if "audio" in m.modalities else "video" for name, m in models.items()}
    workflow.run(*(f"results/embeddings/{n}/{seen[n]}/own/0000-0009.parquet" for n in models))
    for name, model in models.items():
        check(workflow, model, seen[name], 3)


def test_an_entry_that_never_ran_says_so() -> None:
    """`tried` of the family's entries is what is done here: small random networks."""
    for entry in entries().values():
        if entry.backend == "transformers":
            assert entry.tried == ("small" if entry.architecture else "random"), entry.name
            assert "published weights never ran" in entry.verified, entry.name
    assert Path(ROOT / "docs/models.md").read_text("utf-8").count("published weights never ran")
