"""Embeddings as vectors."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def unit(vectors: "torch.Tensor") -> "torch.Tensor":
    """Vectors [N, dim] with length 1, float32."""
    from torch.nn.functional import normalize

    return normalize(vectors.float(), dim=-1)
