"""`concord parity imagebind`: our ImageBind and its authors' package on the same clips."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import typer

from concord.clips.files import WITH_IMAGES, extension_of
from concord.commands.terminal import print_table, say
from concord.errors import UserError, shortened
from concord.models.base import Modality, ModelSpec
from concord.once import Embedded, Given, Once, configured, faults, specs
from concord.scratch import scratch_folder

if TYPE_CHECKING:
    from concord.models.imagebind.parity import Difference

TEXTS = ("A dog.", "rain on a tin roof, 雨の音", "a long prompt about the sea and the wind " * 12)
"""Where none are given: short, of several scripts, and longer than the 77 tokens that are read."""
COMPARED: dict[str, tuple[Modality, ...]] = {
    "video": ("video", "audio"),
    "audio": ("audio",),
    "image": ("image",),
}
"""What of a file is compared, by its kind."""
_PACKAGE = "imagebind-package"
_AS_PACKAGED = "imagebind-15view"
"""The protocol under which the package reads files."""
RANDOM_BLOCKS = 2


def run(
    model: str,
    clips: Sequence[str],
    others: Mapping[Modality, Sequence[str]],
    keys: Mapping[str, Any],
    random: bool,
) -> None:
    """Print the differences of each modality and a verdict; exit status 1 if one is too large.

    `clips` are files whose picture and sound are compared, `others` files and texts by modality,
    `keys` those of a model in the configuration. Raises UserError for what cannot be compared.
    """
    from concord.models.imagebind_package import network_module

    if model != "imagebind":
        raise UserError(f"found {model!r}, expected imagebind: no other model has a package here")
    given = [Given(modality, clip) for clip in clips for modality in _modalities(clip)]
    given += [Given(modality, source) for modality, found in others.items() for source in found]
    if not others.get("text"):
        given += [Given("text", text) for text in TEXTS]
    network_module(_PACKAGE)  # before anything is embedded for nothing
    with scratch_folder() as folder:
        if random:
            keys = {**keys, "checkpoint": str(_random_weights(folder))}
        models = {name: {"precision": "fp32"} | dict(keys) for name in ("imagebind", _PACKAGE)}
        config = configured(models, folder)
        ours, theirs = specs(config, given)
        once = Once(config, given, folder)
        embedded = once.embed(ours), once.embed(theirs)
        found = [*_networks(*embedded), *_files(theirs, embedded[0], keys.get("device") or "auto")]
    _report(found, faults(embedded[0]))
    if not found or any(row.verdict == "different" for row in found):
        raise typer.Exit(1)


def _modalities(clip: str) -> tuple[Modality, ...]:
    kind = WITH_IMAGES.get(extension_of(clip).lower())
    if kind is None:
        raise UserError(
            f"{clip}: found another extension, expected one of video, sound or image; give other "
            "files with --depth, --thermal or --imu"
        )
    return COMPARED[kind]


def _random_weights(folder: Path) -> Path:
    """A network of the published widths with random weights, not as deep, as a file."""
    import torch

    from concord.models.imagebind.config import CONFIG_FILE, HUGE
    from concord.models.imagebind.network import ImageBind

    trunks = {name: replace(trunk, blocks=RANDOM_BLOCKS) for name, trunk in HUGE.trunks.items()}
    config = replace(HUGE, trunks=trunks)
    torch.manual_seed(0)
    path = folder / "random.pth"
    torch.save(ImageBind(config).state_dict(), path)
    path.with_name(CONFIG_FILE).write_text(json.dumps(asdict(config)), encoding="utf-8")
    return path


def _networks(
    ours: Mapping[Modality, Embedded], theirs: Mapping[Modality, Embedded]
) -> Iterator["Difference"]:
    """Differences of the networks, which saw the same inputs."""
    from concord.models.imagebind.parity import difference

    for modality, found in ours.items():
        both = found.outcome.ok & theirs[modality].outcome.ok
        rows = np.flatnonzero(both)
        if len(rows):
            a, b = (side.table.vectors[side.rows[rows]] for side in (found, theirs[modality]))
            yield difference(modality, "network", a, b)


def _files(
    spec: ModelSpec, ours: Mapping[Modality, Embedded], device: str
) -> Iterator["Difference"]:
    """Differences where the package reads files and texts itself, as far as it can here."""
    from concord.models.catalogue import protocols
    from concord.models.devices import lease
    from concord.models.imagebind.parity import (
        LOADERS,
        data_module,
        difference,
        embedded_by_package,
    )
    from concord.models.imagebind_package import load_model

    if not protocols()[_AS_PACKAGED].options.items() <= spec.options.items():
        say(f"the package reads files by {_AS_PACKAGED}: its reading was not compared", "yellow")
        return
    try:
        data = data_module()
    except ImportError as error:
        say(f"the package's own reading of files was not compared: {error}", "yellow")
        return
    with lease(device, "--device") as where:
        model, _ = load_model(spec, where)
        for modality in LOADERS:
            found = ours.get(modality)
            if found is None or not found.outcome.ok.any():
                continue
            rows = np.flatnonzero(found.outcome.ok).tolist()
            sources = [found.given[row].source for row in rows]
            try:
                vectors = embedded_by_package(model, data, modality, sources, where)
            except Exception as error:
                said = shortened(error, 200)
                say(f"the package cannot read {modality} here: {said}", "yellow")
                continue
            mine = found.table.vectors[found.rows[rows]]
            yield difference(modality, "files", mine, vectors)


def _report(found: Sequence["Difference"], missing: Sequence[str]) -> None:
    from concord.models.imagebind.parity import CLOSE, EQUAL

    columns = (
        "input",
        "compared",
        "n",
        "largest difference",
        "relative",
        "least cosine",
        "verdict",
    )
    print_table(
        columns,
        (
            (
                row.modality,
                row.what,
                row.n,
                f"{row.largest:.2e}",
                f"{row.relative:.2e}",
                f"{row.cosine:.7f}",
                row.verdict,
            )
            for row in found
        ),
    )
    for fault in missing:
        say(f"not compared: {fault}", "yellow")
    limits = ", ".join(f"{name} {relative:g}" for name, (relative, _) in CLOSE.items())
    say(
        "\nnetwork: both networks on the same inputs; files: each read the files its own way.\n"
        f"equal: at most {EQUAL[0]:g} of the largest value apart, which is rounding; close: files "
        f"that other decoders read, at most {limits}"
    )
    verdicts = {row.verdict for row in found}
    if not found or "different" in verdicts:
        say("NOT equal" if found else "nothing was compared", "red")
    elif "close" in verdicts:
        say("close: equal but for the decoding of files", "yellow")
    else:
        say("equal", "green")
