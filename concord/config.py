"""The configuration: every key with its type, default, unit and meaning.

config.yaml's comments, the JSON schema and docs/configuration.md are generated from this module.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag

from concord.blocks import shards_a_block
from concord.config_data import Collection, PromptSet, Publish, Remote
from concord.config_fields import (
    ClipCount,
    File,
    Frames,
    Hertz,
    Hours,
    Level,
    Megabytes,
    Name,
    Names,
    Pixels,
    Probability,
    Processes,
    Rate,
    Samples,
    Seconds,
    Section,
    Share,
    Task,
    by_name,
    listed,
    once,
    outputs,
    shorthand,
)
from concord.media.file import MAX_PIXELS


class Clips(Section):
    """How clips are divided into jobs."""

    shard_size: ClipCount = Field(
        1000, ge=1, description="size of a shard; a shard is what one job of the media works on"
    )
    block_size: ClipCount = Field(
        10_000,
        ge=1,
        description="size of a block: as many whole shards as fit into it, at least one; a block "
        "is what one embedding job works on, which loads its model once",
    )
    max_job_hours: Hours = Field(
        24,
        ge=1,
        description="most time that a job asks a cluster for, which no queue that it may go to "
        "should undercut; one on clips that runs out of it goes on where it was when it is tried "
        "again, and in the next run",
    )

    @property
    def shards_a_block(self) -> int:
        """How many shards an embedding job works on."""
        return shards_a_block(self.block_size, self.shard_size)


class Encoder(Section):
    """The H.264 encoder of the proxies."""

    preset: Literal["ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow"] = (
        Field("superfast", description="x264 preset: slower is smaller")
    )
    crf: int = Field(22, ge=0, le=51, description="x264 constant rate factor: lower is better")
    options: str = Field(
        "bframes=0:weightp=0:cabac=0",
        pattern=r"^([a-z0-9-]+=[A-Za-z0-9.,-]+(:[a-z0-9-]+=[A-Za-z0-9.,-]+)*)?$",
        description="further x264 options, key=value joined by colons; empty for none",
    )


class Media(Section):
    """What is made of every clip before a model sees it."""

    size_px: Pixels = Field(224, ge=16, description="short side of the proxy")
    fps: Rate = Field(20, gt=0, description="frame rate of the proxy")
    fit: Literal["short_side", "stretch"] = Field(
        "short_side", description="short_side keeps the aspect; stretch makes a square"
    )
    encoder: Encoder = Field(Encoder(), description="proxy encoder")
    sample_rate_hz: Hertz = Field(16000, ge=8000, description="sample rate of the mono wave")
    filter: Literal[True, False, "auto"] = Field(
        "auto",
        description="true: clips that fail the audio gate are not transcoded; auto: true for "
        "collections without prompts (datasets), false for those with prompts",
    )
    layout: Literal["shards", "tree"] = Field(
        "shards",
        description="tree also writes the proxies, with sound, under their original relative "
        "paths in results/tree/COLLECTION/",
    )
    skip_count: ClipCount = Field(
        0, ge=0, description="leave out the first clips of each collection, in order"
    )
    container: Literal["files", "tar"] = Field(
        "files",
        description="how the proxies and waves of a shard are kept: each a file, or all in one "
        "proxies.tar, for file systems that count files; results are the same",
    )
    keep_proxies: bool = Field(
        True, description="false: proxies and waves are deleted when everything is scored"
    )
    workers: Processes = Field(
        8,
        ge=1,
        description="clips at a time in one job, each with one ffmpeg; unless it is set, more "
        "where there are too few jobs for the cores of the machine",
    )
    timeout_s: Seconds = Field(120, gt=0, description="time limit for one clip")
    memory_mb: Megabytes = Field(
        1500,
        ge=256,
        description="memory limit for one clip, enough for 8K; a job asks for a fifth of it for "
        "each worker, more than ordinary clips take, and for twice as much when it is tried again",
    )
    max_pixels: Pixels = Field(
        MAX_PIXELS, ge=1, description="largest picture that is opened, width times height"
    )


class Audio(Section):
    """Which clips count as having sound: the gate of every task that listens."""

    require: Literal["audible", "stream", "none"] = Field(
        "audible",
        description="audible: a stream louder than silence_db; stream: a stream; none: no gate",
    )
    silence_db: Level = Field(
        -60,
        ge=-90,
        le=0,
        description="a clip whose mean volume is at or below this is silent; digital silence "
        "measures -91",
    )


class Model(Section):
    """One model under one protocol; another protocol is another entry with another name."""

    entry: str | None = Field(None, description="entry of the catalogue; default: the model's name")
    checkpoint: File | None = Field(None, description="local weights instead of the entry's")
    sha256: str | None = Field(
        None, pattern=r"^[0-9A-Fa-f]{64}$", description="expected SHA-256 of the weights"
    )
    architecture: str | None = Field(
        None,
        description="open_clip: architecture name; transformers: `model_type` of a hub's weights",
    )
    pretrained: str | None = Field(
        None,
        description="open_clip: pretrained tag; transformers: a hub's organisation/name, if wanted "
        "with @revision",
    )
    protocol: str | None = Field(
        None,
        description="a named protocol of the model's family, such as imagebind-15view; default: "
        "the entry's; docs/models.md lists them",
    )
    frames: Frames | None = Field(
        None, ge=1, description="frames taken from a clip; default: the catalogue's"
    )
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        "auto", description="auto: bf16 on a GPU that has it, else fp32"
    )
    batch_size: ClipCount = Field(
        32, ge=1, description="clips in one forward pass; halved when memory runs out"
    )
    workers: Processes = Field(4, ge=1, description="processes that decode ahead")
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto",
        description="auto: a free GPU, else the CPU; cuda: fail without a GPU; "
        "CUDA_VISIBLE_DEVICES says which GPUs there are",
    )
    compile: bool = Field(
        False, description="compile the network with torch.compile; only the family imagebind can"
    )
    memory_mb: Megabytes | None = Field(
        None, ge=1, description="memory of a job; default: the catalogue's"
    )


TASKS = ("video_text", "audio_text", "av_consistency", "retrieval", "synchrony")
"""Tasks of the default configuration; concord.scores.tasks knows all there are."""


class Statistics(Section):
    """Confidence intervals and tests."""

    bootstrap: Samples = Field(2000, ge=100, description="bootstrap and permutation samples")
    confidence: Probability = Field(0.95, gt=0.5, lt=1, description="level of the intervals")
    seed: int = Field(0, ge=0, description="seed of all random numbers")


class Quality(Section):
    """Limits that every embedding table is held against."""

    action: Literal["record", "fail"] = Field(
        "record", description="when a check fails: write it down, or also stop the run"
    )
    not_finite: Share = Field(0, ge=0, le=1, description="vectors that may be NaN or infinite")
    zero: Share = Field(0, ge=0, le=1, description="vectors that may be zero")
    duplicates: Share = Field(
        0.01, ge=0, le=1, description="vectors that may equal that of a different input"
    )
    norms: Share = Field(
        0.01, ge=0, le=1, description="vectors whose norm may lie outside norm_factor"
    )
    norm_factor: float = Field(
        4, gt=1, description="a norm lies within the table's median divided by and times this"
    )
    collapsed: float = Field(
        0.99, gt=-1, le=1, description="largest mean cosine of two different vectors"
    )
    effective_rank: float = Field(
        1.1, ge=1, description="smallest effective number of dimensions that the vectors vary in"
    )


_Classifier = Literal["logistic", "svm", "mlp"]
_Projection = Literal["pca", "tsne", "umap"]
_ProbeLabels = Annotated[
    Annotated[Literal["label", "collection"], Tag("word")]
    | Annotated[dict[Name, Names], Tag("mapping")],
    Discriminator(lambda value: "mapping" if isinstance(value, dict) else "word"),
]


class Probes(Section):
    """Classifiers that tell how much of a label the features hold, for the task `features`."""

    classifiers: Annotated[
        list[_Classifier],
        AfterValidator(once),
        BeforeValidator(listed, json_schema_input_type=_Classifier | list[_Classifier]),
    ] = Field(
        ["logistic", "svm", "mlp"],
        description="logistic regression, linear support vector machine, a network with one "
        "hidden layer; [] for none",
    )
    labels: _ProbeLabels = Field(
        "label",
        description="what is told apart. label: within each collection, what its key `label` "
        "says; collection: the collections, all together; or a mapping from label to collections",
        examples=["collection", {"real": ["kinetics"], "fake": ["kling", "sora"]}],
    )
    folds: int = Field(5, ge=2, description="parts of the clips, each held out once")
    split: Literal["auto", "grouped", "stratified"] = Field(
        "auto",
        description="what is held out together. auto: clips of the same `group` where there are "
        "groups, and clips of the same item (prompt index, else clip_id) of several collections; "
        "grouped: the same, but some collection must have groups; stratified: nothing",
    )
    max_clips: ClipCount = Field(
        20_000,
        ge=10,
        description="most clips that classifiers learn from; of more, a random sample in "
        "proportion to collections and labels",
    )
    standardise: bool = Field(
        True, description="give every dimension mean 0 and variance 1, as the training folds say"
    )


class Report(Section):
    """The page."""

    title: str = Field("Concord", description="title of the page")
    clips: ClipCount = Field(3, ge=0, description="best and worst clips shown for each score")
    projections: Annotated[
        list[_Projection],
        AfterValidator(once),
        BeforeValidator(listed, json_schema_input_type=_Projection | list[_Projection]),
    ] = Field(
        ["pca", "tsne", "umap"],
        description="pictures of the features in two dimensions, for the task features; [] for "
        "none",
    )
    projected_clips: ClipCount = Field(
        5000, ge=2, description="most clips in such a picture; a stratified sample of them if more"
    )


def _prompt_sets(value: Any) -> Any:
    """Accept one path where a mapping from name to prompt set is meant."""
    if value is None:
        return {}
    return {"prompts": value} if isinstance(value, str | Path) else value


_Collection = Annotated[Collection, shorthand("path", Collection, Path | list[Path])]
_PromptSet = Annotated[PromptSet, shorthand("path", PromptSet, Path)]
_Publish = Annotated[Publish, shorthand("path", Publish, str)]


class Config(Section):
    """Everything a user decides."""

    results: Annotated[File, AfterValidator(outputs)] = Field(
        Path("results"), description="folder of all outputs"
    )
    limit: ClipCount | None = Field(
        None,
        ge=1,
        description="trial run: only the clips of the first prompts in their file, or, in a "
        "collection without prompts, the first clips in the natural order of their names",
        examples=[20],
    )
    collections: dict[Name, _Collection] = Field(
        description="name: folder, or name: {path: folder, ...}",
        min_length=1,
        examples=[{"kling": "clips/kling", "sora": {"path": "clips/sora", "match": "stem"}}],
    )
    prompts: Annotated[
        dict[Name, _PromptSet],
        BeforeValidator(_prompt_sets, json_schema_input_type=Path | dict[Name, _PromptSet]),
    ] = Field(
        {},
        description="one file, or name: file, or name: {path: file, ...}",
        examples=["prompts.json", {"short": "short.csv", "long": "long.csv"}],
    )
    models: Annotated[
        dict[Name, Model],
        BeforeValidator(
            by_name, json_schema_input_type=str | list[Name] | dict[Name, Model | None]
        ),
    ] = Field(
        {"mini": Model()},
        description="list of names, or name: {options}; `python -m concord models` lists them with "
        "their licences (mini: Concord's own)",
        examples=[["mini"], {"mini": {"frames": 4}}],
    )
    tasks: Annotated[
        list[Task],
        AfterValidator(once),
        BeforeValidator(listed, json_schema_input_type=Task | list[Task]),
    ] = Field(
        list(TASKS),
        min_length=1,
        description="what to measure; `python -m concord tasks` explains each",
        examples=["image_text", ["video_text", "retrieval"]],
    )
    compare: list[tuple[Name, Name]] | None = Field(
        None,
        description="pairs of collections to compare; default: all pairs that share prompts",
        examples=[[["kling", "sora"]]],
    )
    audio: Audio = Field(Audio(), description="the audio gate")
    media: Media = Field(Media(), description="proxies, waves and measurements")
    clips: Clips = Field(Clips(), description="division into jobs")
    statistics: Statistics = Field(Statistics(), description="intervals and tests")
    quality: Quality = Field(Quality(), description="checks of every table of embeddings")
    probes: Probes = Field(Probes(), description="what classifiers can tell from the features")
    report: Report = Field(Report(), description="the page")
    remote: Remote = Field(Remote(), description="objects on S3-compatible storage")
    publish: _Publish | None = Field(
        None,
        description="address that tables, exports, page and provenance are uploaded to, or "
        "{path: address, everything: true}; default: nowhere",
        examples=["s3://bucket/results"],
    )

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

    def is_demo(self, collection: str) -> bool:
        """Whether the workflow itself makes the clips of the collection."""
        demo = Path(self.results, "demo").resolve()
        return any(
            path.resolve().is_relative_to(demo)
            for path in self.collections[collection].path
            if isinstance(path, Path)
        )
