"""The generated files equal the types they come from, and what they show is valid."""

import re
from pathlib import Path

import jsonschema
import pytest
import yaml

from concord.config import Config
from concord.config_docs import ROOT, config_yaml, files, json_schema, reference, scalar, write
from concord.config_fields import Section

WITHOUT_UNIT = {"seed", "crf", "folds", "norm_factor", "collapsed", "effective_rank"}


@pytest.mark.parametrize("path", files(), ids=str)
def test_the_committed_file_is_up_to_date(path: Path) -> None:
    committed = (ROOT / path).read_text(encoding="utf-8")
    assert committed == files()[path], "run `python -m concord docs` and commit"


def test_write_changes_only_what_differs(tmp_path: Path) -> None:
    assert len(write(tmp_path)) == len(files())
    (tmp_path / "config.yaml").write_text("old")
    assert write(tmp_path) == [tmp_path / "config.yaml"]


def test_the_shipped_configuration_describes_the_demo_and_the_defaults() -> None:
    shipped = yaml.safe_load((ROOT / "config.yaml").read_text())
    config = Config.model_validate(shipped)
    assert list(config.collections) == ["faithful", "late", "careless"]
    assert all(map(config.is_demo, config.collections))
    plain = Config.model_validate({k: shipped[k] for k in ("collections", "prompts")})
    assert config == plain, "every other key stands there with its default"


def test_every_line_of_the_shipped_configuration_is_commented_and_short() -> None:
    lines = (ROOT / "config.yaml").read_text().splitlines()
    for before, line in zip(["", *lines], lines, strict=False):
        assert len(line) <= 100
        assert not line or "# " in line or before.startswith("# "), line


def test_every_key_is_described_and_every_number_has_a_unit() -> None:
    schema = json_schema()
    for section in [schema, *schema["$defs"].values()]:
        for name, field in section["properties"].items():
            assert field["description"], name
            parts = [field, *field.get("anyOf", [])]
            if any(part.get("type") in ("integer", "number") for part in parts):
                assert name in WITHOUT_UNIT or any("unit" in part for part in parts), name


def test_the_page_names_every_key() -> None:
    page = reference()
    sections = [Config, *Section.__subclasses__()]
    for section in sections:
        for name in section.model_fields:
            assert f"| `{name}` |" in page


def test_the_examples_of_the_page_are_valid() -> None:
    examples = re.findall(r"```yaml\n(.*?)```", reference(), re.DOTALL)
    assert len(examples) == 4
    for example in examples:
        content = yaml.safe_load(example)
        Config.model_validate(content)
        jsonschema.validate(content, json_schema())


def test_the_schema_tells_right_from_wrong_as_the_types_do() -> None:
    shipped = yaml.safe_load((ROOT / "config.yaml").read_text())
    jsonschema.validate(shipped, json_schema())
    for wrong in ({"fps": 3}, {"media": {"fps": 0}}, {"tasks": ["x"]}, {"collections": 3}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({**shipped, **wrong}, json_schema())


@pytest.mark.parametrize(
    "value",
    ["a: b", "# c", "no", "1", "it's", 'say "x"', "*x", "- y", "ñ 漢 🎬", " pad ", "\ud800"],
)
def test_any_text_survives_as_one_line_of_yaml(value: str) -> None:
    line = scalar(value)
    assert "\n" not in line
    assert yaml.safe_load(f"k: {line}") == {"k": value}
    assert yaml.safe_load(config_yaml({"collections": {"a": value}}))["collections"]["a"] == value


def test_choices_are_told_in_words() -> None:
    page = reference()
    for line in (
        "| `classifiers` | one or a list of: `logistic`, `svm`, `mlp` |",
        "| `labels` | `label`, `collection` or a mapping from NAME to one or a list of: name |",
        "| `projections` | one or a list of: `pca`, `tsne`, `umap` |",
    ):
        assert line in page
