"""The demo through media, embeddings, synchrony and scores: its faults are found, and no others."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from concord.clips import plan
from concord.config import Config
from concord.layout import Layout
from concord.media.protocol import media_protocol
from concord.media.proxies import Limits
from concord.media.shard import process_shard
from concord.mini.demo import CLIPS, COLLECTIONS, DELAY_S
from concord.models.catalogue import spec
from concord.models.shard import Means, embed_media, embed_texts
from concord.scores.score import score
from concord.scores.statistics import compare
from concord.scores.synchrony import measure_shard, score_synchrony, synchrony_protocol
from concord.tables import RETRIEVAL, SCORES, read_table

TASKS = {"faithful": ("video_text", "audio_text", "av_consistency", "retrieval", "synchrony")}
TASKS["careless"] = TASKS["faithful"][:3]
TASKS["late"] = ("synchrony",)
STATISTICS = {"bootstrap": 2000, "confidence": 0.95, "seed": 0}
WORKERS = 2
MEANS = Means(16, WORKERS, Limits(300, 8000))


@pytest.fixture(scope="module")
def layout(demo_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Layout:
    """Everything scored that the tests below look at."""
    config = Config.model_validate(
        {
            "results": tmp_path_factory.mktemp("results"),
            "collections": {name: str(demo_folder / name) for name in COLLECTIONS},
            "prompts": str(demo_folder / "prompts.json"),
            "models": {"mini": {}},
        }
    )
    plan(config)
    layout = Layout(config, {"mini": spec(config, "mini")})
    for collection, tasks in TASKS.items():
        transcode(layout, collection)
        for task in tasks:
            (score_signal if task == "synchrony" else score_model)(layout, collection, task)
    return layout


def transcode(layout: Layout, collection: str) -> None:
    (media,) = layout.media(collection)
    process_shard(
        layout.clips(collection).parent / "plan" / f"{media.parent.name}.parquet",
        media,
        media_protocol(layout.config, collection),
        workers=WORKERS,
        timeout_s=300,
        memory_mb=8000,
    )


def score_model(layout: Layout, collection: str, task: str) -> None:
    """Embed what the task needs and is not there yet, and score it."""
    media = layout.media(collection)
    needed = layout.needed(task, "mini", collection)
    for modality, (output,) in ((m, files) for m, files in needed.items() if files):
        if output.exists():
            continue
        if modality == "text":
            (prompt_set,) = layout.config.prompts
            texts = layout.results / "prompts" / prompt_set / "plan" / output.name
            embed_texts(texts, output, layout.specs["mini"], MEANS)
        else:
            embed_media(
                media[0],
                output,
                layout.specs["mini"],
                modality,
                MEANS,
                media_protocol(layout.config, collection),
            )
    score(
        task,
        layout.score(task, "mini", collection),
        collection=collection,
        clips=layout.clips(collection),
        media=media,
        embeddings={modality: files for modality, files in needed.items() if files},
        audio=layout.config.audio.model_dump(),
        seed=0,
    )


def score_signal(layout: Layout, collection: str, task: str) -> None:
    media, synchrony = layout.media(collection), layout.synchrony(collection)
    measure_shard(
        media[0],
        synchrony[0],
        protocol=synchrony_protocol(),
        workers=WORKERS,
        limits=MEANS.limits,
        media_protocol=media_protocol(layout.config, collection),
    )
    score_synchrony(
        layout.score(task, "signal", collection),
        collection=collection,
        clips=layout.clips(collection),
        media=media,
        synchrony=synchrony,
        audio=layout.config.audio.model_dump(),
    )


def values(layout: Layout, collection: str, task: str, metric: str) -> dict[str, float]:
    """The scored values of a collection by item."""
    model = "signal" if task == "synchrony" else "mini"
    rows = read_table(layout.score(task, model, collection), SCORES).to_pylist()
    return {
        row["item"]: row["value"]
        for row in rows
        if row["metric"] == metric and row["status"] == "ok"
    }


def difference(layout: Layout, other: str, task: str, metric: str) -> dict[str, Any]:
    """`faithful` less another collection, paired."""
    both = (values(layout, name, task, metric) for name in ("faithful", other))
    return compare(*both, STATISTICS)


@pytest.mark.parametrize("task", ["video_text", "audio_text", "av_consistency"])
def test_the_careless_generator_agrees_less(layout: Layout, task: str) -> None:
    found = difference(layout, "careless", task, "cosine")
    assert found["n_common"] == CLIPS
    assert found["ci_low"] > 0


def test_the_late_generator_is_late(layout: Layout) -> None:
    assert difference(layout, "late", "synchrony", "av_align")["ci_low"] > 0
    found = difference(layout, "late", "synchrony", "abs_offset_ms")
    assert found["n_common"] >= CLIPS / 2
    assert found["ci_high"] < 0
    assert found["difference"] == pytest.approx(-1000 * DELAY_S, abs=150)


@pytest.mark.parametrize(
    ("task", "metric"),
    [
        ("video_text", "cosine"),
        ("audio_text", "cosine"),
        ("av_consistency", "cosine"),
        ("synchrony", "av_align"),
        ("synchrony", "abs_offset_ms"),
    ],
)
def test_two_halves_of_the_faithful_generator_are_not_told_apart(
    layout: Layout, task: str, metric: str
) -> None:
    """By 95 % intervals of the difference of means; of 20 random splits one may err, and a bit."""
    from scipy.stats import bootstrap

    scored = np.array(list(values(layout, "faithful", task, metric).values()))
    rng = np.random.default_rng(0)
    alike = 0
    for _ in range(20):
        first, second = np.array_split(rng.permutation(scored), 2)
        interval = bootstrap(
            (first, second),
            lambda a, b, axis: a.mean(axis=axis) - b.mean(axis=axis),
            n_resamples=1000,
            method="percentile",
            rng=rng,
        ).confidence_interval
        alike += bool(interval.low <= 0 <= interval.high)
    assert alike >= 17


def test_recall_is_ten_times_chance_in_every_direction_and_the_control_is_not(
    layout: Layout,
) -> None:
    table = read_table(layout.score("retrieval", "mini", "faithful"), RETRIEVAL).to_pandas()
    found = table.groupby("direction")[["recall_at_1", "shuffled_recall_at_1", "candidates"]].mean()
    assert len(found) == 6
    assert (found["candidates"] == CLIPS).all()
    assert (found["recall_at_1"] >= 10 / CLIPS).all(), found
    assert (found["shuffled_recall_at_1"] <= 5 / CLIPS).all(), found
