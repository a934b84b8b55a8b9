"""The open_clip family: any OpenCLIP architecture with published or local weights.

A clip is `frames` frames at interval centres; its embedding is the mean of their L2-normalised
embeddings, normalised again. Preprocessing is the model's own. Named protocols change that: see
Recipe. Importing open_clip takes seconds, so only a job's main process does; decoder processes get
plain numbers.
"""

import logging
import pickle
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from concord.errors import UserError, did_you_mean, shortened
from concord.models.base import Fetched, Modality, ModelSpec, Reader
from concord.models.decode import Policy
from concord.models.devices import autocast, precision
from concord.models.families import HUB, OpenClip, read_settings, setting
from concord.models.hub import cached_files, fetched_sha256, fetching, patience, revision
from concord.models.passes import Passes
from concord.models.pictures import FrameReader, PictureReader, Preprocessing
from concord.models.vectors import unit
from concord.models.weights import sha256

if TYPE_CHECKING:
    import torch

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Mean and deviation of ImageNet's colours, as torchvision's classifiers take them."""
FRAMES_AT_ONCE = {"cpu": 32, "cuda": 1024}
"""Frames in one pass by device."""


@dataclass(frozen=True)
class Recipe:
    """What the options of a named protocol settle; the defaults are those of clip-centres.

    `frames_at`: centres of intervals, or left: i*(N//n). `resize`: the model's own, or squash
    into a square (bilinear). `normalisation`: the model's own, or imagenet. `aggregate`: unit, the
    mean of unit vectors made one again, or mean, the plain mean of the vectors as they are.
    """

    frames_at: Policy = "centres"
    resize: Literal["own", "squash"] = "own"
    normalisation: Literal["own", "imagenet"] = "own"
    aggregate: Literal["unit", "mean"] = "unit"

    @classmethod
    def of(cls, spec: ModelSpec) -> "Recipe":
        """The recipe among a model's options."""
        return cls(**{f.name: spec.options[f.name] for f in fields(cls) if f.name in spec.options})


def reader(spec: ModelSpec, modality: Modality) -> Reader:
    """How a clip or a picture becomes views.

    Raises UserError for an unknown tag or an unreachable hub.
    """
    if modality not in ("video", "image"):
        raise ValueError(f"open_clip reads no {modality}")
    recipe = Recipe.of(spec)
    preprocessing = _resizing(spec, recipe)
    if modality == "image":
        return PictureReader(preprocessing)
    return FrameReader(spec.frames, preprocessing, recipe.frames_at)


def _resizing(spec: ModelSpec, recipe: Recipe) -> Preprocessing:
    """How a picture becomes one of the network's size."""
    height, width = _image_size(spec)
    config = _preprocessing(spec)
    if recipe.resize == "squash":
        return Preprocessing(height, width, "bilinear", "squash", config["fill_color"])
    return Preprocessing(
        height=height,
        width=width,
        # open_clip takes bicubic for everything but bilinear
        interpolation="bilinear" if config["interpolation"] == "bilinear" else "bicubic",
        resize_mode=config["resize_mode"] or "shortest",
        fill_color=config["fill_color"],
    )


def fetch(spec: ModelSpec) -> Fetched:
    """Bring a hub's files to this machine, those of another model's text side too.

    Raises UserError if they cannot be fetched.
    """
    from huggingface_hub import hf_hub_download

    weights = [Path(spec.checkpoint) if spec.checkpoint else _fetch(spec)]
    described = [_description(spec)] if _hub(spec) else []
    text = _model_config(spec)["text_cfg"]
    if network := text.get("hf_model_name"):
        with fetching(spec.name, network):
            hf_hub_download(network, "config.json")
    if text.get("hf_tokenizer_name"):
        _tokenizer(spec)
    borrowed = {text.get(key) for key in ("hf_model_name", "hf_tokenizer_name")} - {None}
    files = [path for repository in sorted(borrowed) for path in cached_files(repository)]
    return Fetched(weights, [*described, *files])


def load(spec: ModelSpec, device: "torch.device") -> "OpenClipEmbedder":
    """The network in evaluation mode on a device.

    Raises UserError, with what to do, when weights cannot be fetched, hold pickled code or do not
    fit the architecture, or a package that the text side needs is missing.
    """
    import open_clip

    tag = _tag(spec)
    tokenizer = _tokenizer(spec)
    weights = Path(spec.checkpoint) if spec.checkpoint else _fetch(spec)
    activation = {"quick_gelu": bool(tag.get("quick_gelu"))} if tag else {}
    borrows = bool(_model_config(spec)["text_cfg"].get("hf_model_name"))
    try:
        with _quiet(), patience() if borrows else nullcontext():
            model = open_clip.create_model(
                _name(spec),
                load_weights=False,
                pretrained_text=False,
                force_preprocess_cfg=_preprocessing(spec),
                **activation,
            )
            open_clip.load_checkpoint(model, str(weights))
    except pickle.UnpicklingError as error:
        raise UserError(
            f"models.{spec.name}: {weights} holds pickled code, which is never run; "
            "save its state dict as safetensors"
        ) from error
    except Exception as error:
        raise UserError(
            f"models.{spec.name}: {weights} does not load as {_name(spec)}: "
            f"{shortened(error)}; check `architecture` and `checkpoint`"
        ) from error
    return OpenClipEmbedder(
        model.to(device).eval(),
        tokenizer,
        device,
        precision(spec.precision, device),
        Recipe.of(spec),
        spec.sha256 if spec.checkpoint else _fetched_sha256(spec, weights),
        _provenance(spec, weights),
    )


class OpenClipEmbedder:
    """A loaded network; see concord.models.base.Embedder."""

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        device: "torch.device",
        kind: str,
        recipe: Recipe,
        weights_sha256: str | None,
        provenance: dict[str, str],
    ) -> None:
        import torch

        self.model, self.tokenizer, self.device, self.kind = model, tokenizer, device, kind
        self.weights_sha256, self.provenance = weights_sha256, provenance
        self.aggregate = recipe.aggregate
        self.passes = Passes(FRAMES_AT_ONCE[device.type])
        own = model.visual.preprocess_cfg
        colours = IMAGENET if recipe.normalisation == "imagenet" else (own["mean"], own["std"])
        self.mean, self.std = (torch.tensor(c, device=device).reshape(3, 1, 1) for c in colours)

    def embed(self, modality: Modality, inputs: Sequence[np.ndarray] | Sequence[str]) -> np.ndarray:
        """Vectors [N, dim], float32, of N clips or pictures (uint8 [V_i, H, W, 3]) or N texts.

        Their length is 1, but for clips and pictures where the recipe aggregates by `mean`.
        """
        import torch

        with torch.inference_mode(), autocast(self.device, self.kind):
            if modality == "text":
                tokens = self.tokenizer(list(inputs)).to(self.device)
                vectors = unit(self.model.encode_text(tokens))
            else:
                frames = torch.from_numpy(np.concatenate(inputs))
                passes = torch.split(frames, self.passes.most)
                each = torch.cat([self._frames(part) for part in passes])
                parts = torch.split(each, [len(views) for views in inputs])
                vectors = torch.stack([part.mean(dim=0) for part in parts])
                vectors = unit(vectors) if self.aggregate == "unit" else vectors
        result: np.ndarray = vectors.cpu().numpy()
        return result

    def _frames(self, frames: "torch.Tensor") -> "torch.Tensor":
        """Vectors [N, dim] of uint8 frames [N, H, W, 3], as they go into the mean."""
        images = frames.to(self.device).permute(0, 3, 1, 2).float().div(255)
        vectors = self.model.encode_image(images.sub(self.mean).div(self.std)).float()
        return unit(vectors) if self.aggregate == "unit" else vectors

    def views(self, modality: Modality, given: np.ndarray) -> int:
        """A view a frame; a picture is one."""
        return len(given)

    def truncated(self, texts: Sequence[str]) -> list[bool]:
        """Which texts are longer than the model reads."""
        length = self.tokenizer.context_length + 1
        *tokens, empty = self.tokenizer([*texts, ""], length)
        return [bool(row[-1] != empty[-1]) for row in tokens]


def _name(spec: ModelSpec) -> str:
    """The model's name in open_clip's own terms."""
    return spec.architecture or f"local-dir:{Path(str(spec.checkpoint)).parent}"


def _hub(spec: ModelSpec) -> str | None:
    """The repository of a model that is wholly described on a hub; None for any other."""
    name = spec.architecture or ""
    return name.removeprefix(HUB) if name.startswith(HUB) else None


def _description(spec: ModelSpec) -> Path:
    """The file that describes a model in a folder or on a hub."""
    from open_clip.pretrained import download_pretrained_from_hf

    repository = _hub(spec)
    if repository is None:
        return Path(str(spec.checkpoint)).with_name(OpenClip.description)
    with fetching(spec.name, repository):
        return Path(download_pretrained_from_hf(repository, OpenClip.description))


def _layout(spec: ModelSpec) -> dict[str, Any]:
    """model_cfg and preprocess_cfg of a model in a folder or on a hub; empty for built-in ones."""
    if spec.architecture and not _hub(spec):
        return {}
    path = _description(spec)
    layout = read_settings(path)
    for part in ("model_cfg.vision_cfg", "model_cfg.text_cfg"):
        if not isinstance(setting(layout, part, path), dict):
            raise UserError(
                f"{path}: found no {part}, expected open_clip's description of the network; copy "
                "the file again"
            )
    return layout


def _tag(spec: ModelSpec) -> dict[str, Any]:
    """What open_clip knows of the pretrained tag; empty without a tag."""
    import open_clip

    if not spec.pretrained or not spec.architecture or _hub(spec):
        return {}
    known: dict[str, Any] = open_clip.get_pretrained_cfg(spec.architecture, spec.pretrained)
    if not known:
        tags = open_clip.list_pretrained_tags_by_model(spec.architecture)
        raise UserError(
            f"models.{spec.name}.pretrained: {spec.architecture} has no tag {spec.pretrained!r}"
            f"{did_you_mean(spec.pretrained, tags)}; it has: {', '.join(tags) or 'none'}"
        )
    return known


def _preprocessing(spec: ModelSpec) -> dict[str, Any]:
    """open_clip's preprocessing settings, size apart: of the folder or hub, else of the tag."""
    from open_clip.transform import PreprocessCfg, merge_preprocess_dict

    own = _layout(spec).get("preprocess_cfg") or _tag(spec)
    settings: dict[str, Any] = merge_preprocess_dict(PreprocessCfg(), own)
    del settings["size"]
    return settings


def _model_config(spec: ModelSpec) -> dict[str, Any]:
    """open_clip's description of the architecture."""
    import open_clip

    known: dict[str, Any] | None = _layout(spec).get("model_cfg") or open_clip.get_model_config(
        spec.architecture
    )
    if known is None:
        raise UserError(
            f"models.{spec.name}.architecture: open_clip has none named {spec.architecture!r}"
        )
    return known


def _image_size(spec: ModelSpec) -> tuple[int, int]:
    """Height and width of the network's input."""
    size = _model_config(spec)["vision_cfg"].get("image_size", 224)
    height, width = size if isinstance(size, list | tuple) else (size, size)
    return height, width


def _fetch(spec: ModelSpec) -> Path:
    """The weight file of a tag or hub model, downloaded unless it is in the hub's cache."""
    from open_clip.pretrained import download_pretrained, download_pretrained_from_hf

    repository = _hub(spec)
    if repository:
        with fetching(spec.name, repository):
            return Path(download_pretrained_from_hf(repository))
    tag = _tag(spec)
    with fetching(spec.name, tag.get("hf_hub") or tag.get("url", "")):
        return Path(download_pretrained(tag))


def _tokenizer(spec: ModelSpec) -> Any:
    """The tokeniser of the model's text side, from the hub if it is not open_clip's own."""
    import open_clip

    repository = _model_config(spec)["text_cfg"].get("hf_tokenizer_name")
    try:
        with _quiet(), fetching(spec.name, repository) if repository else nullcontext():
            return open_clip.get_tokenizer(_name(spec))
    except ImportError as error:
        raise UserError(
            f"models.{spec.name}: {error}; the text side of {_name(spec)} needs this package: "
            "install it into the environment, or choose another model"
        ) from error


def _fetched_sha256(spec: ModelSpec, weights: Path) -> str:
    """Digest of downloaded weights. Raises UserError if another one is configured."""
    found = fetched_sha256(weights)
    if spec.sha256 and found != spec.sha256.lower():
        raise UserError(
            f"models.{spec.name}.sha256: {weights} has the digest {found}, expected "
            f"{spec.sha256}; correct the key, or delete the file so that it is fetched again"
        )
    return found


def _provenance(spec: ModelSpec, weights: Path) -> dict[str, str]:
    """What of a hub decides numbers beside the weights; nothing for a local file."""
    if spec.checkpoint:
        return {}
    found = {"revision": revision(weights)}
    if _hub(spec):
        found["config_sha256"] = sha256(_description(spec))
    return {key: value for key, value in found.items() if value}


@contextmanager
def _quiet() -> Iterator[None]:
    """Hold back open_clip's warning that the network starts with random weights: it does not."""
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
