"""How the views of each trunk become tokens."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

VOCABULARY, TEXT_LENGTH = 49408, 77
EPS = 1e-5
FRAMES = 2


@dataclass(frozen=True)
class Cut:
    """How an input [channels, *size] is cut into patches, and the stem's name in the state dict."""

    stem: str
    channels: int
    size: tuple[int, ...]
    kernel: tuple[int, ...]
    stride: tuple[int, ...]

    @property
    def count(self) -> int:
        """Patches of one view."""
        axes = zip(self.size, self.kernel, self.stride, strict=True)
        return math.prod((size - kernel) // stride + 1 for size, kernel, stride in axes)

    def __call__(self, views: Tensor) -> Tensor:
        """Patches [N, count, channels * kernel] of views [N, channels, *size]."""
        found, expected = tuple(views.shape[1:]), (self.channels, *self.size)
        if found != expected:
            raise ValueError(f"a view has the shape {found}, expected {expected}")
        axes = len(self.size)
        for axis, (kernel, stride) in enumerate(zip(self.kernel, self.stride, strict=True)):
            views = views.unfold(2 + axis, kernel, stride)
        return views.movedim(1, 1 + axes).flatten(1 + axes).flatten(1, axes)


CUTS = {
    "vision": Cut("rgbt_stem", 3, (FRAMES, 224, 224), (FRAMES, 14, 14), (FRAMES, 14, 14)),
    "audio": Cut("rgbt_stem", 1, (128, 204), (16, 16), (10, 10)),
    "depth": Cut("depth_stem", 1, (224, 224), (16, 16), (16, 16)),
    "thermal": Cut("rgbt_stem", 1, (224, 224), (16, 16), (16, 16)),
    "imu": Cut("imu_stem", 6, (2000,), (8,), (8,)),
}


class PatchStem(nn.Module):
    """Patches, projected, after a class token, with positions added.

    The projection is a matrix product over patches, whatever their number of axes: equal to the
    convolution that has these weights, and free of questions of memory layout.
    """

    def __init__(self, trunk: str, width: int) -> None:
        super().__init__()
        self.cut = cut = CUTS[trunk]
        inputs = cut.channels * math.prod(cut.kernel)
        shape = (inputs,) if trunk == "imu" else (cut.channels, *cut.kernel)
        self.projection = f"{cut.stem}.proj.{'1.' if trunk == 'vision' else ''}weight"
        self.positions = ("" if trunk == "imu" else "pos_embedding_helper.") + "pos_embed"
        self.norm = None if trunk == "vision" else f"{cut.stem}.norm_layer"
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        _place(self, self.projection, torch.empty(width, *shape).normal_(0, inputs**-0.5))
        _place(self, self.positions, torch.empty(1, 1 + cut.count, width).normal_(0, 0.02))
        if self.norm:
            _place(self, f"{self.norm}.weight", torch.ones(width))
            _place(self, f"{self.norm}.bias", torch.zeros(width))

    def forward(self, views: Tensor) -> Tensor:
        """Tokens [N, 1 + patches, width] of views [N, channels, *size].

        An image, [N, 3, 224, 224] where frames are expected, is seen as frames that are the same.
        Raises ValueError for views of another size.
        """
        if views.ndim == 4 and len(self.cut.size) == 3:
            views = views.unsqueeze(2).expand(-1, -1, FRAMES, -1, -1)
        weight = self.get_parameter(self.projection).flatten(1)
        positions = self.get_parameter(self.positions)
        tokens = F.linear(self.cut(views).to(weight.dtype), weight).to(positions.dtype)
        if self.norm:
            scale, shift = (self.get_parameter(f"{self.norm}.{n}") for n in ("weight", "bias"))
            tokens = F.layer_norm(tokens, scale.shape, scale, shift, EPS)
        return torch.cat([self.cls_token.expand(len(tokens), -1, -1), tokens], 1) + positions

    def hold(self, dtype: torch.dtype) -> None:
        """Keep the projection in another type; positions and normalisation stay."""
        projection = self.get_parameter(self.projection)
        projection.data = projection.data.to(dtype)


class TextStem(nn.Module):
    """Token ids to tokens, with positions added."""

    mask: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.pos_embed = nn.Parameter(torch.empty(1, TEXT_LENGTH, width).normal_(0, 0.02))
        self.token_embedding = nn.Embedding(VOCABULARY, width)
        later = torch.full((TEXT_LENGTH, TEXT_LENGTH), -math.inf).triu(1)
        self.register_buffer("mask", later)  # published beside the weights; attention is causal

    def forward(self, ids: Tensor) -> Tensor:
        """Tokens [N, L, width] of token ids [N, L], L at most TEXT_LENGTH."""
        tokens: Tensor = self.token_embedding(ids)
        return tokens + self.pos_embed[:, : ids.shape[1]]


def _place(module: nn.Module, path: str, value: Tensor) -> None:
    """Make a tensor a parameter of `module` under a dotted name of the published file."""
    *names, last = path.split(".")
    for name in names:
        if name not in dict(module.named_children()):
            module.add_module(name, nn.Module())
        module = module.get_submodule(name)
    module.register_parameter(last, nn.Parameter(value))
