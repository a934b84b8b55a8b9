"""concord-mini on the demo's files, as the workflow reads them: through proxies and waves."""

import json
from itertools import permutations

import numpy as np
import pytest
import torch

from concord.config import Config
from concord.media.protocol import media_protocol
from concord.media.shard import process_shard
from concord.mini.demo import CLIPS, careless_indices, make_demo
from concord.models.base import ModelSpec
from concord.models.mini import load, reader
from concord.tables import MEDIA, PLAN, read_table, to_arrow, write_table

SPEC = ModelSpec("mini", "mini", ("video", "audio", "text"), 96, "own", "this project")
Vectors = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def embeddings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Vectors]:
    """Unit vectors [48, 96] of `faithful`, [12, 96] of the wrong clips of `careless`; prompts."""
    folder = tmp_path_factory.mktemp("demo")
    make_demo(folder, workers=2)
    paths = sorted((folder / "faithful").iterdir())
    paths += [folder / "careless" / f"sample_{i:04d}.mp4" for i in careless_indices()]
    config = Config.model_validate({"collections": {"demo": str(folder)}})
    rows = [
        {"clip_id": str(path), "path": str(path), "audio_path": None, "key": str(path)}
        for path in paths
    ]
    write_table(folder / "plan.parquet", PLAN, to_arrow(PLAN, rows))
    media = folder / "shard" / "media.parquet"
    process_shard(
        folder / "plan.parquet",
        media,
        media_protocol(config, "demo"),
        workers=2,
        timeout_s=300,
        memory_mb=8000,
    )
    network = load(SPEC, torch.device("cpu"))
    rows = read_table(media, MEDIA).to_pylist()
    read_video, read_audio = reader(SPEC, "video"), reader(SPEC, "audio")
    video = network.embed("video", [read_video(media.parent / "video" / r["proxy"]) for r in rows])
    audio = network.embed("audio", [read_audio(media.parent / "audio" / r["wave"]) for r in rows])
    prompts = json.loads((folder / "prompts.json").read_text(encoding="utf-8"))
    texts = {
        k: network.embed("text", [p[f"{k}_prompt"] for p in prompts]) for k in ("video", "audio")
    }
    return {
        "faithful": {"video": video[:CLIPS], "audio": audio[:CLIPS]},
        "careless": {"video": video[CLIPS:], "audio": audio[CLIPS:]},
        "prompts": texts,
    }


def recall_at_1(queries: np.ndarray, targets: np.ndarray) -> float:
    return float(((queries @ targets.T).argmax(1) == np.arange(len(queries))).mean())


def test_recall_is_ten_times_chance_in_every_direction(embeddings: dict[str, Vectors]) -> None:
    clips, prompts = embeddings["faithful"], embeddings["prompts"]
    order = np.random.default_rng(0).permutation(CLIPS)
    for pair in (
        (clips["video"], prompts["video"]),
        (clips["audio"], prompts["audio"]),
        (clips["video"], clips["audio"]),
    ):
        for queries, targets in permutations(pair):
            assert recall_at_1(queries, targets) >= 10 / CLIPS
            assert recall_at_1(queries, targets[order]) <= 5 / CLIPS


def test_careless_clips_suffer_in_all_three_similarities(embeddings: dict[str, Vectors]) -> None:
    faithful, careless, prompts = (embeddings[k] for k in ("faithful", "careless", "prompts"))
    wrong = careless_indices()
    for before, after in (
        (faithful["video"] * prompts["video"], careless["video"] * prompts["video"][wrong]),
        (faithful["audio"] * prompts["audio"], careless["audio"] * prompts["audio"][wrong]),
        (faithful["video"] * faithful["audio"], careless["video"] * careless["audio"]),
    ):
        drop = before.sum(1)[wrong] - after.sum(1)
        assert drop.mean() > 4 * drop.std() / np.sqrt(len(wrong))
