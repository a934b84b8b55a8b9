"""ImageBind (Girdhar et al., CVPR 2023, arXiv:2305.05665): six trunks, one space.

The names and shapes in its state dict are those of the published imagebind_huge.pth, so that the
file loads unchanged. A view goes through stem, blocks, head and scale; a view is an image or two
frames, a log-mel spectrogram, a depth or thermal map, a stretch of motion readings, or a text.
"""

import math
from collections.abc import Collection
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from concord.models.imagebind.config import ImageBindConfig, TrunkConfig
from concord.models.imagebind.stems import PatchStem, TextStem

EPS = 1e-6
SCALES = {"text": 1 / 0.07, "audio": 20.0, "depth": 5.0, "thermal": 10.0, "imu": 5.0}
"""Lengths of a new network's embeddings; those of vision are unit vectors."""
MAX_SCALE = 100.0


class Attention(nn.Module):
    """Multi-head self-attention, fused; `extra`: one learned key and value beside the tokens'."""

    def __init__(self, config: TrunkConfig, *, extra: bool, causal: bool) -> None:
        super().__init__()
        width = config.width
        self.heads, self.causal = config.heads, causal
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width).normal_(0, width**-0.5))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)
        self.extra = extra
        if extra:
            self.bias_k = nn.Parameter(torch.empty(1, 1, width).normal_(0, 0.02))
            self.bias_v = nn.Parameter(torch.empty(1, 1, width).normal_(0, 0.02))

    def forward(self, tokens: Tensor, at: Tensor | None = None) -> Tensor:
        """Tokens [N, L, width] to the same shape; with positions `at` [N], to theirs alone."""
        weight, bias, mask = self.in_proj_weight, self.in_proj_bias, None
        if at is None:
            query, key, value = F.linear(tokens, weight, bias).chunk(3, -1)
        else:
            width = tokens.shape[-1]
            query = F.linear(_pick(tokens, at), weight[:width], bias[:width])
            key, value = F.linear(tokens, weight[width:], bias[width:]).chunk(2, -1)
            if self.causal:
                positions = torch.arange(tokens.shape[1], device=tokens.device)
                mask = (positions <= at[:, None])[:, None, None]
        if self.extra:
            key = torch.cat([key, self.bias_k.expand(len(key), -1, -1)], 1)
            value = torch.cat([value, self.bias_v.expand(len(value), -1, -1)], 1)
        split = self._split(query), self._split(key), self._split(value)
        causal = self.causal and at is None
        mixed = F.scaled_dot_product_attention(*split, attn_mask=mask, is_causal=causal)
        out: Tensor = self.out_proj(mixed.transpose(1, 2).flatten(2))
        return out

    def _split(self, tokens: Tensor) -> Tensor:
        """[N, L, width] to [N, heads, L, width / heads]."""
        return tokens.view(*tokens.shape[:2], self.heads, -1).transpose(1, 2)


def _pick(tokens: Tensor, at: Tensor) -> Tensor:
    """The tokens [N, 1, width] at positions [N] of tokens [N, L, width]."""
    return tokens.take_along_dim(at[:, None, None], 1)


class Mlp(nn.Module):
    """Two layers, four times as wide between, with the exact GELU."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        out: Tensor = self.fc2(F.gelu(self.fc1(tokens)))
        return out


class Block(nn.Module):
    """Attention and MLP, each after a LayerNorm and added to what came in."""

    def __init__(self, config: TrunkConfig, *, extra: bool, causal: bool) -> None:
        super().__init__()
        self.attn = Attention(config, extra=extra, causal=causal)
        self.norm_1 = nn.LayerNorm(config.width, eps=EPS)
        self.mlp = Mlp(config.width)
        self.norm_2 = nn.LayerNorm(config.width, eps=EPS)

    def forward(self, tokens: Tensor, at: Tensor | None = None) -> Tensor:
        """Tokens [N, L, width] to the same shape; with positions `at` [N], to [N, 1, width]."""
        before = tokens if at is None else _pick(tokens, at)
        tokens = before + cast(Tensor, self.attn(self.norm_1(tokens), at))
        return tokens + cast(Tensor, self.mlp(self.norm_2(tokens)))


class Trunk(nn.Module):
    """A stack of blocks; computes in the type of its matrices, whatever the tokens come in."""

    def __init__(self, name: str, config: TrunkConfig) -> None:
        super().__init__()
        before = [nn.LayerNorm(config.width, eps=EPS)] if name == "vision" else []
        self.pre_transformer_layer = nn.Sequential(*before)
        extra, causal = name not in ("vision", "text"), name == "text"
        self.blocks = nn.ModuleList(
            Block(config, extra=extra, causal=causal) for _ in range(config.blocks)
        )

    @property
    def dtype(self) -> torch.dtype:
        """The type of the matrices."""
        return cast(Block, self.blocks[0]).attn.in_proj_weight.dtype

    def forward(self, tokens: Tensor, at: Tensor) -> Tensor:
        """The token [N, width] at positions `at` [N], after all blocks, in the trunk's type.

        The last block computes nothing but that token. Tokens [N, L, width] may be of any type.
        """
        tokens = self.pre_transformer_layer(tokens).to(self.dtype)
        *most, last = self.blocks
        for block in most:
            tokens = block(tokens)
        read: Tensor = last(tokens, at)
        return read[:, 0]


class Scale(nn.Module):
    """Gives unit vectors a length, which is learned for texts."""

    log_logit_scale: Tensor

    def __init__(self, scale: float, *, learned: bool) -> None:
        super().__init__()
        logarithm = torch.tensor(math.log(scale))
        if learned:
            self.log_logit_scale = nn.Parameter(logarithm)
        else:
            self.register_buffer("log_logit_scale", logarithm)

    def forward(self, vectors: Tensor) -> Tensor:
        return vectors * self.log_logit_scale.exp().clamp(max=MAX_SCALE)


class UnitLength(nn.Module):
    """Divides vectors by their L2 norm."""

    def forward(self, vectors: Tensor) -> Tensor:
        return F.normalize(vectors, dim=-1)


class ImageBind(nn.Module):
    """The network, or those of its trunks that are wanted, with random weights."""

    def __init__(self, config: ImageBindConfig, trunks: Collection[str] | None = None) -> None:
        super().__init__()
        widths = {name: t for name, t in config.trunks.items() if trunks is None or name in trunks}
        self.modality_preprocessors = nn.ModuleDict(
            {
                name: TextStem(t.width) if name == "text" else PatchStem(name, t.width)
                for name, t in widths.items()
            }
        )
        self.modality_trunks = nn.ModuleDict({name: Trunk(name, t) for name, t in widths.items()})
        self.modality_heads = nn.ModuleDict(
            {name: _head(name, t.width, config.dim) for name, t in widths.items()}
        )
        self.modality_postprocessors = nn.ModuleDict(
            {name: _postprocessor(name) for name in widths}
        )

    def forward(self, trunk: str, views: Tensor) -> Tensor:
        """Embeddings [N, dim], float32, of the views of one trunk, or of token ids [N, 77].

        Views: vision [N, 3, 2, 224, 224] or [N, 3, 224, 224], audio [N, 1, 128, 204], depth and
        thermal [N, 1, 224, 224], imu [N, 6, 2000]. Raises ValueError for views of another size.
        """
        if trunk == "text":  # read at its end, which has the highest id
            at = views.argmax(-1)
            views = views[:, : int(at.max()) + 1]  # nothing later has an effect: causal attention
        else:
            at = torch.zeros(len(views), dtype=torch.long, device=views.device)
        read = self.modality_trunks[trunk](self.modality_preprocessors[trunk](views), at)
        head = self.get_submodule(HEAD.get(trunk, f"modality_heads.{trunk}"))
        embeddings: Tensor = self.modality_postprocessors[trunk](head(read.float()))
        return embeddings

    def blocks(self, trunk: str) -> nn.ModuleList:
        """The blocks of a trunk."""
        return cast(Trunk, self.modality_trunks[trunk]).blocks

    def place(self, trunk: str, device: torch.device, dtype: torch.dtype) -> "ImageBind":
        """Move a trunk to a device, and keep its matrices in a type, so that none is cast later.

        Embeddings of words, positions, the norms of stems and the heads stay in float32.
        """
        stem = self.modality_preprocessors[trunk].to(device)
        if isinstance(stem, PatchStem):
            stem.hold(dtype)
        self.modality_trunks[trunk].to(device)
        self.blocks(trunk).to(dtype)
        self.modality_heads[trunk].to(device)
        self.modality_postprocessors[trunk].to(device)
        return self


HEAD = {"text": "modality_heads.text.proj"}
"""Where a head lies that is not at the usual place."""


def _head(name: str, width: int, dim: int) -> nn.Module:
    """LayerNorm and projection of the token that is read, at the published places."""
    norm, projection = nn.LayerNorm(width, eps=EPS), nn.Linear(width, dim, bias=False)
    if name == "text":
        return nn.ModuleDict({"proj": nn.Sequential(norm, projection)})
    between = [nn.Identity() for _ in range(2 if name == "imu" else 1)]
    return nn.Sequential(norm, *between, projection)


def _postprocessor(name: str) -> nn.Module:
    scale = [Scale(SCALES[name], learned=name == "text")] if name in SCALES else []
    return nn.Sequential(UnitLength(), *scale)
