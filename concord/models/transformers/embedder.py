"""A loaded network of the family: inputs to unit vectors."""

import pickle
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from concord.errors import UserError, shortened
from concord.models.base import Modality, ModelSpec
from concord.models.devices import autocast, precision
from concord.models.passes import Passes
from concord.models.transformers.architectures import (
    ARCHITECTURES,
    Architecture,
    check_frames,
)
from concord.models.transformers.checkpoint import local_folder, provenance, weights_sha256
from concord.models.transformers.texts import load_tokenizer, longest_text
from concord.models.vectors import unit

if TYPE_CHECKING:
    import torch

BYTES_AT_ONCE = {"cpu": 20_000_000, "cuda": 640_000_000}
"""Of inputs in one pass by device; more cost memory and gain nothing."""


def load_embedder(spec: ModelSpec, device: "torch.device") -> "TransformersEmbedder":
    """As concord.models.transformers.load."""
    folder = local_folder(spec)
    model = _model(spec, folder)
    check_frames(spec, model.config.to_dict(), folder / "config.json")
    return TransformersEmbedder(
        model.to(device).eval(),
        load_tokenizer(spec, folder, model.config),
        ARCHITECTURES[str(spec.architecture)],
        spec.options.get("heads"),
        device,
        precision(spec.precision, device),
        weights_sha256(spec, folder),
        provenance(spec, folder),
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
        provenance: dict[str, str],
    ) -> None:
        self.model, self.tokenizer, self.device, self.kind = model, tokenizer, device, kind
        self.architecture, self.modalities = architecture, architecture.embeds(heads)
        self.weights_sha256, self.provenance = weights_sha256, provenance
        self.longest = longest_text(tokenizer, model.config)
        self.passes = Passes()

    def embed(self, modality: Modality, inputs: Sequence[np.ndarray] | Sequence[str]) -> np.ndarray:
        """Unit vectors [N, dim], float32, of N clips (records of a reader) or N texts."""
        import torch

        if modality not in self.modalities:
            raise ValueError(f"{self.architecture.name} with these heads embeds no {modality}")
        with torch.inference_mode(), autocast(self.device, self.kind):
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
        if self.architecture.full_length_texts:
            tokens.pop("attention_mask", None)  # SigLIP was trained to read its padding
        return _directions(self._features("text")(**tokens.to(self.device)))

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
        return unit(torch.stack([found[i] for i in range(len(inputs))]))

    def _views(self, modality: Modality, records: np.ndarray) -> "torch.Tensor":
        """Unit vectors [V, dim] of V records."""
        import torch

        fitting = max(1, BYTES_AT_ONCE[self.device.type] // records.itemsize)
        at_once = min(fitting, self.passes.most)
        features = self._features(modality)
        parts = [records[start : start + at_once] for start in range(0, len(records), at_once)]
        return torch.cat([_directions(features(**self._tensors(part))) for part in parts])

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
            folder,
            dtype=torch.float32,
            output_loading_info=True,
            local_files_only=True,
            trust_remote_code=False,
        )
    except pickle.UnpicklingError as error:
        raise UserError(
            f"models.{spec.name}: the weights in {folder} hold pickled code, which is never run; "
            "save them as safetensors"
        ) from error
    except Exception as error:
        raise UserError(
            f"models.{spec.name}: {folder} does not load as {spec.architecture}: "
            f"{shortened(error)}; give a folder that `save_pretrained` made"
        ) from error
    if missing := sorted(notes["missing_keys"]):
        raise UserError(
            f"models.{spec.name}: the weights in {folder} lack {len(missing)} tensors of "
            f"{spec.architecture}, such as {missing[0]}; they are of another network"
        )
    return model


def _network(architecture: str) -> Any:
    """The class of an architecture's network."""
    import transformers

    if architecture != "pe_audio_video":
        return transformers.AutoModel

    # transformers 5.23.0 ties the buffers of timm's rotary embedding but for one, and timm 1.0.31
    # has another (`bands`); only parameters can be tied, so here none of the buffers is
    known = getattr(transformers.PeAudioVideoModel, "_tied_weights_keys", None)
    if not isinstance(known, dict):
        raise UserError(
            f"transformers {transformers.__version__} builds PE-AV otherwise than 5.23, which this "
            "was written for; install the version of envs/requirements.lock (run `make` again)"
        )
    pattern = r"\.rope\.pos_embed", r"\.rope\."
    tied = {copy.replace(*pattern): original.replace(*pattern) for copy, original in known.items()}
    return type("PeAudioVideo", (transformers.PeAudioVideoModel,), {"_tied_weights_keys": tied})


def _directions(features: Any) -> "torch.Tensor":
    """Unit vectors [N, dim], float32, of embeddings, or of an output that holds them."""
    return unit(getattr(features, "pooler_output", features))
