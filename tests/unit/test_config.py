"""The configuration: shorthands, and every mistake told at once in the user's own words."""

from pathlib import Path
from typing import Any

import pytest

from concord.config import Config
from concord.errors import UserError
from concord.load import load, read_yaml

BASE: dict[str, Any] = {"collections": {"kling": "clips/kling"}, "models": "open_clip"}


def problems(raw: Any) -> list[str]:
    with pytest.raises(UserError) as caught:
        load(raw)
    return list(map(str, caught.value.args))


def test_shorthands_mean_the_same_as_the_long_form() -> None:
    short = Config.model_validate(
        {"collections": {"a": "x"}, "prompts": "p.json", "models": "mini", "tasks": "retrieval",
         "probes": {"classifiers": "svm"}, "report": {"projections": "pca"}}
    )  # fmt: skip
    long = Config.model_validate(
        {
            "collections": {"a": {"path": ["x"]}},
            "prompts": {"prompts": {"path": "p.json"}},
            "models": {"mini": {}},
            "tasks": ["retrieval"],
            "probes": {"classifiers": ["svm"]},
            "report": {"projections": ["pca"]},
        }
    )
    assert short == long
    assert short.prompt_set("a") == "prompts"


def test_sections_without_keys_and_tilde() -> None:
    config = Config.model_validate(
        {"collections": {"a": "~/x"}, "audio": None, "models": {"m": None}}
    )
    assert config.audio.silence_db == -60
    assert config.collections["a"].path == [Path.home() / "x"]


def test_a_default_equals_the_same_value_written_down() -> None:
    written = Config.model_validate({**BASE, "media": {"fps": 20}}).media.model_dump_json()
    assert written == Config.model_validate(BASE).media.model_dump_json()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"colections": {}}, ["colections: unknown key", "did you mean 'collections'?"]),
        ({"fps": 3}, ["fps: unknown key", "media.fps"]),
        ({"frames": 3}, ["models.NAME.frames"]),
        ({"media": {"fps": "fast"}}, ["media.fps", '"fast"', "number", "frames per second"]),
        ({"media": {"filter": "maybe"}}, ["media.filter", '"maybe"', "true, false or 'auto'"]),
        ({"media": {"enkoder": {}}}, ["media.enkoder", "did you mean 'encoder'?"]),
        ({"limit": True}, ["limit", "found true", "number"]),
        ({"limit": 0}, ["limit", "found 0", "greater than or equal to 1"]),
        ({"audio": {"silence_db": float("nan")}}, ["audio.silence_db", "finite"]),
        ({"tasks": "retreival"}, ["tasks", "did you mean 'retrieval'?"]),
        ({"tasks": []}, ["tasks", "at least one"]),
        ({"tasks": ["retrieval", "retrieval"]}, ["tasks", "once", "repeated: retrieval"]),
        ({"models": [{"mini": {}}]}, ["models", "list of names"]),
        ({"models": {"signal": {"entry": "open_clip"}}}, ["models.signal", "taken"]),
        ({"models": "open-clp"}, ["models.open-clp", "open_clip"]),
        ({"models": []}, ["models", "tasks: [synchrony]"]),
        ({"compare": [["kling"]]}, ["compare", "one more"]),
        ({"compare": [["kling", "kilng"]]}, ["compare", "did you mean 'kling'?"]),
        ({"compare": [["kling", "kling"]]}, ["compare", "two collections"]),
        ({"results": " "}, ["results", "path"]),
        ({"results": "a{b}"}, ["results", '"a{b}"', "without { and }"]),
        ({"results": "a:b/c"}, ["results", '"a:b/c"', "absolute path"]),
        ({"audio": {"silence_db": -91}}, ["audio.silence_db", "-90", "digital silence"]),
        ({"report": 3}, ["report", "found 3", "title, clips"]),
        ({"collections": {"a b": "x"}}, ["collections.a b", "name", "letters"]),
        ({"collections": {1: "x"}}, ["collections.1", "in quotes"]),
        ({"collections": {"a": {"paht": "x"}}}, ["collections.a.paht", "did you mean 'path'?"]),
        ({"collections": {"a": None}}, ["collections.a.path: missing", "folder"]),
        ({"collections": {"a": {"path": ["x", "x"]}}}, ["collections.a", "once"]),
        ({"collections": {"A": "x", "a": "y"}}, ["A and a differ in case only"]),
        ({"collections": {}}, ["collections", "at least one"]),
        (
            {
                "collections": {"a": {"path": "x", "prompts": "shrt"}},
                "prompts": {"short": "p.json"},
            },
            ["collections.a.prompts", "'shrt'", "did you mean 'short'?"],
        ),
        ({"prompts": {"x": "x.csv", "y": "y.csv"}}, ["collections.kling.prompts: missing", "x, y"]),
    ],
)
def test_a_mistake_names_key_value_and_remedy(change: dict[str, Any], expected: list[str]) -> None:
    found = problems({**BASE, **change})
    assert any(all(part in problem for part in expected) for problem in found), found


def test_all_mistakes_at_once_with_those_of_names_models_and_inputs(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    raw = {
        "collections": {
            "a": {"path": str(tmp_path / "empty"), "mtch": "stem"},
            "b": str(tmp_path / "not there"),
            "B": {"path": "x", "prompts": "nope"},
            "c": {"match": "stem"},
        },
        "prompts": {"p": str(tmp_path / "p.json")},
        "models": {"clp": {}, "fine": {"entry": "open_clip", "frames": "many"}},
        "media": {"fps": -1},
        "compare": [["a", "c"]],
    }
    text = "\n".join(problems(raw))
    for expected in (
        "collections.a.mtch",
        "no video or audio file",
        "not there",
        "b and B",
        "collections.B.prompts",
        "collections.c.path: missing",
        "p.json",
        "models.clp",
        "models.fine.frames",
        "media.fps",
    ):
        assert expected in text
    assert "compare" not in text, "c is there, only its path is missing"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1\nb: 2\na: 3\n", ["line 3", "'a' stands here twice"]),
        ("collections:\n  x: 1\n  x: 2\n", ["line 3", "'x'"]),
        ("a: [1\n", ["line 2"]),
        ("a:\n\t- b\n", ["line 2", "spaces"]),
        ("- a\n", ["expected keys"]),
        ("", ["expected keys"]),
        ("a: !!python/object:os.system x\n", ["line 1"]),
        ("? {a: 1}\n: 2\n", ["line 1"]),
    ],
)
def test_a_mistake_in_the_file_has_its_line(tmp_path: Path, text: str, expected: list[str]) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(text)
    found = problems(path)
    assert len(found) == 1
    assert all(part in found[0] for part in ["c.yaml", *expected])


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    assert "concord init" in problems(tmp_path / "none.yaml")[0]
    assert "cannot be read" in problems(tmp_path)[0]
    (tmp_path / "c.yaml").write_bytes(b"a: \xff\n")
    assert "UTF-8" in problems(tmp_path / "c.yaml")[0]


def test_byte_order_mark_and_merge_keys(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_bytes(b"\xef\xbb\xbfa: &a {x: 1}\nb: {<<: *a, x: 2}\n")
    assert read_yaml(path) == {"a": {"x": 1}, "b": {"x": 2}}


def test_a_file_is_named_before_each_of_its_problems(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("collections: {a: x}\nfoo: 1\n")
    assert all(problem.startswith(f"{path}: ") for problem in problems(path))
