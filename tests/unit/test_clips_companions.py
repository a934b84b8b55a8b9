"""Files beside the clips: which belong to which clip, and what changes with them."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from concord.clips.plan import companions, plan, problems, shards
from concord.config import Config
from concord.tables import CLIPS, COMPANION_FILES, LABELS, read_table, to_arrow

TASKS = ["depth_video", "image_text"]


def fill(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


def configure(folder: Path, tasks: list[str] = TASKS, **collection: Any) -> Config:
    collection = {"path": folder / "clips"} | collection
    return Config.model_validate(
        {
            "collections": {"c": collection},
            "results": folder / "results",
            "clips": {"shard_size": 3},
            "tasks": tasks,
        }
    )


def rows(config: Config) -> list[dict[str, Any]]:
    """COMPANION_FILES of all shards."""
    folder = config.results / "clips/c/companions"
    planned = [f"{m}/{shard}" for m in companions(config, "c") for shard in shards(config, "c")]
    written = (path.relative_to(folder).with_suffix("") for path in folder.rglob("*.parquet"))
    assert sorted(map(str, written)) == sorted(planned)
    found = []
    for name in planned:
        part = read_table(folder / f"{name}.parquet", COMPANION_FILES).to_pylist()
        assert {row["modality"] for row in part} == {name.partition("/")[0]}
        found += part
    to_arrow(COMPANION_FILES, found)
    return found


def files(config: Config, modality: str) -> dict[str, str | None]:
    """The file's name, or the reason why there is none, of each clip."""
    return {
        row["clip_id"]: row["reason"] or Path(row["path"]).name
        for row in rows(config)
        if row["modality"] == modality
    }


def labels(config: Config) -> dict[str, tuple[str | None, str | None]]:
    """Label and group of the clips that have any."""
    table = read_table(config.results / "clips/c/labels.parquet", LABELS)
    return {row["clip_id"]: (row["label"], row["group"]) for row in table.to_pylist()}


def clips(config: Config) -> dict[str, dict[str, Any]]:
    table = read_table(config.results / "clips/c/clips.parquet", CLIPS)
    return {row["clip_id"]: row for row in table.to_pylist()}


def replanned(config: Config) -> set[str]:
    """The plan files that planning writes, replaces or removes."""
    folder = config.results / "clips/c"

    def times() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}

    before = times()
    plan(config)
    changed = before.items() ^ times().items()
    return {str(path.relative_to(folder)) for path, _ in changed}


def test_a_folder_gives_every_clip_its_file_by_place_stem_or_index(tmp_path: Path) -> None:
    fill(tmp_path / "clips", "a.mp4", "sub/b.mp4", "sub/x.mp4", "x.mp4", "video_7.mp4", "z.mp4")
    fill(tmp_path / "depth", "a.PNG", "a.npy", "elsewhere/b.tif", "x.png", "sub/x.png")
    fill(tmp_path / "depth", "depth_0007.npy", "notes.txt", ".z.png")
    config = configure(tmp_path, ["depth_video"], depth=tmp_path / "depth")
    plan(config)
    assert companions(config, "c") == ["depth"]
    assert files(config, "depth") == {
        "a.mp4": "a.PNG",
        "sub/b.mp4": "b.tif",
        "sub/x.mp4": "x.png",
        "video_7.mp4": "depth_0007.npy",
        "x.mp4": "x.png",
        "z.mp4": "no_depth_file",
    }
    (inner,) = (row["path"] for row in rows(config) if row["clip_id"] == "sub/x.mp4")
    assert inner == str(tmp_path / "depth/sub/x.png")


def test_files_that_fit_equally_well_are_ambiguous(tmp_path: Path) -> None:
    fill(tmp_path / "clips", "a.mp4", "1/b.mp4", "2/b.mp4", "c.mp4")
    fill(tmp_path / "depth", "x/a.png", "y/a.png", "b.png", "c.png")
    config = configure(tmp_path, ["depth_video"], depth=tmp_path / "depth")
    plan(config)
    assert files(config, "depth") == {
        "1/b.mp4": "ambiguous",
        "2/b.mp4": "ambiguous",
        "a.mp4": "ambiguous",
        "c.mp4": "c.png",
    }


def test_a_folder_inside_the_clips_is_not_among_them(tmp_path: Path) -> None:
    fill(tmp_path / "clips", "a.mp4", "depth/a.png", "images/a.jpg")
    folders = {name: tmp_path / "clips" / name for name in ("depth", "images")}
    config = configure(tmp_path, depth=folders["depth"], image=folders["images"])
    plan(config)
    assert clips(config).keys() == {"a.mp4"}
    assert files(config, "depth") == {"a.mp4": "a.png"}
    assert files(config, "image") == {"a.mp4": "a.jpg"}


def test_images_are_clips_only_where_a_task_compares_images(tmp_path: Path) -> None:
    fill(tmp_path / "clips", "a.mp4", "b.PNG", "c.webp")
    plan(config := configure(tmp_path, ["av_consistency"]))
    assert clips(config)["b.PNG"]["reason"] == "not_media"
    assert rows(config) == []
    plan(config := configure(tmp_path, ["image_text", "av_consistency"]))
    kinds = {name: row["kind"] for name, row in clips(config).items()}
    assert kinds == {"a.mp4": "video", "b.PNG": "image", "c.webp": "image"}
    assert files(config, "image") == {"a.mp4": "no_image", "b.PNG": "b.PNG", "c.webp": "c.webp"}


def test_an_image_beside_a_clip_of_the_same_stem_is_its_image(tmp_path: Path) -> None:
    """As sounds are paired; what is left over is a clip only where no other clip has its stem."""
    fill(
        tmp_path / "clips", "0.mp4", "0.png", "0.jpg", "s.wav", "s.png", "v.mp4", "v.wav", "v.webp"
    )
    fill(
        tmp_path / "clips", "t.mp4", "t.png", "t.PNG", "x.png", "sub/0.png", "n\u0303.mp4", "ñ.png"
    )
    plan(config := configure(tmp_path, ["image_text"]))
    assert files(config, "image") == {
        "0.mp4": "0.png",
        "n\u0303.mp4": "ñ.png",
        "s.wav": "s.png",
        "sub/0.png": "0.png",
        "t.mp4": "t.png",
        "v.mp4": "v.webp",
        "x.png": "x.png",
    }
    others = {n: (row["kind"], row["reason"]) for n, row in clips(config).items() if row["reason"]}
    assert others == {"0.jpg": ("other", "duplicate"), "t.PNG": ("other", "duplicate")}
    os.utime(tmp_path / "clips/s.png", ns=(1, 1))
    assert len(changed := replanned(config)) == 1
    assert changed.pop().startswith("companions/image/"), "the sound itself is as it was"


def test_a_manifests_image_comes_before_one_beside_the_clip(tmp_path: Path) -> None:
    fill(tmp_path, "a.mp4", "a.png", "other.png")
    (tmp_path / "m.csv").write_text("path,image_path\na.mp4,other.png\na.png,\n")
    plan(config := configure(tmp_path, ["image_text"], path=tmp_path / "m.csv"))
    assert files(config, "image") == {"a.mp4": "other.png"}
    assert clips(config)["a.png"]["reason"] == "duplicate"


def test_for_features_images_beside_media_are_thumbnails(tmp_path: Path) -> None:
    fill(tmp_path / "clips", "a.png", "b.png")
    plan(config := configure(tmp_path, ["features"]))
    assert files(config, "image") == {"a.png": "a.png", "b.png": "b.png"}
    fill(tmp_path / "clips", "a.mp4")
    plan(config)
    assert clips(config)["a.png"]["reason"] == "not_media"
    assert (companions(config, "c"), rows(config)) == ([], [])
    plan(config := configure(tmp_path, ["features"], image=tmp_path / "clips"))
    assert files(config, "image") == {"a.mp4": "a.png"}


def test_a_manifest_names_files_and_what_is_missing_costs_its_own_row(tmp_path: Path) -> None:
    fill(tmp_path, "a.mp4", "b.wav", "d/a.npy", "i.png")
    manifest = tmp_path / "clips.jsonl"
    lines = [
        {"path": "a.mp4", "depth_path": "d/a.npy", "image_path": "i.png"},
        {"path": "b.wav", "depth_path": "d/gone.npy", "image_path": "i.png"},
    ]
    manifest.write_text("\n".join(map(json.dumps, lines)))
    config = configure(tmp_path, path=manifest)
    plan(config)
    assert files(config, "depth") == {"a.mp4": "a.npy", "b.wav": "missing"}
    assert files(config, "image") == {"a.mp4": "i.png", "b.wav": "i.png"}
    keys = [row["key"] for row in rows(config)]
    assert len(set(keys)) == 4, "clips may share a file, rows no key"
    assert all(row["status"] == "ok" for row in clips(config).values())


def test_an_image_with_a_sound_is_to_be_written_the_other_way_round(tmp_path: Path) -> None:
    fill(tmp_path, "a.png", "a.wav")
    (tmp_path / "m.csv").write_text("path,audio_path\na.png,a.wav\n")
    (problem,) = problems(configure(tmp_path, path=tmp_path / "m.csv"))
    assert "m.csv, line 2" in problem
    assert "image_path" in problem


def test_only_the_shard_of_a_changed_file_changes(tmp_path: Path) -> None:
    names = [f"{i}" for i in range(7)]
    fill(tmp_path / "clips", *(f"{name}.mp4" for name in names))
    fill(tmp_path / "depth", *(f"{name}.npy" for name in names))
    fill(tmp_path / "images", *(f"{name}.png" for name in names))
    folders = {"depth": tmp_path / "depth", "image": tmp_path / "images"}
    config = configure(tmp_path, **folders)
    assert len(replanned(config)) > 5
    assert replanned(config) == set()
    os.utime(tmp_path / "depth/4.npy", ns=(1, 1))
    assert replanned(config) == {"companions/depth/0001.parquet"}, "no image changed"
    (tmp_path / "depth/6.npy").unlink()
    assert replanned(config) == {"companions/depth/0002.parquet"}
    assert files(config, "depth")["6.mp4"] == "no_depth_file"
    os.utime(tmp_path / "clips/0.mp4", ns=(1, 1))
    changed = replanned(config)
    assert "plan/0000.parquet" in changed
    assert not any("companions" in name for name in changed), "the clip changed, its files did not"
    (tmp_path / "clips/6.mp4").unlink()
    assert "companions/depth/0002.parquet" in replanned(config)
    assert "6.mp4" not in files(config, "depth")
    assert {"companions.json"} < replanned(configure(tmp_path, ["image_text"], **folders))
    assert {row["modality"] for row in rows(config)} == {"image"}


def test_a_limit_holds_for_companions_too(tmp_path: Path) -> None:
    fill(tmp_path / "clips", "1.mp4", "2.mp4", "10.mp4")
    fill(tmp_path / "depth", "1.npy", "2.npy", "10.npy")
    config = configure(tmp_path, ["depth_video"], depth=tmp_path / "depth")
    plan(config.model_copy(update={"limit": 2}))
    assert files(config, "depth") == {"1.mp4": "1.npy", "2.mp4": "2.npy"}


def test_each_folder_is_walked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path / "clips", "a.mp4", "depth/a.png")
    fill(tmp_path / "images", "a.png")
    config = configure(tmp_path, depth=tmp_path / "clips/depth", image=tmp_path / "images")
    listed, real = [], os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: listed.append(Path(path).name) or real(path))
    assert problems(config) == []
    assert sorted(listed) == ["clips", "depth", "images"]


def test_labels_and_groups_come_from_the_folder_or_the_manifest(tmp_path: Path) -> None:
    fill(tmp_path / "clips", "run/a.mp4", "jump/b.mp4", "notes.txt", "c.mp4")
    plan(config := configure(tmp_path, label="parent"))
    assert labels(config) == {
        "run/a.mp4": ("run", None),
        "jump/b.mp4": ("jump", None),
        "c.mp4": ("clips", None),
    }
    manifest = tmp_path / "m.jsonl"
    lines: list[dict[str, Any]] = [
        {"path": "clips/run/a.mp4", "class": 3},
        {"path": "clips/jump/b.mp4", "class": None},
        {"path": "clips/c.mp4", "class": ""},
    ]
    manifest.write_text("\n".join(map(json.dumps, lines)))
    plan(config := configure(tmp_path, path=manifest, label="class", group="parent"))
    assert labels(config) == {
        "clips/run/a.mp4": ("3", "run"),
        "clips/jump/b.mp4": (None, "jump"),
        "clips/c.mp4": (None, "clips"),
    }


def test_a_label_changes_the_table_of_labels_alone(tmp_path: Path) -> None:
    fill(tmp_path / "clips", "a.mp4", "b.mp4")
    plan(config := configure(tmp_path))
    assert labels(config) == {}
    assert replanned(configure(tmp_path, label="parent")) == {"labels.parquet"}
    assert replanned(configure(tmp_path, label="parent", group="parent")) == {"labels.parquet"}
    assert labels(config) == dict.fromkeys(["a.mp4", "b.mp4"], ("clips", "clips"))


@pytest.mark.parametrize(
    ("collection", "expected"),
    [
        ({"depth": "depths"}, ["depth: ", "depths", "did you mean 'depth'?"]),
        ({"depth": "clips/a.mp4"}, ["depth: ", "expected a folder"]),
        ({"depth": "results"}, ["depth: ", "lies in the results folder"]),
        ({"depth": "empty"}, ["depth: no file in", ".npy", "same stem"]),
        ({"label": "class"}, ["label: found 'class'", "is a folder", "`parent`"]),
        ({"path": "m.csv", "group": "spaeker"}, ["group: ", "m.csv", "did you mean 'speaker'?"]),
    ],
)
def test_mistakes_name_the_key_and_what_to_do(
    tmp_path: Path, collection: dict[str, str], expected: list[str]
) -> None:
    fill(tmp_path / "clips", "a.mp4")
    fill(tmp_path / "depth", "a.png")
    for name in ("empty", "results"):
        (tmp_path / name).mkdir()
    (tmp_path / "m.csv").write_text("path,speaker\nclips/a.mp4,x\n")
    paths = {k: v if k in ("label", "group") else tmp_path / v for k, v in collection.items()}
    found = problems(configure(tmp_path, **paths))
    assert len(found) == 1
    assert all(part in found[0] for part in ["collections.c: ", *expected]), found
