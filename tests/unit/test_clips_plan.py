"""The files of the plan, what changes them, and what is wrong with the inputs."""

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from planned_clips import changed_plans, clips, configure, fill, members, stamps, write_prompts

from concord.clips.plan import plan, problems, shards, text_shards
from concord.config import Config
from concord.errors import UserError
from concord.protocol import digest
from concord.tables import REASONS, TEXTS, read_table


def test_every_file_and_every_prompt_without_clip_has_a_row(tmp_path: Path) -> None:
    fill(tmp_path / "clips", "sample_0001.mp4", "1.mp4", "x.mp4", "sub/x.mp4", "notes.txt")
    fill(tmp_path / "clips", "audio/sample_0001.wav", "audio/nobody.wav")
    config = configure(tmp_path, prompts=write_prompts(tmp_path, 1, 7))
    assert plan(config) == {"c": ["0000", "0001"]}
    keys = ("clip_id", "shard", "item", "prompt_index", "status", "reason", "prompt_reason")
    assert [tuple(row[key] for key in keys) for row in clips(config)] == [
        ("1.mp4", "0000", "1.mp4", None, "ok", None, "duplicate"),
        ("audio/nobody.wav", None, None, None, "skipped", "unpaired", "no_prompt"),
        ("notes.txt", None, None, None, "skipped", "not_media", "no_prompt"),
        ("sample_0001.mp4", "0000", "1", 1, "ok", None, None),
        ("sub/x.mp4", "0000", "sub/x.mp4", None, "ok", None, "no_prompt"),
        ("x.mp4", "0001", "x.mp4", None, "ok", None, "no_prompt"),
        (None, None, "7", 7, "skipped", "no_clip", None),
    ]
    matched = clips(config)[3]
    assert (matched["video_prompt"], matched["audio_prompt"]) == ("see 1", "hear 1")
    row = members(config)["sample_0001.mp4"]
    assert row["audio_path"] == str(tmp_path / "clips/audio/sample_0001.wav")


def test_texts_of_a_prompt_set_are_planned_by_their_digest(tmp_path: Path) -> None:
    fill(tmp_path / "clips", "1.mp4")
    config = configure(tmp_path, prompts=write_prompts(tmp_path, 1, 2))
    plan(config)
    rows = [
        row
        for shard in text_shards(config, "prompts")
        for row in read_table(
            config.results / "prompts/prompts/plan" / f"{shard}.parquet", TEXTS
        ).to_pylist()
    ]
    assert {row["text"]: row["text_id"] for row in rows} == {
        text: digest(text) for text in ("see 1", "see 2", "hear 1", "hear 2")
    }
    assert text_shards(config, "prompts") == ["0000", "0001"]


def test_a_second_plan_touches_nothing(tmp_path: Path) -> None:
    fill(tmp_path / "clips", *(f"{i}.mp4" for i in range(10)), "audio/1.wav", "é.txt")
    config = configure(tmp_path, prompts=write_prompts(tmp_path, 1, 2, 99))
    first = plan(config)
    before = stamps(config)
    assert plan(config) == first
    assert stamps(config) == before


def test_without_its_ledger_or_with_a_damaged_plan_the_same_plan_is_made(tmp_path: Path) -> None:
    fill(tmp_path / "clips", *(f"{i}.mp4" for i in range(7)))
    config = configure(tmp_path)
    plan(config)
    before = members(config)
    (config.results / "clips/c/ledger.parquet").unlink()
    (config.results / "clips/c/plan/0001.parquet").write_bytes(b"PAR1")
    (config.results / "clips/c/plan/0002.parquet").unlink()
    plan(config)
    assert members(config) == before


def test_each_change_touches_the_shard_of_its_clip_and_the_key_of_nothing_else(
    tmp_path: Path,
) -> None:
    folder = fill(tmp_path / "clips", *(f"d{i % 3}/{i:02d}.mp4" for i in range(14)))
    fill(folder, "audio/d0/00.wav")
    config = configure(tmp_path)
    plan(config)

    def replan() -> tuple[set[str], set[str]]:
        before, old = stamps(config), members(config)
        plan(config)
        new = members(config)
        touched = {i for i in old.keys() | new.keys() if old.get(i) != new.get(i)}
        return changed_plans(before, stamps(config)), touched

    shard = {clip_id: row["shard"] for clip_id, row in members(config).items()}
    (folder / "d1/04.mp4").write_text("d1/04.mp5")
    assert replan() == ({shard["d1/04.mp4"]}, {"d1/04.mp4"})
    os.utime(folder / "audio/d0/00.wav", ns=(1, 1))
    assert replan() == ({shard["d0/00.mp4"]}, {"d0/00.mp4"})
    (folder / "d2/05.mp4").rename(folder / "d0/zz.mp4")
    assert replan() == ({shard["d2/05.mp4"]}, {"d2/05.mp4", "d0/zz.mp4"})
    (folder / "d2/08.mp4").unlink()
    assert replan() == ({shard["d2/08.mp4"]}, {"d2/08.mp4"})
    fill(folder, "new.mp4")
    assert replan() == ({"0004"}, {"new.mp4"})
    assert replan() == (set(), set())


def test_random_changes_leave_a_plan_that_says_what_is_there(tmp_path: Path) -> None:
    rng = random.Random(0)
    folder = fill(tmp_path / "clips", *(f"{i % 4}/{i}.mp4" for i in range(20)))
    config = configure(tmp_path)
    for step in range(20):
        plan(config)
        there = {str(path.relative_to(folder)) for path in folder.rglob("*.mp4")}
        assert members(config).keys() == there
        assert {row["clip_id"] for row in clips(config) if row["shard"]} == there
        victim = rng.choice(sorted(there))
        action = rng.choice(["add", "remove", "rename", "change"])
        if action == "remove":
            (folder / victim).unlink()
        elif action == "rename":
            (folder / victim).rename(folder / f"{step % 4}/renamed{step}.mp4")
        else:
            fill(folder, f"{step % 4}/new{step}.mp4" if action == "add" else victim)


def test_a_shard_without_clips_disappears(tmp_path: Path) -> None:
    folder = fill(tmp_path / "clips", *(f"{i}.mp4" for i in range(6)))
    config = configure(tmp_path)
    plan(config)
    for i in range(3):
        (folder / f"{i}.mp4").unlink()
    assert plan(config) == {"c": ["0001"]}
    assert members(config).keys() == {"3.mp4", "4.mp4", "5.mp4"}


def test_items_of_clips_with_and_without_prompts_cannot_be_the_same(tmp_path: Path) -> None:
    fill(tmp_path / "clips", "sample_12.mp4", "12.mp4", "audio_12.wav", "7.mp4")
    fill(tmp_path / "other", "12.mp4", "sub/12.mp4")
    config = configure(tmp_path, prompts=write_prompts(tmp_path, 12))
    dataset = configure(tmp_path, collection={"path": tmp_path / "other"}, results=tmp_path / "r")
    plan(config)
    plan(dataset)
    items = [row["item"] for row in clips(config)]
    assert len(set(items)) == len(items)
    assert "12" in items
    assert {row["item"] for row in clips(dataset)} == {"12.mp4", "sub/12.mp4"}


def test_results_inside_a_collection_are_not_its_clips(tmp_path: Path) -> None:
    fill(tmp_path, "a.mp4", "sub/b.mp4", "results/media/c/0000/video/x.mp4", "results.mp4")
    (tmp_path / "sub/link").symlink_to(tmp_path / "results")
    config = configure(tmp_path, collection={"path": tmp_path})
    plan(config)
    assert members(config).keys() == {"a.mp4", "results.mp4", "sub/b.mp4"}


def test_a_collection_inside_the_results_is_refused_unless_it_is_the_demo(tmp_path: Path) -> None:
    fill(tmp_path, "results/media/x.mp4", "results/demo/c/y.mp4", "results_2/z.mp4")
    expected = "lies in the results folder"
    for place in ("results", "results/media"):
        config = configure(tmp_path, collection={"path": tmp_path / place})
        assert expected in "".join(problems(config)), place
    for place in ("results/demo/c", "results_2"):
        assert problems(configure(tmp_path, collection={"path": tmp_path / place})) == []
    (tmp_path / "link").symlink_to(tmp_path / "results/media")
    config = configure(tmp_path, collection={"path": tmp_path / "link"})
    assert expected in "".join(problems(config))


def test_match_auto_takes_the_first_method_that_fits(tmp_path: Path) -> None:
    fill(tmp_path / "clips", "dog.mp4", "cat.mp4")
    path = tmp_path / "p.csv"
    path.write_text("index,video_prompt,name\n1,a dog,dog\n2,a cat,cat\n")
    config = configure(tmp_path, prompts={"p": {"path": path, "stem": "name"}})
    plan(config)
    assert [row["prompt_index"] for row in clips(config)] == [2, 1]
    fill(tmp_path / "clips", "1.mp4")
    path.write_text("index,video_prompt,name\n1,a dog,dog\n2,a cat,1\n")
    assert "say `match: index` or `match: stem`" in "".join(problems(config))


def test_a_key_tells_apart_what_only_the_separator_tells_apart(tmp_path: Path) -> None:
    fill(tmp_path / "clips", "a b.mp4", "a.mp4", "a\tb.mp4")
    config = configure(tmp_path)
    plan(config)
    keys = [row["key"] for row in members(config).values()]
    assert len(set(keys)) == len(keys) == 3


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"collection": {"path": "clisp"}}, "there is no 'clisp' in {here}; did you mean 'clips'?"),
        ({"collection": {"path": "clips/a.mp4"}}, "expected a folder, or a manifest"),
        ({"collection": {"path": "empty"}}, "no video or audio file; found by ending: no file"),
        ({"collection": {"path": "texts"}}, "found by ending: 2 .txt"),
        ({"collection": {"path": ["clips", "texts/../clips"]}}, "the same folder is listed twice"),
        ({"collection": {"path": [".", "clips"]}}, "lies in another of its folders"),
        ({"collection": {"audio": "texts"}}, "audio: no sound file in {here}/texts belongs to a"),
        ({"collection": {"audio": "sonud"}}, "audio: {here}/sonud does not exist"),
        ({"prompts": "p.jsno"}, "prompts.prompts: {here}/p.jsno does not exist"),
        ({"prompts": "texts"}, "prompts.prompts: {here}/texts: expected a file"),
        (
            {"prompts": "bad.csv"},
            "prompts.prompts: {here}/bad.csv, line 2: index: expected a whole",
        ),
        ({"prompts": "other.csv"}, "none of its 2 clips matches a prompt"),
        ({"prompts": "other.csv", "collection": {"match": "stem"}}, "match: stem needs stems"),
        ({"prompts": "other.csv", "collection": {"match": "column"}}, "needs a manifest with a"),
        ({"collection": {"path": "m.csv"}}, "m.csv has the column 'video_prompt', but there is no"),
    ],
)
def test_problems_say_what_was_found_and_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict, expected: str
) -> None:
    monkeypatch.chdir(tmp_path)
    fill(tmp_path, "clips/a.mp4", "clips/b.mp4", "texts/a.txt", "texts/b.txt")
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad.csv").write_text("index,video_prompt\nx,a\n")
    (tmp_path / "other.csv").write_text("index,video_prompt\n5,a\n")
    (tmp_path / "m.csv").write_text("path,video_prompt\nclips/a.mp4,hello\n")
    if "prompts" in options:
        options = options | {"prompts": {"prompts": tmp_path / options["prompts"]}}
    config = configure(tmp_path, **options)
    assert expected.format(here=tmp_path) in "\n".join(problems(config))
    with pytest.raises(UserError):
        plan(config)
    assert not config.results.exists()


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    config = Config(
        collections={"a": tmp_path / "gone", "b": tmp_path / "empty", "c": tmp_path / "lost"},
        prompts=tmp_path / "none.json",
        results=tmp_path / "results",
    )
    found = problems(config)
    assert [text.split(":")[0] for text in found] == [
        "prompts.prompts",
        "collections.a",
        "collections.b",
        "collections.c",
    ]
    with pytest.raises(UserError) as error:
        plan(config)
    assert str(error.value).splitlines() == found


def test_shards_before_any_plan_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not there yet; run snakemake first"):
        shards(configure(tmp_path), "c")


def test_every_reason_is_declared() -> None:
    used = {"hidden", "not_a_file", "not_media", "name_not_utf8", "missing", "unreadable"}
    used |= {"unpaired", "ambiguous", "duplicate", "left_out", "no_prompt", "no_clip"}
    assert used <= REASONS.keys()


def test_planning_imports_nothing_heavy() -> None:
    code = "import sys, concord.clips.plan; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert not {"torch", "pandas", "scipy", "av"} & set(loaded.stdout.split())


def test_a_collection_without_matches_is_rows_where_another_matches(tmp_path: Path) -> None:
    fill(tmp_path / "good", "sample_1.mp4")
    fill(tmp_path / "bad", "other_9.mp4")
    write_prompts(tmp_path, 1)
    config = Config.model_validate(
        {
            "results": tmp_path / "results",
            "prompts": tmp_path / "prompts.json",
            "collections": {"good": tmp_path / "good", "bad": tmp_path / "bad"},
        }
    )
    plan(config)
    rows = {(row["clip_id"], row["prompt_reason"] or row["reason"]) for row in clips(config, "bad")}
    assert rows == {("other_9.mp4", "no_prompt"), (None, "no_clip")}
    alone = config.model_copy(update={"collections": {"bad": config.collections["bad"]}})
    assert any("none of its 1 clips matches a prompt" in problem for problem in problems(alone))
