"""Trial runs: which prompts and clips a limit leaves."""

from pathlib import Path

import pytest
from planned_clips import (
    clips,
    configure,
    fill,
    members,
    planned_texts,
    stamps,
    texts_of,
    write_prompts,
)

from concord.clips.plan import plan, problems
from concord.config import Config
from concord.errors import UserError


def test_a_limit_takes_the_first_prompts_of_the_file_and_their_clips(tmp_path: Path) -> None:
    fill(tmp_path / "clips", *(f"{i}.mp4" for i in (1, 2, 3, 5, 7, 10)), "notes.txt")
    fill(tmp_path / "clips", "sample_5.mp4", "none.mp4")
    path = write_prompts(tmp_path, 5, 10, 4, 1, 2)
    config = configure(tmp_path, prompts=path, limit=3)
    plan(config)
    assert [(row["clip_id"], row["item"], row["reason"]) for row in clips(config)] == [
        ("10.mp4", "10", None),
        ("notes.txt", None, "not_media"),
        ("sample_5.mp4", "5", None),
        (None, "4", "no_clip"),
    ]
    assert members(config).keys() == {"10.mp4", "sample_5.mp4"}
    assert planned_texts(config) == texts_of(5, 10, 4)


def test_limited_collections_share_their_items_and_the_plan_of_texts(tmp_path: Path) -> None:
    fill(tmp_path / "a", *(f"{i}.mp4" for i in range(8)))
    fill(tmp_path / "b", *(f"{i}.mp4" for i in (2, 3, 9)))
    write_prompts(tmp_path, *range(10))
    config = Config(
        collections={"a": tmp_path / "a", "b": tmp_path / "b"},
        prompts=tmp_path / "prompts.json",
        results=tmp_path / "results",
        limit=4,
    )
    plan(config)
    for name in ("a", "b"):
        assert {row["item"] for row in clips(config, name)} == {"0", "1", "2", "3"}
    assert planned_texts(config) == texts_of(*range(4))
    before = stamps(config)
    for name in ("b", "a"):
        plan(config.model_copy(update={"collections": {name: config.collections[name]}}))
    assert stamps(config) == before


def test_every_text_of_the_rows_is_planned_under_a_limit(tmp_path: Path) -> None:
    fill(tmp_path / "clips", *(f"{i}.mp4" for i in range(6)))
    path = write_prompts(tmp_path, 7, 0, 8, 1, 2, 5, 9)
    for skip in range(4):
        config = configure(
            tmp_path,
            prompts=path,
            limit=3,
            media={"skip_count": skip},
            results=tmp_path / f"{skip}",
        )
        plan(config)
        rows = clips(config)
        assert len(rows) == skip + 3
        texts = {row[f"{part}_prompt"] for row in rows for part in ("video", "audio")}
        assert texts - {None} <= planned_texts(config)


def test_without_prompts_a_limit_takes_the_first_clips_as_people_count(tmp_path: Path) -> None:
    fill(tmp_path / "clips", *(f"{i}.mp4" for i in range(1, 13)), "notes.txt")
    (tmp_path / "clips/4.mp4").unlink()
    (tmp_path / "clips/4.mp4").symlink_to("nowhere")
    config = configure(tmp_path, limit=3, media={"skip_count": 1})
    plan(config)
    assert [(row["clip_id"], row["reason"]) for row in clips(config)] == [
        ("1.mp4", "left_out"),
        ("2.mp4", None),
        ("3.mp4", None),
        ("4.mp4", "missing"),
        ("notes.txt", "not_media"),
    ]


def test_a_limit_that_leaves_no_clip_is_refused(tmp_path: Path) -> None:
    fill(tmp_path / "clips", "5.mp4", "notes.txt")
    config = configure(tmp_path, prompts=write_prompts(tmp_path, 1, 2, 5), limit=2)
    assert problems(config) == [
        "collections.c: limit: none of the first 2 prompts has a clip here; raise the limit"
    ]


def test_a_trial_does_not_cut_down_a_full_run(tmp_path: Path) -> None:
    fill(tmp_path / "clips", "sample_1.mp4", "sample_2.mp4", "sample_3.mp4")
    config = configure(tmp_path)
    plan(config)
    before = stamps(config)
    with pytest.raises(UserError, match=r"limit: .* holds a run with 3 clips of c"):
        plan(config.model_copy(update={"limit": 2}))
    assert stamps(config) == before
    trial = config.model_copy(update={"limit": 2, "results": tmp_path / "trial"})
    plan(trial)
    plan(trial.model_copy(update={"limit": None}))
    assert len(members(trial)) == 3


def test_a_trial_may_be_repeated_where_a_prompt_has_several_clips(tmp_path: Path) -> None:
    fill(tmp_path / "clips", "a/dog.mp4", "b/dog.mp4", "cat.mp4")
    path = tmp_path / "p.csv"
    path.write_text("index,video_prompt,name\n1,a dog,dog\n2,a cat,cat\n")
    config = configure(tmp_path, prompts={"p": {"path": path, "stem": "name"}}, limit=1)
    for _ in range(2):
        plan(config)
        assert members(config).keys() == {"a/dog.mp4", "b/dog.mp4"}
    (tmp_path / "clips/a/dog.mp4").unlink()
    plan(config)
