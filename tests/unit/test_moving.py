"""docs/moving.md names keys, tasks, models and files that exist, and examples that load."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from concord.config import Config
from concord.config_docs import ROOT, json_schema
from concord.load import load
from concord.models.catalogue import entries, protocols
from concord.scores.tasks import TASK_NAMES

PAGE = (ROOT / "docs" / "moving.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
QUOTED = re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", PAGE, flags=re.DOTALL))
OLD_OPTIONS = (
    *("--mode", "--retrieval_mode", "--video_dirs", "--video_dir", "--audio_dirs", "--audio_dir"),
    *("--video_file", "--audio_file", "--video_paths", "--audio_paths", "--json_file"),
    *("--output_file", "--output_dir", "--device", "--gpu_id", "--num_workers", "--batch_size"),
    *("--resume", "--no-resume", "--num_frames", "--save_format", "--config", "--input_dir"),
    *("--skip_count",),
)


def named_keys() -> list[str]:
    """Dotted keys of the configuration among the quoted words, and bare ones with a value."""
    found = []
    for text in QUOTED:
        key, colon, _ = text.partition(":")
        known = key.split(".")[0] in Config.model_fields
        if known and re.fullmatch(r"[a-z_]+(\.[A-Za-z_]+)*", key) and ("." in key or colon):
            found.append(key)
    return sorted(set(found))


def inner(schema: dict[str, Any], part: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The schemas that a part stands for."""
    if "$ref" in part:
        part = schema["$defs"][part["$ref"].rpartition("/")[2]]
    yield part
    for option in part.get("anyOf", []):
        yield from inner(schema, option)


def is_key(dotted: str) -> bool:
    schema = json_schema()
    found = [schema]
    for name in dotted.split("."):
        options = [option for part in found for option in inner(schema, part)]
        if name == "NAME":
            named = [option.get("patternProperties", {}) for option in options]
            inside = [part for parts in named for part in parts.values()]
        else:
            inside = [option.get("properties", {}).get(name) for option in options]
        found = [part for part in inside if part]
    return bool(found)


def test_the_page_names_keys() -> None:
    assert {"models.NAME.batch_size", "media.encoder.crf", "tasks"} <= set(named_keys())


@pytest.mark.parametrize("key", named_keys())
def test_every_key_exists(key: str) -> None:
    assert is_key(key)


def test_unknown_keys_are_noticed() -> None:
    assert not is_key("models.NAME.batchsize")
    assert not is_key("media.NAME")


@pytest.mark.parametrize("option", OLD_OPTIONS)
def test_every_old_option_is_named(option: str) -> None:
    assert re.search(rf"`{option}[` ]", PAGE)


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_example_loads(example: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    raw = yaml.safe_load(example)
    for source in raw["collections"].values():
        keys = {"path": source} if isinstance(source, str) else source
        for folder in [keys["path"], keys.get("audio")]:
            if folder:
                Path(folder).mkdir(parents=True)
                (Path(folder) / "sample_0001.mp4").write_bytes(b"video")
    Path("weights").mkdir()
    Path("weights/imagebind_huge.pth").write_bytes(b"weights")
    Path("prompts.json").write_text('[{"index": 1, "video_prompt": "a", "audio_prompt": "b"}]')
    Path("config.yaml").write_text(example)
    config = load(Path("config.yaml"))
    assert set(config.collections) == set(raw["collections"])


def test_there_is_an_example_for_every_script() -> None:
    tasks = [yaml.safe_load(example)["tasks"] for example in EXAMPLES]
    assert len(tasks) == 3


def test_named_tasks_models_and_protocols_exist() -> None:
    for text in QUOTED:
        if text.startswith("tasks: "):
            assert set(yaml.safe_load(text)["tasks"]) <= set(TASK_NAMES)
    quoted = {text.removeprefix("protocol: ") for text in QUOTED}
    assert {"clip-batch-script", "imagebind-legacy-text"} <= protocols().keys() & quoted
    assert {"clip-batch-script", "clip-vit-b-32", "imagebind"} <= entries().keys() & quoted


def test_every_link_leads_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)", PAGE):
        assert (ROOT / "docs" / target).exists()
