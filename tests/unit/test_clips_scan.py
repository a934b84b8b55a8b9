"""What a walk or a manifest finds, and what it says about every file."""

import json
import os
import unicodedata
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from concord.clips.scan import scan
from concord.config_data import Collection
from concord.errors import UserError

HOSTILE = [
    "with space.mp4",
    "quote'\".mp4",
    "new\nline.mp4",
    "tab\t.mp4",
    "-dash.mp4",
    "%03d.mp4",
    "*?[ab].mp4",
    "pipe|.mp4",
    "semi;colon.mp4",
    "$HOME.mp4",
    "back\\slash.mp4",
    "x" * 246 + ".mp4",
    unicodedata.normalize("NFC", "café.mp4"),
    unicodedata.normalize("NFD", "café.mp4"),
    "🎬.mp4",
    "猫.mp4",
    "مرحبا.mp4",
]


def fill(folder: Path, *names: str) -> Path:
    """Make empty files."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def found(*paths: Path, **options: object) -> dict[str, dict]:
    rows = scan(Collection(path=list(paths), **options)).to_pylist()
    ids = [row["clip_id"] for row in rows]
    assert ids == sorted(ids, key=str.encode)
    assert len(set(ids)) == len(ids)
    return {row["clip_id"]: row for row in rows}


def reasons(rows: dict[str, dict]) -> dict[str, str | None]:
    return {clip_id: row["reason"] for clip_id, row in rows.items()}


def test_hostile_names_are_clips_that_can_be_opened_by_their_path(tmp_path: Path) -> None:
    fill(tmp_path, *HOSTILE)
    rows = found(tmp_path)
    assert rows.keys() == set(HOSTILE)
    assert all(row["status"] == "ok" and Path(row["path"]).exists() for row in rows.values())


def test_names_that_are_not_utf8_are_rows_with_a_reason(tmp_path: Path) -> None:
    fill(tmp_path, "good.mp4", "\\xff.mp4")
    folder = os.fsencode(tmp_path)
    Path(os.fsdecode(folder + b"/d\xe9")).mkdir()
    for name in (b"/\xff.mp4", b"/d\xe9/inside.mp4"):
        os.close(os.open(folder + name, os.O_CREAT))
    rows = found(tmp_path)
    assert reasons(rows) == {
        "good.mp4": None,
        "\\xff.mp4": None,
        "\\xff.mp4 (2)": "name_not_utf8",
        "d\\xe9/inside.mp4": "name_not_utf8",
    }


def test_every_file_has_a_kind_and_what_is_no_clip_a_reason(tmp_path: Path) -> None:
    fill(tmp_path, "a.MP4", "b.gif", "c.Wav", "d.txt", "e", "._f.mp4", ".git/g.mp4")
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "dead.mp4").symlink_to("nowhere")
    (tmp_path / "self.mp4").symlink_to("self.mp4")
    rows = found(tmp_path)
    assert {name: (row["kind"], row["status"], row["reason"]) for name, row in rows.items()} == {
        "a.MP4": ("video", "ok", None),
        "b.gif": ("video", "ok", None),
        "c.Wav": ("audio", "ok", None),
        "d.txt": ("other", "skipped", "not_media"),
        "e": ("other", "skipped", "not_media"),
        "._f.mp4": ("other", "skipped", "hidden"),
        "pipe.mp4": ("video", "skipped", "not_a_file"),
        "dead.mp4": ("video", "failed", "missing"),
        "self.mp4": ("video", "failed", "missing"),
    }


def test_links_are_followed_and_folders_inside_themselves_are_not(tmp_path: Path) -> None:
    elsewhere = fill(tmp_path / "elsewhere", "x.mp4", "deep/y.mp4")
    folder = fill(tmp_path / "clips", "a.mp4", "sub/b.mp4")
    (folder / "linked").symlink_to(elsewhere)
    (folder / "twin").symlink_to(elsewhere)
    (folder / "c.mp4").symlink_to(elsewhere / "x.mp4")
    (folder / "sub/loop").symlink_to(folder)
    (elsewhere / "deep/up").symlink_to("..")
    assert found(folder).keys() == {
        *("a.mp4", "c.mp4", "sub/b.mp4"),
        *("linked/x.mp4", "linked/deep/y.mp4", "twin/x.mp4", "twin/deep/y.mp4"),
    }


def test_not_recursive_enters_only_the_folder_of_sound(tmp_path: Path) -> None:
    fill(tmp_path, "a.mp4", "sub/b.mp4", "audio/a.wav", "audio/sub/c.wav")
    assert found(tmp_path, recursive=False).keys() == {"a.mp4", "audio/a.wav"}
    assert len(found(tmp_path)) == 4


def test_a_walk_lists_each_folder_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path / "clips", "a.mp4", "sub/b.mp4", "audio/a.wav", "sound/b.wav")
    listed, real = [], os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: listed.append(Path(path).name) or real(path))
    found(tmp_path / "clips", audio=tmp_path / "clips/sound")
    assert sorted(listed) == ["audio", "clips", "sound", "sub"]


def test_clips_of_several_folders_are_told_apart(tmp_path: Path) -> None:
    for name in ("kling/videos", "ovi/videos", "other"):
        fill(tmp_path / name, "sample_0001.mp4")
    folders = [tmp_path / name for name in ("kling/videos", "other")]
    assert found(*folders).keys() == {"videos/sample_0001.mp4", "other/sample_0001.mp4"}
    folders = [tmp_path / name for name in ("kling/videos", "ovi/videos")]
    assert found(*folders).keys() == {
        "kling/videos/sample_0001.mp4",
        "ovi/videos/sample_0001.mp4",
    }


ROWS = [
    {"path": "a.mp4", "index": 3, "audio_path": "sound/a.wav"},
    {"path": "sub/b.mp4", "index": None, "audio_path": None},
    {"path": "gone.mp4", "index": 4, "audio_path": None},
    {"path": "c.mp4", "index": 5, "audio_path": "gone.wav"},
]


def write_manifest(path: Path) -> Path:
    if path.suffix == ".csv":
        lines = [",".join("" if v is None else str(v) for v in row.values()) for row in ROWS]
        path.write_text("\ufeffpath,index,audio_path\r\n" + "\r\n".join(lines), encoding="utf-8")
    elif path.suffix == ".jsonl":
        path.write_text("\n".join(map(json.dumps, ROWS)) + "\n")
    elif path.suffix == ".json":
        path.write_text(json.dumps(ROWS))
    else:
        pq.write_table(pa.Table.from_pylist(ROWS), path)
    return path


@pytest.mark.parametrize("suffix", [".csv", ".json", ".jsonl", ".parquet"])
def test_a_manifest_names_files_below_its_own_folder(tmp_path: Path, suffix: str) -> None:
    fill(tmp_path, "a.mp4", "sub/b.mp4", "c.mp4", "sound/a.wav", "not_listed.mp4")
    rows = found(write_manifest(tmp_path / f"clips{suffix}"))
    assert reasons(rows) == {
        "a.mp4": None,
        "sub/b.mp4": None,
        "gone.mp4": "missing",
        "c.mp4": "missing",
    }
    assert rows["a.mp4"]["path"] == str(tmp_path / "a.mp4")
    assert rows["a.mp4"]["audio_path"] == str(tmp_path / "sound/a.wav")
    assert [rows[name]["index"] for name in ("a.mp4", "sub/b.mp4")] == [3, None]
    assert "audio_path" in rows["c.mp4"]["detail"]


def test_a_manifest_may_name_a_file_twice_or_elsewhere_but_no_clip_id_leaves_its_folder(
    tmp_path: Path,
) -> None:
    fill(tmp_path, "x/a.mp4", "y/b.mp4")
    manifest = tmp_path / "x/clips.csv"
    manifest.write_text(f"path\na.mp4\na.mp4\n../y/b.mp4\n{tmp_path}/y/b.mp4\n")
    rows = found(manifest)
    outside = f"{tmp_path}/y/b.mp4".lstrip("/")
    assert rows.keys() == {"a.mp4", "a.mp4 (2)", outside, f"{outside} (2)"}
    assert all(row["status"] == "ok" for row in rows.values())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("file\na.mp4\n", "clips.csv: no column 'path'; there is: file"),
        ("pth\na.mp4\n", "did you mean 'pth'?"),
        (
            "path,index\na.mp4,one\n",
            "clips.csv, line 2: index: expected a whole number, found 'one'",
        ),
        ("path,index\na.mp4,1\n,2\n", "clips.csv, line 3: path: expected a path, found ''"),
        ("path\na,b.mp4\n", "clips.csv, line 2: expected 1 fields, found 2; put quotes"),
    ],
)
def test_mistakes_in_a_manifest_name_their_line(tmp_path: Path, text: str, expected: str) -> None:
    fill(tmp_path, "a.mp4")
    manifest = tmp_path / "clips.csv"
    manifest.write_text(text)
    with pytest.raises(UserError) as error:
        found(manifest)
    assert expected in str(error.value)


def labelled(path: Path, *values: object) -> list[str | None]:
    """The labels of clips whose manifest holds these values, as pandas writes it or as JSONL."""
    rows = [{"path": f"{i}.mp4", "kind": value} for i, value in enumerate(values)]
    if path.suffix == ".parquet":
        pd.DataFrame(rows).to_parquet(path)
    else:
        path.write_text("\n".join(map(json.dumps, rows)) + "\n")
    return [row["label"] for row in found(path, label="kind").values()]


def test_labels_are_the_same_however_they_are_written(tmp_path: Path) -> None:
    nan = float("nan")
    assert labelled(tmp_path / "gap.parquet", 1, 2, nan) == ["1", "2", None]
    assert labelled(tmp_path / "text.parquet", "a", " a ", "", None) == ["a", "a", None, None]
    assert labelled(tmp_path / "a.jsonl", 1, 1.0, "1", 1.5, None, 0) == [
        "1", "1", "1", "1.5", None, "0"
    ]  # fmt: skip


@pytest.mark.parametrize("value", [["x"], {"x": 1}])
def test_a_label_that_is_a_list_is_refused(tmp_path: Path, value: object) -> None:
    with pytest.raises(UserError, match=r"a.jsonl, line 2: kind: expected text or a number"):
        labelled(tmp_path / "a.jsonl", "a", value)
