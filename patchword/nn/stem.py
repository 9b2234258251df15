"""Convolutions before the patches are cut: transformers that start from little data see better with them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ConvStem(nn.Module):
    """3x3 convolutions of stride 2 with GELU between (Xiao et al. 2021, "Early convolutions help transformers see better").

    A picture in the top left corner of a larger canvas gives what it gives alone: a window of stride 2 over an even side
    never reaches past its end.

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

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, height, width] -> [B, out_channels, height / factor, width / factor]."""
        if not x.numel():  # no picture: nothing to see, but every weight stays in the graph
            nothing = sum((p.sum() * 0 for p in self.parameters()), torch.zeros((), device=x.device, dtype=x.dtype))
            shape = (x.shape[0], self.out_channels, x.shape[2] // self.factor, x.shape[3] // self.factor)
            return x.new_zeros(shape) + nothing
        for conv in self.convs:
            x = F.gelu(conv(x))
        return x
