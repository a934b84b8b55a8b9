"""Scores of a collection: what is expected, what is missing and why, and the numbers."""

from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pytest
from scored_collection import AUDIO, DIM, Collection, Row, cosine, outcome, vector

from concord.errors import UserError
from concord.protocol import digest, protocol_id
from concord.scores import similarity
from concord.scores.score import score
from concord.scores.tasks import (
    task_info,
)
from concord.tables import (
    CLIPS,
    REASONS,
    RETRIEVAL,
    SCORES,
    read_metadata,
    read_table,
    write_table,
)


@pytest.fixture
def collection(tmp_path: Path) -> Collection:
    return Collection(tmp_path)


def test_scores_are_the_cosines_of_the_right_rows(collection: Collection) -> None:
    for i in range(7):
        collection.clip(f"clip {i}.mp4", f"prompt {i % 3}")
    rows = {
        m: {row["id"]: row["embedding"] for row in found} for m, found in collection.vectors.items()
    }
    for task, first, second in (
        ("video_text", "video", "prompt {}"),
        ("audio_text", "audio", "prompt {} sounds"),
        ("av_consistency", "video", None),
    ):
        found = collection.scored(task)
        for i in range(7):
            name = f"clip {i}.mp4"
            text = second and rows["text"][digest(second.format(i % 3))]
            other = rows["audio"][name] if text is None else text
            assert found[name]["value"] == pytest.approx(
                cosine(rows[first][name], other), abs=1e-12
            )
            assert found[name]["metric"] == "cosine"
            assert outcome(found[name]) == ("ok", None)


def test_the_cosine_ignores_lengths_and_stays_within_one(collection: Collection) -> None:
    collection.clip("a.mp4")
    collection.vectors["video"][0]["embedding"] = np.full(DIM, 1e-20, np.float32)
    collection.vectors["audio"][0]["embedding"] = np.full(DIM, 3e20, np.float32)
    assert collection.scored("av_consistency")["a.mp4"]["value"] == 1.0


@pytest.mark.shared
def test_the_cosine_of_a_published_imagebind_pair(shared: Path) -> None:
    folder = shared / "oracles" / "imagebind_pair"
    audio, video = (np.load(folder / f"{m}_embeddings.npy") for m in ("audio", "video"))
    published = np.load(folder / "similarity_matrix.npy").item()
    own = np.array([0])
    assert similarity.cosine(video, audio, own, own)[0] == pytest.approx(published, abs=1e-7)
    assert published == pytest.approx(0.11945830285549164)


def test_every_expected_row_is_there_and_other_files_are_not(collection: Collection) -> None:
    collection.clip("a.mp4")
    not_media = {"kind": "other", "status": "skipped", "reason": "not_media"}
    left_out = {"kind": "video", "status": "skipped", "reason": "left_out"}
    no_clip = {"status": "skipped", "reason": "no_clip", "prompt_status": "ok"}
    collection.clips += [
        {"clip_id": "notes.txt", **not_media},
        {"clip_id": "b.mp4", **left_out},
        {"item": "24", "video_prompt": "a dog", "audio_prompt": "barking", **no_clip},
    ]
    for task in ("video_text", "audio_text", "av_consistency"):
        found = collection.scored(task)
        assert {name: outcome(row) for name, row in found.items()} == {
            "a.mp4": ("ok", None),
            "b.mp4": ("skipped", "left_out"),
            None: ("skipped", "no_clip"),
        }
        assert found[None]["item"] == "24"
        assert found[None]["value"] is None


@pytest.mark.parametrize(
    ("prompt", "clip", "expected"),
    [
        ("", {}, "empty_prompt"),
        (" \u3000\n", {}, "empty_prompt"),
        (None, {}, "empty_prompt"),
        (None, {"prompt_status": "skipped", "prompt_reason": "no_prompt"}, "no_prompt"),
        ("cat", {"prompt_status": "skipped", "prompt_reason": "duplicate"}, "duplicate"),
        ("cat", {"prompt_status": "skipped", "prompt_reason": "ambiguous"}, "ambiguous"),
    ],
)
def test_prompt_problems_skip_the_text_tasks_alone(
    collection: Collection, prompt: str | None, clip: Row, expected: str
) -> None:
    collection.clip("a.mp4", prompt, **clip)
    assert outcome(collection.scored("video_text")["a.mp4"]) == ("skipped", expected)
    assert outcome(collection.scored("audio_text")["a.mp4"]) == ("skipped", expected)
    assert outcome(collection.scored("av_consistency")["a.mp4"]) == ("ok", None)


def test_the_first_failing_stage_is_the_reason(collection: Collection) -> None:
    collection.clip("a.mp4", "")
    collection.clip("b.mp4")
    collection.clip("c.mp4")
    for media in collection.media[:2]:
        media.update(video_status="failed", video_reason="no_frames", detail="nothing decoded")
    for name in ("a.mp4", "b.mp4", "c.mp4"):
        collection.fail("video", name, "failed", "model_error")
    found = collection.scored("video_text")
    assert outcome(found["a.mp4"]) == ("skipped", "empty_prompt")
    assert outcome(found["b.mp4"]) == ("failed", "no_frames")
    assert found["b.mp4"]["detail"] == "nothing decoded"
    assert outcome(found["c.mp4"]) == ("failed", "model_error")
    assert found["c.mp4"]["detail"] == "why"


def test_the_gate_acts_on_the_tasks_that_listen(collection: Collection) -> None:
    for name in ("quiet.mp4", "mute.mp4"):
        collection.clip(name)
    collection.media[0]["mean_volume_db"] = -70.0
    collection.media[1].update(audio_status="skipped", audio_reason="no_audio_stream")
    collection.fail("audio", "mute.mp4", "skipped", "no_audio_stream")
    for task in ("audio_text", "av_consistency"):
        found = collection.scored(task)
        assert outcome(found["quiet.mp4"]) == ("skipped", "silent")
        assert outcome(found["mute.mp4"]) == ("skipped", "no_audio_stream")
    assert {row["status"] for row in collection.scored("video_text").values()} == {"ok"}


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf])
def test_vectors_without_direction_are_failures_not_numbers(
    collection: Collection, value: float
) -> None:
    for name in ("a.mp4", "b.mp4", "c.mp4"):
        collection.clip(name)
    collection.vectors["video"][1]["embedding"] = np.full(DIM, value, np.float32)
    found = collection.scored("video_text")
    assert outcome(found["b.mp4"]) == ("failed", "not_finite")
    assert [found[name]["status"] for name in ("a.mp4", "c.mp4")] == ["ok", "ok"]
    text = cosine(vector(30), vector(sum(b"a cat")))
    assert found["c.mp4"]["value"] == pytest.approx(text, abs=1e-12)


def test_a_failed_text_fails_its_clips(collection: Collection) -> None:
    collection.clip("a.mp4", "one")
    collection.clip("b.mp4", "two")
    collection.fail("text", digest("one"), "failed", "model_error")
    found = collection.scored("video_text")
    assert outcome(found["a.mp4"]) == ("failed", "model_error")
    assert outcome(found["b.mp4"]) == ("ok", None)


def test_the_table_says_by_which_protocol_it_was_made(collection: Collection) -> None:
    collection.clip("a.mp4")
    note = read_metadata(collection.write("video_text"))
    assert note["protocol"] == {
        "task": "video_text",
        "version": task_info("video_text").version,
        "embeddings": {"video": "p-video", "text": "p-text"},
        "audio": None,
    }
    assert note["protocol_id"] == protocol_id(note["protocol"])
    assert (note["model"], note["collection"]) == ("m", "c")
    assert read_metadata(collection.write("audio_text"))["protocol"]["audio"] == AUDIO


@pytest.mark.parametrize("note", [{"protocol_id": "other"}, {"model": "other"}])
def test_shards_of_different_protocols_or_models_are_refused(
    collection: Collection, note: Row
) -> None:
    collection.clip("a.mp4")
    collection.note["video", 1] = note
    with pytest.raises(UserError, match=r"other in .*0001\.parquet"):
        collection.write("video_text")


def computed(weights: str, precision: str = "fp32", **values: str) -> Row:
    entry = {"weights_sha256": weights, "precision": precision, "device": "cpu", **values}
    return {"computed": [entry]}


@pytest.mark.parametrize("other", [("video", 1), ("text", 0)])
def test_shards_or_modalities_of_different_weights_are_refused(
    collection: Collection, other: tuple[str, int]
) -> None:
    """A hub's file has changed in between, and the configuration did not pin it."""
    collection.clip("a.mp4")
    for place in (("video", 0), ("video", 1), ("text", 0), ("text", 1)):
        collection.note[place] = computed("new" if place == other else "old")
    with pytest.raises(UserError, match=r"one weights.*new in .*set models\.m\.sha256"):
        collection.write("video_text")


def test_weights_that_no_protocol_names_are_part_of_the_scores_protocol(
    collection: Collection,
) -> None:
    collection.clip("a.mp4")
    collection.note["video", 0] = computed("found")
    assert read_metadata(collection.write("video_text"))["protocol"]["weights_sha256"] == "found"
    collection.note["video", 0] |= {"protocol": {"weights_sha256": "found"}}
    assert "weights_sha256" not in read_metadata(collection.write("video_text"))["protocol"]


def test_settings_that_changed_on_a_hub_are_refused(collection: Collection) -> None:
    collection.clip("a.mp4")
    collection.note["video", 0] = computed("w", config_sha256="old")
    protocol = read_metadata(collection.write("video_text"))["protocol"]
    assert protocol["config_sha256"] == "old"
    collection.note["text", 0] = computed("w", config_sha256="new")
    with pytest.raises(UserError, match=r"one configuration.*models\.m\.pretrained"):
        collection.write("video_text")


AUTO = {"protocol": {"precision": "auto"}}


@pytest.mark.parametrize("other", [("video", 1), ("text", 0)])
def test_shards_or_modalities_of_different_precision_are_refused(
    collection: Collection, other: tuple[str, int]
) -> None:
    """A GPU computed some, a CPU the others; `auto` is one protocol for both."""
    collection.clip("a.mp4")
    for place in (("video", 0), ("video", 1), ("text", 0), ("text", 1)):
        collection.note[place] = AUTO | computed("w", "bf16" if place == other else "fp32")
    with pytest.raises(UserError, match=r"one precision.*bf16 in .*set models\.m\.precision"):
        collection.write("video_text")


def test_a_shard_in_two_precisions_is_refused(collection: Collection) -> None:
    collection.clip("a.mp4")
    both = [*computed("w", "bf16")["computed"], *computed("w", "fp32")["computed"]]
    collection.note["video", 0] = AUTO | {"computed": both}
    with pytest.raises(UserError, match="one precision"):
        collection.write("video_text")


def test_what_auto_came_to_is_part_of_the_scores_protocol(collection: Collection) -> None:
    """Tables of two collections in different precision have different protocols, so that they are
    not compared; where the protocol names the precision it says enough."""
    collection.clip("a.mp4")
    found = []
    for precision in ("fp32", "bf16"):
        collection.note["video", 0] = AUTO | computed("w", precision)
        found.append(read_metadata(collection.write("video_text")))
        assert found[-1]["protocol"]["precision"] == precision
    assert found[0]["protocol_id"] != found[1]["protocol_id"]
    collection.note["video", 0] |= {"protocol": {"precision": "bf16"}}
    assert "precision" not in read_metadata(collection.write("video_text"))["protocol"]


def test_the_table_says_what_computed_its_embeddings(collection: Collection) -> None:
    collection.clip("a.mp4")
    collection.note = {
        ("video", 0): computed("w", device="NVIDIA A100"),
        ("video", 1): computed("w"),
        ("text", 0): computed("w"),
    }
    found = read_metadata(collection.write("video_text"))["computed"]
    assert [entry["device"] for entry in found] == ["NVIDIA A100", "cpu"]


def test_modalities_of_different_models_or_sizes_are_refused(collection: Collection) -> None:
    collection.clip("a.mp4")
    collection.note = {("text", shard): {"model": "other"} for shard in (0, 1)}
    with pytest.raises(UserError, match="one model expected"):
        collection.write("video_text")
    collection.note = {}
    for row in collection.vectors["text"]:
        row["embedding"] = np.ones(DIM + 1, np.float32)
    with pytest.raises(UserError, match="one dimension expected"):
        collection.write("video_text")


@pytest.mark.parametrize("missing", ["media", "video", "text"])
def test_tables_that_lack_a_clip_are_reported_with_its_name(
    collection: Collection, missing: str
) -> None:
    collection.clip("a.mp4")
    collection.clip("b 'x'.mp4", "other")
    rows = collection.media if missing == "media" else collection.vectors[missing]
    del rows[-1 if missing != "text" else 2]
    name = digest("other") if missing == "text" else "b 'x'.mp4"
    with pytest.raises(UserError) as error:
        collection.write("video_text")
    assert repr(name) in str(error.value)
    assert "run again" in str(error.value)


def test_a_collection_without_a_single_clip_has_its_missing_prompts(collection: Collection) -> None:
    collection.clips.append(
        {"item": "1", "video_prompt": "x", "status": "skipped", "reason": "no_clip"}
    )
    write_table(collection.folder / "clips.parquet", CLIPS, collection.clips)
    output = collection.folder / "out.parquet"
    arguments = {"collection": "c", "clips": collection.folder / "clips.parquet", "media": []}
    score("video_text", output, **arguments, embeddings={}, audio=None, seed=0)
    assert [outcome(row) for row in read_table(output, SCORES).to_pylist()] == [
        ("skipped", "no_clip")
    ]


def test_reasons_in_tables_are_declared(collection: Collection) -> None:
    collection.clip("a.mp4", "")
    collection.clip("b.mp4")
    collection.vectors["audio"][1]["embedding"] = np.zeros(DIM, np.float32)
    for task in ("audio_text", "retrieval"):
        table = read_table(collection.write(task), RETRIEVAL if task == "retrieval" else SCORES)
        assert set(pc.unique(table["reason"]).to_pylist()) - {None} <= REASONS.keys()
        assert len(set(pc.unique(table["reason"]).to_pylist()) - {None}) == 2


def test_a_pair_of_companions_is_compared_where_the_clip_has_both(collection: Collection) -> None:
    for name in ("a", "b", "c"):
        collection.clip(f"{name}.mp4")
    collection.fail("depth", "b.mp4", "skipped", "no_depth_file")
    collection.media[2] |= {"video_status": "failed", "video_reason": "no_frames"}
    rows = collection.scored("depth_image")
    depth, image = (collection.vectors[m][0]["embedding"] for m in ("depth", "image"))
    assert rows["a.mp4"]["value"] == pytest.approx(cosine(depth, image), abs=1e-12)
    assert outcome(rows["b.mp4"]) == ("skipped", "no_depth_file")
    assert outcome(rows["c.mp4"]) == ("ok", None), "its picture is not asked for"
    assert outcome(collection.scored("depth_video")["c.mp4"]) == ("failed", "no_frames")


@pytest.mark.parametrize(
    ("task", "prompt"), [("image_text", "a cat"), ("imu_text", "a cat"), ("audio_text", None)]
)
def test_companions_are_compared_with_the_video_prompt(
    collection: Collection, task: str, prompt: str | None
) -> None:
    collection.clip("a.mp4")
    modality = task.split("_")[0]
    texts = {row["id"]: row["embedding"] for row in collection.vectors["text"]}
    wanted = cosine(
        collection.vectors[modality][0]["embedding"], texts[digest(prompt or "a cat sounds")]
    )
    assert collection.scored(task)["a.mp4"]["value"] == pytest.approx(wanted, abs=1e-12)


def test_the_gate_acts_on_pairs_that_listen(collection: Collection) -> None:
    collection.clip("a.mp4")
    collection.media[0]["mean_volume_db"] = -80.0
    assert outcome(collection.scored("audio_image")["a.mp4"]) == ("skipped", "silent")
    assert outcome(collection.scored("image_video")["a.mp4"]) == ("ok", None)


def test_retrieval_ranks_the_configured_pairs_of_companions(collection: Collection) -> None:
    for name in ("a", "b", "c"):
        collection.clip(f"{name}.mp4", name)
    collection.fail("image", "b.mp4", "skipped", "no_image")
    usual = collection.ranked()
    found = collection.ranked(["image_text", "depth_image"])
    assert {key: row for key, row in found.items() if key in usual} == usual
    assert {direction for direction, _ in found.keys() - usual.keys()} == {
        *("image_to_text", "text_to_image", "depth_to_image", "image_to_depth"),
    }
    assert outcome(found["image_to_text", "b.mp4"]) == ("skipped", "no_image")
    row = found["image_to_text", "a.mp4"]
    assert (row["candidates"], row["positives"]) == (3, 1), "every text, also of missing images"
    assert found["depth_to_image", "a.mp4"]["candidates"] == 2
