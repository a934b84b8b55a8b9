"""`concord score`: how well a few files and texts agree, without a workflow."""

import json
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from typing import Any

import typer

from concord.commands.terminal import complain, print_table, say
from concord.errors import UserError
from concord.models.base import Modality, ModelSpec
from concord.once import Given, Once, Pair, configured, faults, pairs, specs, weights_sha256
from concord.scratch import scratch_folder


def run(
    inputs: Mapping[Modality, Sequence[str]], keys: Mapping[str, Any], model: str, as_json: bool
) -> None:
    """Print the score of every two inputs of different modalities; exit status 1 if one has none.

    `keys` are those of a model in the configuration, None where not given. Raises UserError with
    everything that is wrong with the inputs.
    """
    given = [Given(modality, source) for modality, found in inputs.items() for source in found]
    if len({item.modality for item in given}) < 2:
        raise UserError(
            "found inputs of fewer than two kinds, expected two or more; for example "
            '--video clip.mp4 --text "a dog barks"'
        )
    with scratch_folder() as folder:
        config = configured({model: keys}, folder)
        (spec,) = specs(config, given)
        once = Once(config, given, folder)
        # The output is the scores alone, whatever a library prints.
        with redirect_stdout(typer.get_text_stream("stderr")):
            embedded = once.embed(spec)
            found = pairs(embedded, config.audio.model_dump())
    if as_json:
        _print_json(spec, found, weights_sha256(embedded) or spec.sha256)
    else:
        _print(spec, found)
    if problems := faults(embedded):
        complain(problems)
        raise typer.Exit(1)


def _print(spec: ModelSpec, found: Sequence[Pair]) -> None:
    rows = [
        (
            f"{pair.first.modality} {pair.first.source}",
            f"{pair.second.modality} {pair.second.source}",
            "none" if pair.cosine is None else f"{pair.cosine:.6f}",
            pair.protocol_id,
        )
        for pair in found
    ]
    print_table(("first", "second", "cosine", "protocol"), rows)
    notes = dict.fromkeys(pair.why for pair in found if pair.cosine is not None and pair.why)
    for note in notes:
        say(f"note: {note}", "yellow")
    say(f"\n{spec.name}: licence {spec.licence}{_restriction(spec)}")


def _print_json(spec: ModelSpec, found: Sequence[Pair], sha256: str | None) -> None:
    content = {
        "model": spec.name,
        "weights_sha256": sha256,
        "licence": spec.licence,
        "commercial_use": spec.commercial,
        "pairs": [
            {
                "first": {"modality": pair.first.modality, "input": pair.first.source},
                "second": {"modality": pair.second.modality, "input": pair.second.source},
                "cosine": pair.cosine,
                "note": pair.why,
                "protocol_id": pair.protocol_id,
            }
            for pair in found
        ],
    }
    typer.echo(json.dumps(content, indent=2, ensure_ascii=False))


def _restriction(spec: ModelSpec) -> str:
    return "" if spec.commercial else "; not for commercial use as it stands"
