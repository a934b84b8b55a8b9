"""The part of the configuration that says where clips and prompts lie, and where results go."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from concord.config_fields import (
    Address,
    AnyPlace,
    Objects,
    Places,
    Section,
    Tries,
    endpoint,
    once,
)


class PromptSet(Section):
    """A list of prompts."""

    path: AnyPlace = Field(
        description="JSON list, JSONL, CSV or Parquet with an index and the prompts",
        examples=["prompts.json"],
    )
    index: str = Field("index", description="column with the index of a prompt")
    video_prompt: str = Field("video_prompt", description="column that says what is to be seen")
    audio_prompt: str = Field("audio_prompt", description="column that says what is to be heard")
    stem: str | None = Field(
        None, description="column with the file stem of the clip, for `match: stem`"
    )


class Collection(Section):
    """Clips that are judged together: one generator's outputs, or a dataset."""

    path: Places = Field(
        description="a folder, a list of folders, or a manifest (CSV, JSONL, Parquet) with a "
        "column `path` and optionally `index`, `audio_path`, `image_path`, ...; each may be an "
        "address, s3://bucket/prefix",
        examples=["clips/kling", ["clips/part1", "clips/part2"], "clips.csv", "s3://bucket/kling"],
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
    audio: AnyPlace | None = Field(
        None,
        description="folder with separate sound files of the same stems or indices; "
        "an audio/ subfolder is found by itself",
    )
    image: AnyPlace | None = Field(
        None, description="folder with an image for each clip, of the same stem or index"
    )
    depth: AnyPlace | None = Field(None, description="folder with depth maps, likewise")
    thermal: AnyPlace | None = Field(None, description="folder with thermal images, likewise")
    imu: AnyPlace | None = Field(
        None, description="folder with .npy files of motion sensors [6, samples], likewise"
    )
    label: str | None = Field(
        None,
        description="what a clip is, for probes: `parent` for the name of its folder, or a column "
        "of the manifest",
        examples=["parent"],
    )
    group: str | None = Field(
        None,
        description="clips that must stay on one side of a split (a speaker, a source video): "
        "`parent` or a column of the manifest",
    )


class Remote(Section):
    """Objects on S3-compatible storage; credentials come from the environment alone."""

    endpoint_url: Annotated[str | None, AfterValidator(endpoint)] = Field(
        None,
        description="address of the server; default: that of AWS_ENDPOINT_URL, else Amazon's",
        examples=["https://s3.example.org"],
    )
    region: str | None = Field(
        None, description="region of the buckets; default: that of the environment or AWS's files"
    )
    retries: Tries = Field(5, ge=1, description="how often a request or a download is tried")
    ahead: Objects = Field(
        8, ge=1, description="objects that a job fetches ahead of those it works on"
    )
    manifests: Annotated[list[Address], AfterValidator(once)] = Field(
        [],
        description="buckets or prefixes whose objects the cells of manifests may name, besides "
        "the bucket that a manifest lies in itself",
        examples=[["s3://bucket/clips"]],
    )


class Publish(Section):
    """What a run leaves, uploaded when it ends."""

    path: Address = Field(
        description="where tables, exports, page and provenance are uploaded to",
        examples=["s3://bucket/results"],
    )
    everything: bool = Field(
        False,
        description="true: also the tables of clips, media, embeddings, scores, ...; proxies and "
        "waves stay where they are",
    )
