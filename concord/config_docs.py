"""config.yaml, its JSON schema and its reference page, made from the configuration's types."""

import json
import textwrap
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic.json_schema import GenerateJsonSchema

from concord.config import TASKS, Config
from concord.files import write_text_if_changed
from concord.models import reference as models

ROOT = Path(__file__).resolve().parents[1]
SCHEMA = "config.schema.json"
WIDTH, COMMENT = 100, 40

HEAD = f"""\
# yaml-language-server: $schema={SCHEMA}
# What Concord measures. `python -m concord check` says what is wrong with this file and with the
# clips, `python -m concord plan` what a run will cost, `snakemake --cores 16` runs it.
# Relative paths start in the folder where snakemake runs. All keys: docs/configuration.md
"""
SHOWN = (
    "results",
    "limit",
    "collections",
    "prompts",
    "models",
    "tasks",
    "compare",
    "audio.require",
    "audio.silence_db",
    "media.fit",
    "media.filter",
    "media.keep_proxies",
    "media.workers",
    "statistics.confidence",
    "report.title",
)
"""Keys that config.yaml shows; those without a default stand there as a comment."""

DEMO = {
    "collections": {name: f"results/demo/{name}" for name in ("faithful", "late", "careless")},
    "prompts": "results/demo/prompts.json",
    "models": ["mini"],
    "tasks": list(TASKS),
}
DEMO_NOTES = {
    "faithful": "made by the demo: as the prompts say",
    "late": "the same with the sound 0.8 s late",
    "careless": "a quarter with another clip's sound and under a wrong prompt",
}


class _Schema(GenerateJsonSchema):
    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def files() -> dict[Path, str]:
    """The generated files, relative to the project's folder, and their content."""
    return {
        Path("config.yaml"): config_yaml(DEMO, DEMO_NOTES),
        Path(SCHEMA): json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n",
        Path("docs/configuration.md"): reference(),
        Path("docs/models.md"): models.reference(),
    }


def write(folder: Path = ROOT) -> list[Path]:
    """Write the generated files; returns those that changed."""
    return [
        folder / path
        for path, text in files().items()
        if write_text_if_changed(folder / path, text)
    ]


def json_schema() -> dict[str, Any]:
    """The JSON schema of config.yaml, shorthands included."""
    schema = Config.model_json_schema(schema_generator=_Schema)
    return {"$schema": GenerateJsonSchema.schema_dialect, **schema, "title": "Concord"}


def config_yaml(values: Mapping[str, Any], notes: Mapping[str, str] | None = None) -> str:
    """A commented configuration with these values, and defaults for the other shown keys.

    `notes` are comments for the entries of `collections`.
    """
    schema = json_schema()
    lines: list[str] = []
    section = ""
    for key in SHOWN:
        parent, _, name = key.rpartition(".")
        properties = schema["properties"]
        if parent != section:
            lines += ["", *_commented(f"{parent}:", properties[parent]["description"])]
            section = parent
        if parent:
            properties = _resolve(schema, properties[parent])["properties"]
        lines += _entry(name, properties[name], values, "  " * bool(parent), notes or {})
    return HEAD + "\n" + "\n".join(lines) + "\n"


def _entry(
    name: str,
    field: Mapping[str, Any],
    values: Mapping[str, Any],
    indent: str,
    notes: Mapping[str, str],
) -> list[str]:
    """The lines of one key: its value, or as a comment an example of one."""
    value = values.get(name, field.get("default"))
    off = "# " if value in (None, {}) else ""
    if off:
        value = field["examples"][0]
    meaning = _meaning(field)
    if not isinstance(value, Mapping):
        return _commented(f"{indent}{off}{name}: {scalar(value)}", meaning)
    lines = _commented(f"{indent}{name}:", meaning)
    for key, entry in value.items():
        lines += _commented(f"{indent}  {scalar(key)}: {scalar(entry)}", notes.get(key, ""))
    return lines


def scalar(value: Any) -> str:
    """A value in one line of YAML."""
    text = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10**9)
    return text.removesuffix("\n").removesuffix("\n...")


def _commented(line: str, comment: str) -> list[str]:
    """A line with its comment from a fixed column on, continued below."""
    if not comment:
        return [line]
    column = COMMENT if len(line) < COMMENT else 0
    words = textwrap.wrap(comment, WIDTH - column - 2, break_on_hyphens=False)
    if not column:
        return [*(f"# {part}" for part in words), line]
    return [f"{line:{column}}# {words[0]}", *(f"{'':{column}}# {part}" for part in words[1:])]


def _meaning(field: Mapping[str, Any]) -> str:
    unit = _unit(field)
    return f"{field['description']} ({unit})" if unit else str(field["description"])


def _unit(field: Mapping[str, Any]) -> str:
    return next((str(part["unit"]) for part in _parts(field) if "unit" in part), "")


def _parts(field: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
    return [field, *field.get("anyOf", [])]


def _resolve(schema: Mapping[str, Any], field: Mapping[str, Any]) -> Mapping[str, Any]:
    reference = next((part["$ref"] for part in _parts(field) if "$ref" in part), None)
    section: Mapping[str, Any] = schema["$defs"][reference.split("/")[-1]] if reference else field
    return section


INTRODUCTION = """\
# Configuration

This page is generated from `concord/config.py` by `python -m concord docs`.

Concord reads `config.yaml`, or the file given to `snakemake --configfile FILE` and to
`python -m concord COMMAND --config FILE`. Unknown keys, wrong types and names that nothing is
called are refused, all at once, before anything runs: `python -m concord check`. Single keys can
be set for one run: `snakemake --config limit=20`. Relative paths start in the folder where
snakemake runs; `~` is the home folder. Editors that know JSON schemas complete and check the file
by its first line.

## Examples

The shortest configuration: one folder, no prompts. Only sound and picture are compared.

```yaml
collections: {mine: clips/mine}
```

Two generators with the same prompts:

```yaml
collections:
  kling: clips/kling
  sora: clips/sora
prompts: prompts.json
```

Several folders as one collection, separate sound files, a manifest, two prompt sets, two protocols
of one model:

```yaml
results: results/everything
collections:
  kling:
    path: [clips/kling/part1, clips/kling/part2]
    prompts: short
    match: index
  sora:
    path: clips/sora
    audio: sounds/sora
    prompts: long
  ucf101:
    path: ucf101.csv
    prompts: none
prompts:
  short: short.json
  long: {path: long.csv, index: id, video_prompt: picture, audio_prompt: sound}
models:
  mini:
  mini-4-frames: {entry: mini, frames: 4}
tasks: [video_text, audio_text, av_consistency]
audio: {require: stream}
media: {fit: stretch, filter: true}
```

A manifest is a table with a column `path` (relative paths start in its own folder) and, if wanted,
`index` and `audio_path`.

Images, depth maps, thermal images and motion recordings beside the clips, and images as clips of
their own (`photos`), for a model that embeds them; classes by the name of the folder:

```yaml
collections:
  drives: {path: clips/drives, depth: depth/drives, imu: imu/drives, label: parent}
  photos: photos
prompts: prompts.json
models: [imagebind]
tasks: [image_text, depth_video, imu_video, retrieval, features]
```

A file belongs to the clip of the same place and stem, else of the same index in both names
(`sample_0001.mp4`, `depth_0001.png`), else of the same stem or index anywhere if only one clip has
it; a manifest names it in a column `image_path`, `depth_path`, `thermal_path` or `imu_path`.
Images are pictures of the usual kinds; depth maps and thermal images are pictures or .npy files
[H, W]; motion is .npy [6, samples]. Where a task compares images and no folder `image` is set,
an image among the clips is that of the video or sound of the same stem or index in its folder, else
a clip of its own; for `features` alone, images are clips only in folders without videos and sounds.

"""

TITLES = {
    "Collection": "collections.NAME",
    "PromptSet": "prompts.NAME",
    "Model": "models.NAME",
    "Audio": "audio",
    "Media": "media",
    "Encoder": "media.encoder",
    "Clips": "clips",
    "Statistics": "statistics",
    "Quality": "quality",
    "Probes": "probes",
    "Report": "report",
    "Remote": "remote",
    "Publish": "publish",
}


def reference() -> str:
    """The page with every key: type, unit, default, meaning."""
    schema = json_schema()
    parts = [INTRODUCTION, "## Keys\n", _table(schema)]
    for name, title in TITLES.items():
        section = schema["$defs"][name]
        parts.append(f"## {title}\n\n{section['description']}\n\n{_table(section)}")
    return "\n".join(parts)


def _table(section: Mapping[str, Any]) -> str:
    rows = ["| key | type | unit | default | meaning |", "|---|---|---|---|---|"]
    for name, field in section["properties"].items():
        default = "required"
        if name not in section.get("required", ()):
            default = _default(field)
        cells = (f"`{name}`", _type(field), _unit(field), default, field["description"])
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows) + "\n"


def _default(field: Mapping[str, Any]) -> str:
    value = field["default"]
    if value is None or value == {}:
        return "none"
    if "$ref" in field:
        return "its keys' defaults"
    return f"`{scalar(list(value) if isinstance(value, dict) else value)}`"


def _type(field: Mapping[str, Any]) -> str:
    """A JSON schema's type in words."""
    if "$ref" in field:
        title = TITLES[field["$ref"].split("/")[-1]]
        return f"keys, see [{title}](#{title.lower().replace('.', '')})"
    if choices := field.get("anyOf") or field.get("oneOf"):
        parts = [part for part in choices if part.get("type") != "null"]
        if len(parts) == 2 and parts[1].get("items") == parts[0]:
            return f"one or a list of: {_type(parts[0])}"
        return " or ".join(map(_type, parts))
    if "enum" in field:
        return ", ".join(f"`{scalar(value)}`" for value in field["enum"])
    kind = field.get("type")
    if kind == "array":
        is_pair = "prefixItems" in field["items"]
        return "list of pairs of names" if is_pair else f"list of {_type(field['items'])}s"
    if kind == "object":
        values = next(iter(field["patternProperties"].values()))
        return f"a mapping from NAME to {_type(values)}"
    if kind == "string":
        return {"path": "path"}.get(
            field.get("format", ""), "name" if "maxLength" in field else "text"
        )
    words = {"integer": "whole number", "number": "number", "boolean": "`true`, `false`"}
    return words[str(kind)] + _limits(field)


def _limits(field: Mapping[str, Any]) -> str:
    words = {
        "minimum": "at least",
        "exclusiveMinimum": "above",
        "maximum": "at most",
        "exclusiveMaximum": "below",
    }
    return "".join(f", {word} {field[key]:g}" for key, word in words.items() if key in field)
