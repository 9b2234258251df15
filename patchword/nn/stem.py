"""Convolutions before the patches are cut: transformers that start from little data see better with them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class PictureNorm(nn.Module):
    """Each channel to mean 0 and variance 1 over a picture, then a learned gain and offset (Ulyanov et al. 2016).

    It takes the brightness and contrast of the whole out. Without it a stem needs many times the samples to tell small
    shapes apart (docs/results.md); batch norm does as well, but makes samples depend on one another.
    """

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.gain, self.bias = nn.Parameter(torch.empty(channels, 1, 1)), nn.Parameter(torch.empty(channels, 1, 1))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Gain 1, offset 0."""
        nn.init.ones_(self.gain)
        nn.init.zeros_(self.bias)

    def forward(self, x: Tensor, size: Tensor | None = None) -> Tensor:
        """[B, C, height, width] -> same; `size` int [B, 2] is how much of the canvas is picture (None: all)."""
        if size is None:
            return F.group_norm(x, x.shape[1], self.gain.flatten(), self.bias.flatten(), self.eps)  # one fused pass
        rows, columns = (torch.arange(n, device=x.device) < size[:, i, None] for i, n in enumerate(x.shape[2:]))
        inside = (rows[:, None, :, None] & columns[:, None, None, :]).to(x.dtype)
        count = inside.sum((2, 3), keepdim=True).clamp_min(1)
        centred = x - (x * inside).sum((2, 3), keepdim=True) / count
        variance = (centred.square() * inside).sum((2, 3), keepdim=True) / count
        return centred * ((variance + self.eps).rsqrt() * self.gain) + self.bias


class ConvStem(nn.Module):
    """3x3 convolutions of stride 2 with GELU between (Xiao et al. 2021, Early convolutions help transformers).

    The first is normalised over the picture. A picture in the top left corner of a larger canvas gives what it gives
    alone: a window of stride 2 over an even side never reaches past its end.

    Args:
        channels: channels of the pixels (C).
        widths: channels after each convolution; each halves height and width.
    """

    def __init__(self, channels: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            nn.Conv2d(a, b, kernel_size=3, stride=2, padding=1)
            for a, b in zip([channels, *widths], widths, strict=False)
        )
        self.norm = PictureNorm(widths[0]) if widths else None
        self.out_channels = widths[-1] if widths else channels
        self.factor = 2 ** len(widths)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Weights that keep the variance through GELU, no offsets."""
        for conv in self.convs:
            assert isinstance(conv, nn.Conv2d)
            assert conv.bias is not None
            nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
            nn.init.zeros_(conv.bias)

    def forward(self, x: Tensor, size: Tensor | None = None) -> Tensor:
        """[B, C, height, width] -> [B, out_channels, height / factor, width / factor].

        `size`, int [B, 2], is how much of the canvas is picture, in pixels; None: all.
        """
        if not x.numel():  # no picture: nothing to see, but every weight stays in the graph
            nothing = sum((p.sum() * 0 for p in self.parameters()), torch.zeros((), device=x.device, dtype=x.dtype))
            shape = (x.shape[0], self.out_channels, x.shape[2] // self.factor, x.shape[3] // self.factor)
            return x.new_zeros(shape) + nothing
        for i, conv in enumerate(self.convs):
            x = conv(x)
            if i == 0 and self.norm is not None:
                x = self.norm(x, None if size is None else size // 2)
            x = F.gelu(x)
        return x
