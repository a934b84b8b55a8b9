"""A loaded network of the family: inputs to unit vectors."""

import pickle
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from concord.errors import UserError
from concord.models.base import Modality, ModelSpec
from concord.models.devices import precision
from concord.models.transformers.architectures import (
    ARCHITECTURES,
    Architecture,
    check_frames,
)
from concord.models.transformers.checkpoint import local_folder, weights_sha256

if TYPE_CHECKING:
    import torch

BYTES_AT_ONCE = 20_000_000
"""Of inputs in one pass on a CPU, where more cost memory and gain nothing."""
UNLIMITED = 10**6
"""Tokenizers that know no limit give a larger number."""
LOCAL = {"local_files_only": True, "trust_remote_code": False}


def load_embedder(spec: ModelSpec, device: "torch.device") -> "TransformersEmbedder":
    """As concord.models.transformers.load."""
    folder = local_folder(spec)
    model = _model(spec, folder)
    check_frames(spec, model.config.to_dict())
    return TransformersEmbedder(
        model.to(device).eval(),
        _tokenizer(spec, folder),
        ARCHITECTURES[str(spec.architecture)],
        spec.options.get("heads"),
        device,
        precision(spec.precision, device),
        weights_sha256(spec, folder),
    )


class TransformersEmbedder:
    """A loaded network; see concord.models.base.Embedder."""

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        architecture: Architecture,
        heads: str | None,
        device: "torch.device",
        kind: str,
        weights_sha256: str,
    ) -> None:
        import torch

        self.model, self.tokenizer, self.device = model, tokenizer, device
        self.architecture, self.modalities = architecture, architecture.embeds(heads)
        self.weights_sha256 = weights_sha256
        self.dtype = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[kind]
        self.longest = _longest_text(tokenizer, model.config)

    def embed(self, modality: Modality, inputs: Sequence[np.ndarray] | Sequence[str]) -> np.ndarray:
        """Unit vectors [N, dim], float32, of N clips (records of a reader) or N texts."""
        import torch

        if modality not in self.modalities:
            raise ValueError(f"{self.architecture.name} with these heads embeds no {modality}")
        with (
            torch.inference_mode(),
            torch.autocast(self.device.type, self.dtype, enabled=self.dtype is not None),
        ):
            if modality == "text":
                vectors = self._texts([str(text) for text in inputs])
            else:
                vectors = self._clips(modality, [np.asarray(given) for given in inputs])
        result: np.ndarray = vectors.cpu().numpy()
        return result

    def views(self, modality: Modality, given: np.ndarray) -> int:
        """A view a record."""
        return len(given)

    def truncated(self, texts: Sequence[str]) -> list[bool]:
        """Which texts are longer than the model reads."""
        tokens = self.tokenizer(self._as_trained(texts), verbose=False)["input_ids"]
        return [len(row) > self.longest for row in tokens]

    def _texts(self, texts: list[str]) -> "torch.Tensor":
        tokens = self.tokenizer(
            self._as_trained(texts),
            padding="max_length" if self.architecture.full_length_texts else True,
            truncation=True,
            max_length=self.longest,
            return_tensors="pt",
        )
        known = self.model.config.text_config.vocab_size
        if (largest := int(tokens["input_ids"].max())) >= known:
            raise ValueError(
                f"token {largest}, but the network knows {known}: the tokenizer is of another one"
            )
        if self.architecture.full_length_texts:
            tokens.pop("attention_mask", None)  # SigLIP was trained to read its padding
        return _unit(self._features("text")(**tokens.to(self.device)))

    def _as_trained(self, texts: Sequence[str]) -> list[str]:
        """In lower case for SigLIP and SigLIP 2, whose tokenizers do not all see to it."""
        lower = self.architecture.full_length_texts
        return [text.lower() if lower else text for text in texts]

    def _clips(self, modality: Modality, inputs: list[np.ndarray]) -> "torch.Tensor":
        """Unit vectors [N, dim] of records; those of one shape go through the network together."""
        import torch

        groups: dict[np.dtype[Any], list[int]] = {}
        for index, given in enumerate(inputs):
            groups.setdefault(given.dtype, []).append(index)
        found: dict[int, torch.Tensor] = {}
        for members in groups.values():
            views = self._views(modality, np.concatenate([inputs[i] for i in members]))
            parts = torch.split(views, [len(inputs[i]) for i in members])
            found |= {i: part.mean(dim=0) for i, part in zip(members, parts, strict=True)}
        return _unit(torch.stack([found[i] for i in range(len(inputs))]))

    def _views(self, modality: Modality, records: np.ndarray) -> "torch.Tensor":
        """Unit vectors [V, dim] of V records."""
        import torch

        at_once = len(records)
        if self.device.type != "cuda":
            at_once = max(1, BYTES_AT_ONCE // records.itemsize)
        features = self._features(modality)
        parts = [records[start : start + at_once] for start in range(0, len(records), at_once)]
        return torch.cat([_unit(features(**self._tensors(part))) for part in parts])

    def _tensors(self, records: np.ndarray) -> dict[str, "torch.Tensor"]:
        import torch

        return {
            name: torch.from_numpy(records[name].copy(order="C")).to(self.device)
            for name in records.dtype.names or ()
        }

    def _features(self, modality: Modality) -> Any:
        """The call that gives the embeddings of a modality."""
        if self.architecture.name.startswith("pe_"):
            return partial(self._pe_features, modality)
        if modality == "video" and self.architecture.sees == "frames":
            return self.model.get_image_features
        return getattr(self.model, f"get_{modality}_features")

    def _pe_features(self, modality: Modality, **inputs: Any) -> Any:
        """Embeddings of PE-AV, as its forward pass computes them; its own methods for it fail.

        Texts have one head for pictures and another for sound: the one of the modality they are
        compared with.
        """
        compared = {"text": next(m for m in self.modalities if m != "text")}
        kind = compared.get(modality, modality)
        part = getattr(self.model, f"{kind}_model", self.model)
        if modality == "text":
            states = part.text_model(**inputs, output_hidden_states=True).hidden_states
            return getattr(part, f"text_{kind}_head")(states[-1][:, 0])
        encoded = getattr(part, f"{kind}_encoder")(**inputs).pooler_output
        return getattr(part, f"{kind}_head")(encoded)


def _model(spec: ModelSpec, folder: Path) -> Any:
    """The network with its weights, in float32 on the CPU; UserError if they are not complete."""
    import torch
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        model, notes = _network(str(spec.architecture)).from_pretrained(
            folder, dtype=torch.float32, output_loading_info=True, **LOCAL
        )
    except pickle.UnpicklingError as error:
        raise UserError(
            f"models.{spec.name}: the weights in {folder} hold pickled code, which is never run; "
            "save them as safetensors"
        ) from error
    except Exception as error:
        raise UserError(
            f"models.{spec.name}: {folder} does not load as {spec.architecture}: "
            f"{_shortened(error)}; give a folder that `save_pretrained` made"
        ) from error
    if missing := sorted(notes["missing_keys"]):
        raise UserError(
            f"models.{spec.name}: the weights in {folder} lack {len(missing)} tensors of "
            f"{spec.architecture}, such as {missing[0]}; they are of another network"
        )
    return model


def _network(architecture: str) -> Any:
    """The class of an architecture's network."""
    from transformers import AutoModel, PeAudioVideoModel

    if architecture != "pe_audio_video":
        return AutoModel

    # newer timm has one more buffer in its rotary embedding; only parameters can be tied
    tied = {
        copy.replace(r"\.rope\.pos_embed", r"\.rope\."): original.replace(
            r"\.rope\.pos_embed", r"\.rope\."
        )
        for copy, original in PeAudioVideoModel._tied_weights_keys.items()
    }
    return type("PeAudioVideo", (PeAudioVideoModel,), {"_tied_weights_keys": tied})


def _tokenizer(spec: ModelSpec, folder: Path) -> Any:
    """The checkpoint's tokenizer; UserError if it is not there."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, **LOCAL)
    except Exception as error:
        raise UserError(
            f"models.{spec.name}: the tokenizer in {folder} does not load: {_shortened(error)}; "
            "save processor and tokenizer beside the network (`save_pretrained`)"
        ) from error
    files = {"tokenizer.json", *tokenizer.vocab_files_names.values()}
    if not any((folder / name).is_file() for name in files):  # transformers then makes an empty one
        raise UserError(
            f"models.{spec.name}: {folder} has no tokenizer ({', '.join(sorted(files))}); save "
            "processor and tokenizer beside the network (`save_pretrained`)"
        )
    return tokenizer


def _longest_text(tokenizer: Any, config: Any) -> int:
    """Tokens that the text side reads: the tokenizer's limit, and never more than its positions."""
    text = config.text_config
    positions = int(text.max_position_embeddings)
    if text.model_type in ("clap_text_model", "altclip_text_model"):
        positions -= int(text.pad_token_id) + 1  # RoBERTa counts from after the padding's index
    limit = int(tokenizer.model_max_length)
    return min(positions, limit) if limit < UNLIMITED else positions


def _unit(features: Any) -> "torch.Tensor":
    """Unit vectors [N, dim], float32, of embeddings, or of an output that holds them."""
    from torch.nn.functional import normalize

    vectors = getattr(features, "pooler_output", features)
    return normalize(vectors.float(), dim=-1)


def _shortened(error: BaseException) -> str:
    """The first 300 characters of an error, on one line."""
    return " ".join(str(error).split())[:300]
