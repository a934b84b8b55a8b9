"""Reading of prompt sets."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from concord.clips.prompts import read_prompts, texts
from concord.config_data import PromptSet
from concord.errors import UserError
from concord.protocol import digest

PROMPTS = [
    {"index": 1, "video_prompt": "一只猫，在跑", "audio_prompt": 'chó sủa, "to"'},
    {"index": 2, "video_prompt": "مرحبا بالعالم", "audio_prompt": "line one\nline\u2028two"},
    {"index": 30, "video_prompt": "", "audio_prompt": "cafe\u0301"},
]


def write(path: Path, rows: list[dict] = PROMPTS) -> Path:
    if path.suffix == ".json":
        path.write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")
    elif path.suffix == ".jsonl":
        lines = [json.dumps(row, ensure_ascii=False) for row in rows]
        path.write_text("\n".join(lines), encoding="utf-8")
    elif path.suffix == ".csv":
        quoted = [
            ",".join('"{}"'.format(str(value).replace('"', '""')) for value in row.values())
            for row in rows
        ]
        path.write_text("\n".join([",".join(rows[0]), *quoted]), encoding="utf-8-sig")
    else:
        pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def read(path: Path, **options: str) -> list[dict]:
    return read_prompts(PromptSet(path=path, **options)).to_pylist()


@pytest.mark.parametrize("suffix", [".json", ".jsonl", ".csv", ".parquet"])
def test_every_format_keeps_every_character(tmp_path: Path, suffix: str) -> None:
    rows = read(write(tmp_path / f"prompts{suffix}"))
    assert rows == [row | {"stem": None} for row in PROMPTS]


def test_columns_are_those_of_the_configuration(tmp_path: Path) -> None:
    rows = [{"id": "0007", "caption": "a", "file": "x.mp4", "more": [1]}]
    path = write(tmp_path / "p.json", rows)
    (row,) = read(path, index="id", video_prompt="caption", stem="file")
    assert row == {"index": 7, "video_prompt": "a", "audio_prompt": None, "stem": "x.mp4"}


def test_with_stems_an_index_is_not_needed(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_text("file;video_prompt\nx;a, b\ny;c\n")
    assert [row["index"] for row in read(path, stem="file")] == [0, 1]


def test_blank_and_null_texts_are_empty(tmp_path: Path) -> None:
    rows = [{"index": i, "video_prompt": text} for i, text in enumerate([None, " \n", " x "])]
    assert [row["video_prompt"] for row in read(write(tmp_path / "p.json", rows))] == [
        "",
        "",
        " x ",
    ]


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("p.json", '[{"index": 1,}]', "p.json, line 1, column 14: not valid JSON"),
        ("p.json", '{"index": 1}', "p.json: expected a JSON list of objects, found an object"),
        ("p.json", "[1]", "p.json, row 1: expected an object, found the value 1"),
        ("p.json", "[]", "p.json: no prompts in it"),
        ("p.jsonl", '{"index": 1}\n\n{oops}\n', "p.jsonl, line 3: not valid JSON"),
        ("p.csv", "", "p.csv: empty"),
        ("p.csv", "index,video_prompt\n", "p.csv: no prompts in it"),
        ("p.csv", 'index,video_prompt\n1,"a\n', "p.csv, line 2: not valid CSV"),
        ("p.csv", "index,video_promt\n1,a\n", "did you mean 'video_promt'?"),
        ("p.csv", "idx,video_prompt\n1,a\n", "no column 'index'; there is: idx, video_prompt"),
        ("p.csv", "index,video_prompt\n1,a\n1.5,b\n", "line 3: index: expected a whole number"),
        (
            "p.csv",
            'index,video_prompt\n1,"a\nb"\n2,b\n1,c\n',
            "p.csv, line 5: index 1 is already that of line 2",
        ),
        ("p.json", '[{"index": 1, "video_prompt": ["a"]}]', "video_prompt: expected text, found ["),
        ("p.json", '[{"index": 1, "video_prompt": "\\ud800"}]', "video_prompt: expected text"),
        ("p.json", '[{"index": true, "video_prompt": "a"}]', "index: expected a whole number"),
        ("p.xlsx", "PK", "p.xlsx: expected a file that ends in .json"),
        ("p.parquet", "PAR0", "p.parquet: cannot be read as Parquet"),
    ],
)
def test_mistakes_say_where_and_what(tmp_path: Path, name: str, text: str, expected: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError) as error:
        read(tmp_path / name)
    assert expected in str(error.value)


def test_another_encoding_is_named_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_bytes("index,video_prompt\n1,caf\xe9\n".encode("latin-1"))
    with pytest.raises(UserError, match="expected UTF-8, found byte 0xe9 at offset 24"):
        read(tmp_path / "p.csv")


def test_many_mistakes_are_told_at_once_but_not_endlessly(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("index,video_prompt\n" + "x,a\n" * 100)
    with pytest.raises(UserError) as error:
        read(tmp_path / "p.csv")
    assert str(error.value).count("\n") == 5
    assert "and 95 more" in str(error.value)


def test_texts_are_unique_named_by_digest_and_never_empty(tmp_path: Path) -> None:
    rows = [
        {"index": 1, "video_prompt": "a", "audio_prompt": "b"},
        {"index": 2, "video_prompt": "b", "audio_prompt": ""},
    ]
    found = texts(read_prompts(PromptSet(path=write(tmp_path / "p.json", rows)))).to_pylist()
    assert {row["text"]: row["text_id"] for row in found} == {"a": digest("a"), "b": digest("b")}
    assert [row["text_id"] for row in found] == sorted(row["text_id"] for row in found)
