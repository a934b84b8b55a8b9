"""docs/models.md, made from the catalogue."""

from collections.abc import Iterable

from concord.models.catalogue import Entry, entries, weights_source

HEAD = """\
# Models

Generated from `concord/models/catalogue.yaml`; do not edit. `python -m concord models` prints the
same list.

A configured model is one protocol: weights, preprocessing, frames, precision. Two protocols of one
network are two entries of `models:` with two names:

```yaml
models:
  mini:
  clip-vit-l-14:
  clip-16-frames: {entry: clip-vit-l-14, frames: 16}
  ours: {entry: open_clip, architecture: ViT-B-32, checkpoint: weights/ours.safetensors}
  theirs: {entry: open_clip, architecture: ViT-B-16, pretrained: dfn2b}
```

## What is computed

- Frames: `frames` pictures of the proxy, at the centres of as many equal intervals. A clip shorter
  than that repeats pictures.
- `open_clip`: every picture is resized, cropped and normalised as the model's own description says;
  the embedding is the mean of the pictures' unit vectors, made a unit vector again.
- Proxies have `media.size_px` (224) pixels on the short side. A model that wants more enlarges
  them; set `media.size_px` to its size for the best it can do.
- Prompts longer than the model reads are embedded as far as it reads them; their rows say so.
- `precision: auto` is bf16 on a GPU that has it and fp32 elsewhere. The protocol holds the word you
  set, because a workflow is planned where the GPU is not known; each table's metadata holds what
  was used (`computed`). Set `fp32` for numbers that are the same on every device, up to rounding.

## Weights

- `mini` is part of this package. It knows the world of the demo clips only.
- `architecture:tag` weights come from their hub when a job first needs them. For machines without
  network run `hf download REPOSITORY` elsewhere, copy the cache (`HF_HOME`) and set
  `HF_HUB_OFFLINE=1`; or give a local file with `checkpoint`. The error names the repository.
- `checkpoint` is a `.safetensors` file, a state dict saved by PyTorch, or a folder with
  `open_clip_config.json` and one weight file. Pickled code is never run. Beside a checkpoint,
  `pretrained` says whose preprocessing and activation hold.
- The digest (SHA-256) of a local file is part of the protocol: other weights, other numbers. For
  weights of a hub set `sha256` to pin them.
- Check the licence: "commercial use: no" also stands where it is up to the weights you bring.

## The catalogue

"""


def reference() -> str:
    """The page as Markdown."""
    columns = ("name", "model", "modalities", "dim", "licence", "commercial use", "memory (MB)")
    lines = [_line(columns), _line("---" for _ in columns)]
    lines += [_line(_cells(entry)) for entry in entries().values()]
    return HEAD + "\n".join(lines) + "\n\n" + "\n".join(map(_details, entries().values()))


def _cells(entry: Entry) -> list[str]:
    return [
        f"`{entry.name}`",
        entry.title,
        ", ".join(entry.modalities),
        str(entry.dim or "its own"),
        entry.licence,
        "yes" if entry.commercial else "no",
        str(entry.memory_mb),
    ]


def _details(entry: Entry) -> str:
    lines = [
        f"### {entry.name}\n",
        f"- Family: `{entry.backend}`; weights: {weights_source(entry)}; frames: {entry.frames}",
        f"- Verified: {entry.verified}",
        f"- Cite: {entry.citation}",
    ]
    if entry.packages:
        lines.append(f"- Needs also: {', '.join(entry.packages)}")
    return "\n".join(lines) + "\n"


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"
