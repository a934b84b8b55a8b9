"""The command line, `python -m concord COMMAND`; a command imports what it needs when it runs."""

import os
import sys
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from concord.errors import UserError


class _Commands(TyperGroup):
    """Shows a user's mistake as a message, without a traceback."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except UserError as error:
            from concord.commands.terminal import complain

            complain(list(map(str, error.args)))
            raise typer.Exit(1) from None


app = typer.Typer(
    name="concord",
    cls=_Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Measures how well video, audio and text agree. `snakemake --cores 16` runs everything; "
    "these commands prepare a run and look into it.",
    epilog="Exit status: 0 done, 1 a mistake in the configuration or the inputs, 2 a mistake in "
    "the command line.",
)

ConfigFile = Annotated[Path, typer.Option("--config", "-c", help="configuration file")]
Inputs = Annotated[list[str] | None, typer.Option(metavar="FILE", help="may be repeated")]
Checkpoint = Annotated[str | None, typer.Option(metavar="PATH", help="local weights")]
DEFAULT = Path("config.yaml")


@app.command()
def check(config: ConfigFile = DEFAULT) -> None:
    """Say everything that is wrong with the configuration and the clips."""
    from concord.commands import check

    check.run(config)


@app.command()
def init(
    folders: Annotated[
        list[str], typer.Argument(help="folders of clips, manifests, or s3://bucket/prefix")
    ],
    prompts: Annotated[str | None, typer.Option(help="JSON, JSONL, CSV or Parquet")] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="file to write")] = DEFAULT,
    force: Annotated[bool, typer.Option("--force", help="replace the file")] = False,
) -> None:
    """Write a commented configuration for folders of clips."""
    from concord.commands import init

    init.run(folders, prompts, output, force)


@app.command()
def models() -> None:
    """List the models: what they take, licence, memory."""
    from concord.commands import listings

    listings.run_models()


@app.command()
def tasks() -> None:
    """List the tasks: what they measure and need."""
    from concord.commands import listings

    listings.run_tasks()


@app.command()
def plan(
    config: ConfigFile = DEFAULT,
    probe: Annotated[bool, typer.Option(help="measure with a few of your clips")] = True,
    seconds: Annotated[float, typer.Option(min=1, help="how long the probe may take")] = 20,
    heavy: Annotated[bool, typer.Option("--heavy", help="load large models for it too")] = False,
    cores: Annotated[int | None, typer.Option(min=1, help="cores; default: all here")] = None,
    gpus: Annotated[int | None, typer.Option(min=0, help="GPUs; default: all here")] = None,
) -> None:
    """Forecast time, core-hours, GPU-hours, disk and memory of a run, before it."""
    from concord.commands import plan
    from concord.run import count_gpus

    found = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    devices = count_gpus() if gpus is None else gpus
    plan.run(config, probe, seconds, heavy, cores or found or 1, devices)


@app.command()
def cost(config: ConfigFile = DEFAULT) -> None:
    """Say what each stage cost, beside its forecast."""
    from concord.commands import cost

    cost.run(config)


@app.command()
def progress(
    config: ConfigFile = DEFAULT,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="until the run ends")] = False,
) -> None:
    """Say how far a run is: clips done, clips a second, time left."""
    from concord.commands import progress

    progress.run(config, watch)


@app.command()
def failures(
    config: ConfigFile = DEFAULT,
    collection: Annotated[str | None, typer.Option(help="only this collection")] = None,
    stage: Annotated[str | None, typer.Option(help="only stages that begin so: media")] = None,
    csv: Annotated[bool, typer.Option("--csv", help="as CSV")] = False,
) -> None:
    """List every skipped or failed clip with its reason and the log that has it."""
    from concord.commands import failures

    failures.run(config, collection, stage, csv)


@app.command()
def retry(
    config: ConfigFile = DEFAULT,
    stage: Annotated[str | None, typer.Option(help="media, embeddings or synchrony")] = None,
    reason: Annotated[list[str] | None, typer.Option(help="only these reasons")] = None,
    everything: Annotated[bool, typer.Option("--all", help="every failed row")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="do not ask")] = False,
) -> None:
    """Let the next run try failed clips again: those that a limit or a crash ended."""
    from concord.commands import retry

    retry.run(config, stage, reason or [], everything, yes)


@app.command()
def score(
    video: Inputs = None,
    audio: Inputs = None,
    image: Inputs = None,
    depth: Inputs = None,
    thermal: Inputs = None,
    imu: Inputs = None,
    text: Annotated[list[str] | None, typer.Option(help="a text; may be repeated")] = None,
    model: Annotated[str, typer.Option(help="entry of the catalogue")] = "imagebind",
    protocol: Annotated[str | None, typer.Option(help="named protocol of its family")] = None,
    checkpoint: Checkpoint = None,
    sha256: Annotated[str | None, typer.Option(help="expected digest of the weights")] = None,
    architecture: Annotated[str | None, typer.Option(help="name in its family's terms")] = None,
    pretrained: Annotated[str | None, typer.Option(help="tag or repository of weights")] = None,
    frames: Annotated[int | None, typer.Option(help="frames taken from a clip")] = None,
    precision: Annotated[str | None, typer.Option(help="auto, fp32, bf16 or fp16")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="as JSON")] = False,
) -> None:
    """Score how well a few files and texts agree, without a workflow."""
    from concord.commands import score

    score.run(
        {
            "video": video or [],
            "audio": audio or [],
            "text": text or [],
            "image": image or [],
            "depth": depth or [],
            "thermal": thermal or [],
            "imu": imu or [],
        },
        {
            "protocol": protocol,
            "checkpoint": checkpoint,
            "sha256": sha256,
            "architecture": architecture,
            "pretrained": pretrained,
            "frames": frames,
            "precision": precision,
            "device": device,
        },
        model,
        as_json,
    )


@app.command()
def parity(
    model: Annotated[str, typer.Argument(help="imagebind")],
    clips: Annotated[list[str], typer.Argument(metavar="FILES...", help="clips and images")],
    depth: Inputs = None,
    thermal: Inputs = None,
    imu: Inputs = None,
    text: Annotated[list[str] | None, typer.Option(help="a text; may be repeated")] = None,
    protocol: Annotated[str | None, typer.Option(help="a named protocol of imagebind")] = None,
    checkpoint: Checkpoint = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda")] = None,
    random: Annotated[
        bool, typer.Option("--random", help="a shallow network of random weights, as a self-check")
    ] = False,
) -> None:
    """Compare our ImageBind with its authors' package, which you have installed."""
    from concord.commands import parity

    parity.run(
        model,
        clips,
        {"depth": depth or [], "thermal": thermal or [], "imu": imu or [], "text": text or []},
        {"protocol": protocol, "checkpoint": checkpoint, "device": device},
        random,
    )


@app.command()
def diff(
    run_a: Annotated[Path, typer.Argument(help="results folder of a run")],
    run_b: Annotated[Path, typer.Argument(help="results folder of another")],
    tolerance: Annotated[float, typer.Option(min=0, help="scores nearer are the same")] = 1e-6,
    most: Annotated[int, typer.Option(min=1, help="entries of a long list")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="everything, as JSON")] = False,
) -> None:
    """Say what differs between two runs: inputs, protocols, software, scores."""
    from concord.commands import diff

    diff.run(run_a, run_b, tolerance, most, as_json)


@app.command("fetch-weights")
def fetch_weights(config: ConfigFile = DEFAULT) -> None:
    """Fetch all weights now, for a run on machines without a network."""
    from concord.commands import fetch

    fetch.run(config)


@app.command()
def summary(config: ConfigFile = DEFAULT) -> None:
    """Print the compact table of the last run."""
    from concord.commands import summary

    summary.run(config)


@app.command()
def version() -> None:
    """Print the versions of Concord and of the ffmpeg it uses."""
    from concord import __version__
    from concord.media.ffmpeg import find_ffmpeg

    ffmpeg = find_ffmpeg()
    typer.echo(f"concord {__version__}, ffmpeg {ffmpeg.version} ({ffmpeg.source}: {ffmpeg.path})")


@app.command(hidden=True)
def docs() -> None:
    """Write the files that are generated from the code."""
    from concord import config_docs

    for path in config_docs.write():
        typer.echo(path)


def main() -> None:
    """Run the command line; a closed pipe ends it quietly."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        app(prog_name="python -m concord")
    finally:
        try:
            sys.stdout.flush()
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
