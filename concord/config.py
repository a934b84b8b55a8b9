"""The configuration: every key with its type, default, unit and meaning.

config.yaml's comments, the JSON schema and docs/configuration.md are generated from this module.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

Name = Annotated[
    str,
    Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=64),
]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _as(key: str) -> Any:
    """Accept a bare value (a path, a list of paths) where a section with `key` is meant."""

    def wrap(value: Any) -> Any:
        if value is None:
            return {}
        return value if isinstance(value, dict) else {key: value}

    return BeforeValidator(wrap)


class PromptSet(Section):
    """A list of prompts."""

    path: Path = Field(description="JSON list, JSONL, CSV or Parquet with an index and the prompts")
    index: str = Field("index", description="column with the index of a prompt")
    video_prompt: str = Field("video_prompt", description="column that says what is to be seen")
    audio_prompt: str = Field("audio_prompt", description="column that says what is to be heard")
    stem: str | None = Field(
        None, description="column with the file stem of the clip, for `match: stem`"
    )


class Collection(Section):
    """Clips that are judged together: one generator's outputs, or a dataset."""

    path: list[Path] = Field(
        description="a folder, a list of folders, or a manifest (CSV, JSONL, Parquet) with a "
        "column `path` and optionally `index`, `audio_path`",
        min_length=1,
    )
    prompts: str | None = Field(
        None, description="name of the prompt set; the only one if there is just one; `none`: none"
    )
    match: Literal["auto", "index", "stem", "column"] = Field(
        "auto",
        description="how files find their prompts: by index in the file name (sample_0001, "
        "video_1, 0001), by file stem, by the manifest's column; auto tries column, index, stem",
    )
    recursive: bool = Field(True, description="look into subfolders too")
    audio: Path | None = Field(
        None,
        description="folder with separate sound files of the same stems or indices; "
        "an audio/ subfolder is found by itself",
    )

    @field_validator("path", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        return value if isinstance(value, list) else [value]


class Clips(Section):
    """How clips are divided into jobs."""

    shard_size: int = Field(
        1000, ge=1, description="clips a shard; a shard is the unit of a job (unit: clips)"
    )


class Encoder(Section):
    """The H.264 encoder of the proxies."""

    preset: Literal["ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow"] = (
        Field("superfast", description="x264 preset: slower is smaller")
    )
    crf: int = Field(20, ge=0, le=51, description="x264 constant rate factor: lower is better")


class Media(Section):
    """What is made of every clip before a model sees it."""

    size_px: int = Field(224, ge=16, description="short side of the proxy (unit: pixels)")
    fps: float = Field(20, gt=0, description="frame rate of the proxy (unit: frames a second)")
    fit: Literal["short_side", "stretch"] = Field(
        "short_side", description="short_side keeps the aspect; stretch makes a square"
    )
    encoder: Encoder = Field(Encoder(), description="proxy encoder")
    sample_rate_hz: int = Field(16000, ge=8000, description="rate of the mono wave (unit: Hz)")
    filter: bool | Literal["auto"] = Field(
        "auto",
        description="true: clips that fail the audio gate are not transcoded; auto: true for "
        "collections without prompts (datasets), false for those with prompts",
    )
    layout: Literal["shards", "tree"] = Field(
        "shards",
        description="tree also writes the proxies, with sound, under their original relative "
        "paths in results/tree/COLLECTION/",
    )
    skip_count: int = Field(
        0, ge=0, description="leave out the first clips of each collection, in order (unit: clips)"
    )
    keep_proxies: bool = Field(
        True, description="false: proxies and waves are deleted when everything is scored"
    )
    workers: int = Field(8, ge=1, description="clips at a time in one job (unit: processes)")
    timeout_s: float = Field(120, gt=0, description="time limit for one clip (unit: seconds)")
    memory_mb: int = Field(4000, ge=256, description="memory limit for one clip (unit: MB)")
    max_pixels: int = Field(
        36_000_000, ge=1, description="largest picture that is opened (unit: pixels)"
    )


class Audio(Section):
    """Which clips count as having sound: the gate of every task that listens."""

    require: Literal["audible", "stream", "none"] = Field(
        "audible",
        description="audible: a stream louder than silence_db; stream: a stream; none: no gate",
    )
    silence_db: float = Field(
        -60, le=0, description="mean volume at or below this is silence (unit: dBFS)"
    )


class Model(Section):
    """One model under one protocol; another protocol is another entry with another name."""

    entry: str | None = Field(
        None, description="entry of the catalogue (`concord models`); default: the model's name"
    )
    checkpoint: Path | None = Field(None, description="local weights instead of the entry's")
    sha256: str | None = Field(None, description="expected digest of the weights")
    architecture: str | None = Field(None, description="open_clip: architecture name")
    pretrained: str | None = Field(None, description="open_clip: pretrained tag")
    frames: int | None = Field(None, ge=1, description="frames a clip (unit: frames)")
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        "auto", description="auto: bf16 on a GPU that has it, else fp32"
    )
    batch_size: int = Field(
        32, ge=1, description="clips in one forward pass; halved when memory runs out (unit: clips)"
    )
    workers: int = Field(4, ge=1, description="processes that decode ahead (unit: processes)")
    memory_mb: int | None = Field(
        None, ge=1, description="memory of a job; default: the catalogue's (unit: MB)"
    )


TASKS = ("video_text", "audio_text", "av_consistency", "retrieval", "synchrony")


class Statistics(Section):
    """Confidence intervals and tests."""

    bootstrap: int = Field(2000, ge=100, description="bootstrap and permutation samples")
    confidence: float = Field(0.95, gt=0.5, lt=1, description="level of the intervals")
    seed: int = Field(0, ge=0, description="seed of all random numbers")


class Report(Section):
    """The page."""

    title: str = Field("Concord", description="title of the page")
    clips: int = Field(3, ge=0, description="best and worst clips shown a score (unit: clips)")


def _mapping(value: Any) -> Any:
    """Accept a list of names where a mapping from name to options is meant."""
    if isinstance(value, str):
        value = [value]
    if isinstance(value, list):
        return {name: {} for name in value}
    if isinstance(value, dict):
        return {name: {} if options is None else options for name, options in value.items()}
    return value


def _prompt_sets(value: Any) -> Any:
    """Accept one path where a mapping from name to prompt set is meant."""
    return {"prompts": value} if isinstance(value, str | Path) else value


class Config(Section):
    """Everything a user decides."""

    results: Path = Field(Path("results"), description="folder of all outputs")
    limit: int | None = Field(
        None, ge=1, description="trial run: only the first clips of each collection (unit: clips)"
    )
    collections: dict[Name, Annotated[Collection, _as("path")]] = Field(
        description="name: folder, or name: {path: folder, ...}", min_length=1
    )
    prompts: Annotated[
        dict[Name, Annotated[PromptSet, _as("path")]], BeforeValidator(_prompt_sets)
    ] = Field({}, description="one file, or name: file, or name: {path: file, ...}")
    models: Annotated[dict[Name, Model], BeforeValidator(_mapping)] = Field(
        {"mini": Model()}, description="list of names, or name: {options}"
    )
    tasks: list[Literal[TASKS]] = Field(  # type: ignore[valid-type]
        list(TASKS), description="what to measure (`concord tasks`)"
    )
    compare: list[tuple[Name, Name]] | None = Field(
        None, description="pairs of collections to compare; default: all pairs that share prompts"
    )
    audio: Audio = Field(Audio(), description="the audio gate")
    media: Media = Field(Media(), description="proxies, waves and measurements")
    clips: Clips = Field(Clips(), description="division into jobs")
    statistics: Statistics = Field(Statistics(), description="intervals and tests")
    report: Report = Field(Report(), description="the page")

    @model_validator(mode="after")
    def _names_agree(self) -> "Config":
        problems = []
        for name, collection in self.collections.items():
            if collection.prompts not in (None, "none", *self.prompts):
                problems.append(
                    f"collections.{name}.prompts: no prompt set named {collection.prompts!r}; "
                    f"there is: {', '.join(self.prompts) or 'none'}"
                )
            if collection.prompts is None and len(self.prompts) > 1:
                problems.append(
                    f"collections.{name}.prompts: there are several prompt sets "
                    f"({', '.join(self.prompts)}); name one, or none"
                )
        for a, b in self.compare or []:
            problems += [
                f"compare: no collection named {name!r}; there is: {', '.join(self.collections)}"
                for name in (a, b)
                if name not in self.collections
            ]
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def prompt_set(self, collection: str) -> str | None:
        """Name of the prompt set of a collection; None if it has none."""
        name = self.collections[collection].prompts
        if name is None:
            return next(iter(self.prompts), None)
        return None if name == "none" else name

    def filters(self, collection: str) -> bool:
        """Whether clips of the collection that fail the audio gate are left untranscoded."""
        if self.media.filter == "auto":
            return self.prompt_set(collection) is None
        return self.media.filter
