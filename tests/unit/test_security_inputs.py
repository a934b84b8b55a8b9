"""Names, cells and lists that others wrote: nothing is run, nothing is written outside results."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hostile import FORMULAS, SCRIPTS
from media_clips import clip, protocol
from planned_clips import clips, configure
from test_media_safety import NAMES

from concord.clips.plan import plan
from concord.clips.prompts import read_prompts
from concord.clips.records import read_records
from concord.commands.init import collection_names
from concord.config_data import PromptSet
from concord.errors import UserError
from concord.load import MAX_VALUES, load, read_yaml
from concord.media.paths import unusual_by_shard
from concord.media.shard import process_shard
from concord.media.tree import write_tree
from concord.tables import MEDIA, read_table

ROOT = Path(__file__).resolve().parents[2]
PROTOCOLS = (
    "http://127.0.0.1:9/a.mp4",
    "https://127.0.0.1:9/a.mp4",
    "concat:{good}|{good}.mp4",
    "concatf:{good}.mp4",
    "subfile,,start,0,end,0,,:{good}",
    "data:video/mp4;base64,AAAA.mp4",
    "pipe:0.mp4",
    "file:{good}",
    "cache:{good}",
    "async:{good}",
    "crypto:{good}",
    "tcp://127.0.0.1:9/a.mp4",
    "rtmp://127.0.0.1:9/a.mp4",
    "lavfi:testsrc.mp4",
    "-i.mp4",
    "frame%03d.mp4",
    "new\nline.mp4",
    "~root/a.mp4",
)
OUTSIDE = ("/etc", "..", ".", "../x", "a/b", "a\\b", "~", "", " a", "-a", ".a", "a\n", "a\0", "é")


def everything(folder: Path) -> dict[str, tuple[int, int]]:
    """Size and time of all files below a folder; links are not followed."""
    found = (path for path in folder.rglob("*") if not path.is_dir())
    return {
        str(path.relative_to(folder)): (path.lstat().st_size, path.lstat().st_mtime_ns)
        for path in found
    }


def manifest(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_protocol_in_a_cell_is_the_name_of_a_file(tmp_path: Path) -> None:
    """Each names a file that is not there, also as the sound of a clip that is."""
    good = clip(tmp_path / "good.mp4")
    cells = [cell.format(good=good) for cell in PROTOCOLS]
    links = [tmp_path / f"clip{number}.mp4" for number in range(len(cells))]
    for link in links:
        link.symlink_to(good)
    rows = [{"path": cell} for cell in cells]
    rows += [{"path": str(p), "audio_path": cell} for p, cell in zip(links, cells, strict=True)]
    listed = manifest(tmp_path / "clips.jsonl", rows)
    config = configure(tmp_path, collection={"path": listed, "prompts": "none"})
    plan(config)
    found = [(row["status"], row["reason"]) for row in clips(config)]
    assert found == [("failed", "missing")] * len(rows)


def test_a_pipe_or_a_device_in_a_cell_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.wav")
    (tmp_path / "zero.mp4").symlink_to("/dev/zero")
    good = clip(tmp_path / "good.mp4")
    sounds = [str(tmp_path / "pipe.wav"), "/dev/zero", str(tmp_path)]
    rows: list[dict[str, Any]] = [{"path": str(tmp_path / "zero.mp4")}]
    for number, sound in enumerate(sounds):
        link = tmp_path / f"clip{number}.mp4"
        link.symlink_to(good)
        rows.append({"path": link.name, "audio_path": sound})
    listed = manifest(tmp_path / "clips.jsonl", rows)
    config = configure(tmp_path, collection={"path": listed, "prompts": "none"})
    plan(config)
    found = {row["clip_id"]: (row["status"], row["reason"]) for row in clips(config)}
    assert found.pop("zero.mp4") == ("skipped", "not_a_file")
    assert set(found.values()) == {("failed", "missing")}


def test_nothing_is_written_outside_results(tmp_path: Path) -> None:
    """Clips above the manifest's folder, by absolute paths and under every odd name."""
    good = clip(tmp_path / "good.mp4")
    for name in NAMES:
        (tmp_path / "clips" / "odd").mkdir(parents=True, exist_ok=True)
        (tmp_path / "clips" / "odd" / name).symlink_to(good)
    paths = ["../good.mp4", str(good), "../../../" * 20 + str(good)[1:]]
    paths += [f"odd/{name}" for name in NAMES]
    paths += ["/etc/passwd", "../../../../../../../../etc/passwd", "/etc/hostname.mp4"]
    listed = manifest(tmp_path / "clips" / "list.jsonl", [{"path": path} for path in paths])
    config = configure(tmp_path, collection={"path": listed, "prompts": "none"})
    before = everything(tmp_path)
    plan(config)
    folder = config.results / "clips" / "c"
    unusual = unusual_by_shard(folder / "clips.parquet")
    limits: dict[str, Any] = {"workers": 2, "timeout_s": 60, "memory_mb": 2000}
    for part in sorted((folder / "plan").iterdir()):
        media = config.results / "media" / "c" / part.stem / "media.parquet"
        process_shard(part, media, protocol(), **limits)
        assert {row["status"] for row in read_table(media, MEDIA).to_pylist()} == {"ok"}
        names = unusual.get(part.stem, {})
        write_tree(media, config.results / "tree" / "c", names, protocol=protocol(), **limits)
    after = everything(tmp_path)
    inside = str(config.results.relative_to(tmp_path)) + "/"
    assert {k: v for k, v in after.items() if not k.startswith(inside)} == before
    written = [name for name in after if name.startswith(f"{inside}tree/c/")]
    assert len([name for name in written if name.endswith(".mp4")]) == len(NAMES) + 3
    assert not [path for path in config.results.rglob("*") if path.is_symlink()]


@pytest.mark.parametrize("name", OUTSIDE)
def test_names_that_become_paths_are_plain(name: str) -> None:
    for raw in (
        {"collections": {name: "x"}},
        {"collections": {"c": "x"}, "prompts": {name: {"path": "p.json"}}},
        {"collections": {"c": "x"}, "models": {name: {"entry": "mini"}}},
    ):
        with pytest.raises(UserError):
            load(raw)


def test_folders_of_any_name_give_plain_collections() -> None:
    folders = [Path("/a") / text.replace("/", "_").replace("\0", "") for text in SCRIPTS + FORMULAS]
    for name in collection_names(folders):
        load_names = {"collections": {name: "x"}, "tasks": ["synchrony"], "models": []}
        assert name in load(load_names).collections


def test_a_shard_or_prompt_has_no_say_in_a_path(tmp_path: Path) -> None:
    """Indices are whole numbers, whatever list they come from."""
    for index in ("../../x", "1/2", "1e400", "²", 10**30, True, [1], {"a": 1}):
        (tmp_path / "p.json").write_text(json.dumps([{"index": index, "video_prompt": "x"}]))
        with pytest.raises(UserError, match="expected a whole number"):
            read_prompts(PromptSet(path=tmp_path / "p.json"))


DEEP = 100_000


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("a.json", "[" * DEEP, "too deep"),
        ("a.json", '[{"index": ' + "[" * DEEP + "]" * DEEP + "}]", "too deep"),
        ("a.jsonl", '{"index": ' * DEEP, "line 1: .*too deep"),
        ("a.json", '[{"index": ' + "9" * 5000 + "}]", "thousands of digits"),
        ("a.jsonl", '{"index": ' + "9" * 5000 + "}", "line 1: .*thousands of digits"),
        ("a.csv", 'index,video_prompt\n1,"' + "a" * 3_000_000 + '"\n', "line 2: .*field larger"),
        ("a.csv", 'index,video_prompt\n1,"' + "a" * 3_000_000, "line 2: "),
        ("a.parquet", "PAR1" + "\xff" * 40 + "PAR1", "cannot be read as Parquet"),
    ],
)
def test_lists_that_overwhelm_are_refused(tmp_path: Path, name: str, text: str, told: str) -> None:
    (tmp_path / name).write_text(text, encoding="latin-1")
    with pytest.raises(UserError, match=told):
        read_records(tmp_path / name, ["index", "video_prompt"])


def test_a_few_kilobytes_of_parquet_do_not_become_gigabytes(tmp_path: Path) -> None:
    path = tmp_path / "bomb.parquet"
    same = pa.DictionaryArray.from_arrays(np.zeros(300_000, np.int32), ["x" * 100_000])
    pq.write_table(pa.table({"video_prompt": same}), path)
    assert path.stat().st_size < 50_000
    with pytest.raises(UserError, match=r"30,000,000,000 bytes of text in the column 'video_"):
        read_records(path, ["video_prompt"])
    many = pa.RecordBatch.from_arrays([pa.array(np.zeros(1_000_000, np.int8))], ["index"])
    with pq.ParquetWriter(path, many.schema) as writer:
        for _ in range(51):
            writer.write_batch(many, row_group_size=1_000_000)
    assert path.stat().st_size < 500_000
    with pytest.raises(UserError, match=r"51,000,000 values in a column, expected at most"):
        read_records(path, ["index"])


def test_parquet_texts_that_repeat_are_read_as_they_are(tmp_path: Path) -> None:
    columns = {"a": ["x", None, "x", "é"], "n": [1, None, 2, 3], "t": [["q"], [], None, ["r"]]}
    kinds = [("a", pa.large_string()), ("n", pa.int64()), ("t", pa.list_(pa.string()))]
    pq.write_table(pa.table(columns, pa.schema(kinds)), tmp_path / "a.parquet")
    found = read_records(tmp_path / "a.parquet", ["a", "n"])
    assert found.columns == {"a": columns["a"], "n": columns["n"]}
    with pytest.raises(UserError, match="t: expected text or numbers, found list"):
        read_records(tmp_path / "a.parquet", ["t"])


def laughs(kind: str) -> str:
    """Ten to the ninth values in ten lines."""
    wrap = "[{}]" if kind == "list" else "{{{}}}"
    first = ["x" if kind == "list" else f"k{n}: x" for n in range(10)]
    lines = ["a0: &a0 " + wrap.format(", ".join(first))]
    for at in range(1, 10):
        items = [f"k{n}: *a{at - 1}" if kind == "map" else f"*a{at - 1}" for n in range(10)]
        if kind == "merge":
            items = [f"<<: [{', '.join(items)}]"]
        lines.append(f"a{at}: &a{at} " + wrap.format(", ".join(items)))
    return "\n".join(lines) + "\ncollections: {c: {path: *a9}}\n"


@pytest.mark.parametrize("kind", ["list", "map", "merge"])
def test_aliases_that_multiply_are_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(laughs(kind))
    with pytest.raises(UserError, match=f"stand for more than {MAX_VALUES:,} values"):
        read_yaml(path)


def test_an_alias_of_itself_and_deep_nesting_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    for text in ("collections: &c {a: *c}", "&a [*a]", "collections: " + "[" * DEEP):
        path.write_text(text)
        with pytest.raises(UserError):
            read_yaml(path)
    path.write_text("x: &x {path: a}\ncollections: {c: *x, d: {<<: *x}}\n")
    assert read_yaml(path)["collections"] == {"c": {"path": "a"}, "d": {"path": "a"}}


def test_python_in_yaml_is_not_run(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(f"a: !!python/object/apply:os.system ['touch {tmp_path}/ran']\n")
    with pytest.raises(UserError, match="could not determine a constructor"):
        read_yaml(path)
    assert not (tmp_path / "ran").exists()
