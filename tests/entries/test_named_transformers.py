"""Every named model of transformers, run through the workflow from a small random checkpoint."""

import numpy as np
import pyarrow.parquet as pq
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from transformers_checkpoints import make  # noqa: E402
from tried_models import SMALL  # noqa: E402

from concord.config import Config  # noqa: E402
from concord.models import transformers as family  # noqa: E402
from concord.models.catalogue import entries, spec  # noqa: E402
from concord.tables import TEXTS, read_table  # noqa: E402
from tests.workflow.conftest import Workflow, workflow  # noqa: E402
from tests.workflow.test_transformers import PAIRS, check, configure  # noqa: E402

__all__ = ["workflow"]


def test_a_picture_alone_is_read_from_originals(workflow: Workflow) -> None:
    """By the one architecture that no named entry has."""
    model = configure(workflow, "pe_video")
    workflow.run("results/embeddings/pe_video/video/own/0000-0009.parquet")
    check(workflow, model, "video", 3)


def test_every_named_model_scores(workflow: Workflow) -> None:
    """All clips, all prompts; and a prompt's vector is that of a direct call."""
    checkpoints = {kind: make(kind, workflow.folder / kind) for kind in set(SMALL.values())}
    given = {"workers": 1, "device": "cpu", "precision": "fp32"}
    models = {name: {**given, "checkpoint": str(checkpoints[k])} for name, k in SMALL.items()}
    workflow.config |= {"models": models, "tasks": list(PAIRS)}
    workflow.run(limit_s=3600)

    results = workflow.folder / "results"
    config = Config.model_validate({**workflow.config, "results": results})
    (plan,) = (results / "prompts").glob("*/plan/*.parquet")
    texts = {row["text_id"]: row["text"] for row in read_table(plan, TEXTS).to_pylist()}
    summary = {(row["model"], row["task"]): row for row in workflow.table("summary").to_pylist()}
    for name in SMALL:
        modalities = set(entries()[name].modalities)
        scored = {task for model, task in summary if model == name}
        assert scored == {task for task, pair in PAIRS.items() if pair <= modalities}
        assert {summary[name, task]["n_scored"] for task in scored} == {3}, name
        if "text" in modalities:
            (path,) = (results / "embeddings" / name / "text").glob("*/*.parquet")
            rows = pq.read_table(path).to_pylist()
            network = family.load(spec(config, name), torch.device("cpu"))
            direct = network.embed("text", [texts[row["id"]] for row in rows])
            found = [row["embedding"] for row in rows]
            np.testing.assert_allclose(found, direct, atol=1e-5, err_msg=name)
