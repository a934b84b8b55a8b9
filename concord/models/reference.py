"""docs/models.md, made from the catalogue."""

from collections.abc import Iterable

from concord.models.catalogue import (
    TRIED,
    Entry,
    NamedProtocol,
    decisions,
    default_of,
    entries,
    protocols,
    reads,
    weights_source,
)
from concord.models.families import FAMILIES

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
  clip-as-before: {entry: clip-vit-l-14, protocol: clip-batch-script}
  ours: {entry: open_clip, architecture: ViT-B-32, checkpoint: weights/ours.safetensors}
  theirs: {entry: open_clip, architecture: ViT-B-16, pretrained: dfn2b}
  tuned: {entry: transformers, checkpoint: weights/tuned-siglip}
  clap-music: {entry: transformers, architecture: clap, pretrained: laion/larger_clap_music}
  pe-pictures: {entry: pe-av-base, protocol: pe-video-text}
```

For a look at a few files without a workflow, with the numbers that the workflow would give:

```sh
python -m concord score --video a.mp4 --audio a.wav --text "a dog barks" --model imagebind
```

## What is computed

- Frames: `frames` pictures of the proxy, at the centres of as many equal intervals. A clip shorter
  than that repeats pictures.
- `open_clip`: every picture is resized, cropped and normalised as the model's own description says;
  the embedding is the mean of the pictures' unit vectors, made a unit vector again. Its other
  protocols are below.
- `imagebind`: views, frames and sounds are the reference's, from the originals; the embedding is
  the mean over the views as the network leaves it, and scores take its cosine. `imagebind-proxy`
  reads proxies and waves instead, which gives other numbers. `imagebind-package` runs the network
  of the authors' package, which you install (`envs/imagebind.yaml`), on the same inputs:
  `python -m concord parity imagebind CLIPS...` says how far the two are apart.
- The modality `image` is one picture file, turned as its EXIF orientation says; ImageBind takes it
  as it is stored, as its reference does.
- `transformers`: the checkpoint's own processor and tokenizer make the inputs. CLIP, SigLIP,
  SigLIP 2, Chinese-CLIP and AltCLIP see frames as above; X-CLIP and PE-AV see them together, and
  PE-AV's go evenly from the first to the last, as its processor's own choice does.
  - SigLIP and SigLIP 2 read lower-case texts, padded to their full length without a mask, as they
    were trained.
  - X-CLIP's text is not adapted to each video, which its own classifier does.
  - CLAP takes the sound at 48 kHz from the original. Where its processor takes a random part of a
    long sound, the fewest windows that cover the sound are embedded and averaged; where it fuses
    random parts, they are drawn with a fixed seed; which sounds are long is not left to chance.
  - PE-AV has a text head for pictures and another for sounds, so one model cannot serve both:
    by default it compares picture and sound, and `protocol: pe-video-text` or `pe-audio-text` make
    models for prompts. Scores are cosines; its own logits are not normalised. It hears a sound
    as a whole, which takes some 60 MB of memory a second.
- Proxies have `media.size_px` (224) pixels on the short side. A model that wants more enlarges
  them; set `media.size_px` to its size for the best it can do.
- Half precision differs between families. `open_clip` and `transformers` keep float32 weights and
  let PyTorch's autocast choose what is computed in half; `imagebind` holds its blocks in half,
  what passes from block to block included, which is faster. Its embeddings of words, positions,
  the norms before the blocks, the heads and the mean over views stay in float32. At full size with
  random weights, the cosine of bf16 to the reference's float32 was at least 0.9999 for every
  trunk; with the published weights it was not measured. Set `fp32` to be sure.
- Prompts longer than the model reads are embedded as far as it reads them; their rows say so.
- `precision: auto` is bf16 on a GPU that has it and fp32 elsewhere. The protocol of embeddings
  holds the word you set, because a workflow is planned where the GPU is not known; that of scores
  holds what was used, and embeddings of two precisions are never scored together. Set `fp32` for
  numbers that are the same on every device, up to rounding.

## Weights

- `mini` is part of this package. It knows the world of the demo clips only.
- Weights that a hub or a URL has come when a job first needs them. For machines without network,
  `python -m concord fetch-weights` fetches those of all configured models where there is one (a
  cluster's login node), with tokenizers and settings, and says where they lie, their digests and
  licences; then set `HF_HUB_OFFLINE=1`. Or copy the caches (`HF_HOME`, `~/.cache/concord`), or give
  a local file with `checkpoint`.
- `checkpoint` is a `.safetensors` file or a state dict saved by PyTorch. For `open_clip` it may be
  a folder with `open_clip_config.json` and one weight file, for `imagebind` a folder with
  `imagebind_config.json` and one; for `transformers` it is the folder that `save_pretrained`
  leaves. Pickled code is never run. Beside an `open_clip` checkpoint, `pretrained` says whose
  preprocessing and activation hold.
- The digest (SHA-256) of a local file is part of the protocol: other weights, other numbers. For
  weights of a hub set `sha256` to pin them. What was fetched is recorded in each table's metadata
  (`computed`): the digests of weights and settings, and the commit.
- Check the licence: "commercial use: no" also stands where it is up to the weights you bring.

"""

PROTOCOLS = """\
## Named protocols

`models.NAME.protocol` chooses one of the model's family. What decides its numbers is part of the
protocol id that stands in every table; where nothing does, the protocol is the family as described
above.

"""

CATALOGUE = """\
## The catalogue

"Ran with" says with what this project has run the entry. Of some entries only their architecture
ran, with a small random network instead of one of the published size. What never ran here may
fail, or be wrong: check its first numbers.

"""


def reference() -> str:
    """The page as Markdown."""
    columns = (
        *("name", "model", "modalities", "dim", "licence", "commercial use", "memory (MB)"),
        "ran with",
    )
    named = ("protocol", "what it does", "decided by", "families", "default of")
    return "\n".join(
        [
            HEAD + PROTOCOLS + _table(named, map(_protocol_cells, protocols().values())),
            CATALOGUE + _table(columns, map(_cells, entries().values())),
            "\n".join(map(_details, entries().values())),
        ]
    )


def _protocol_cells(protocol: NamedProtocol) -> list[str]:
    return [
        f"`{protocol.name}`",
        protocol.title,
        ", ".join(f"`{key}: {value}`" for key, value in decisions(protocol).items()),
        ", ".join(f"`{backend}`" for backend in protocol.backends),
        default_of(protocol),
    ]


def _cells(entry: Entry) -> list[str]:
    return [
        f"`{entry.name}`",
        entry.title,
        ", ".join(entry.modalities),
        str(entry.dim or "its own"),
        entry.licence,
        "yes" if entry.commercial else "no",
        str(entry.memory_mb),
        TRIED[entry.tried],
    ]


def _details(entry: Entry) -> str:
    lines = [
        f"### {entry.name}\n",
        f"- Family: `{entry.backend}`; weights: {weights_source(entry)}; {_input(entry)}",
        f"- Verified: {entry.verified}",
        f"- Cite: {entry.citation}",
    ]
    if entry.packages:
        lines.append(f"- Needs also: {', '.join(entry.packages)}")
    return "\n".join(lines) + "\n"


def _input(entry: Entry) -> str:
    """What decides an entry's numbers beside its weights."""
    pictures = "video" in entry.modalities and "frames" in FAMILIES[entry.backend].keys
    frames = f"frames: {entry.frames}" if pictures else ""
    protocol = f"protocol: `{entry.protocol}`" if entry.protocol else ""
    return "; ".join(filter(None, (protocol, frames, f"reads {reads(entry)}")))


def _table(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    columns = list(columns)
    return "\n".join([_line(columns), _line("---" for _ in columns), *map(_line, rows)]) + "\n"


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"
