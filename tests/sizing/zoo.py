"""How the operations that counters miss are run, and their sizes."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

aten: Any = torch.ops.aten
B, T, S, D, H, E = 2, 6, 5, 12, 2, 6


def numbers(*shape: int) -> Tensor:
    return torch.randn(shape, requires_grad=True)


def both_ways(run: Callable[[], Any]) -> Callable[[], None]:
    """Forward, and backward from the sum of the first tensor."""

    def step() -> None:
        out = run()
        (out if isinstance(out, Tensor) else out[0]).sum().backward()

    return step


@contextmanager
def deprecations_ignored() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def quantised(module: nn.Module, *shape: int) -> Callable[[], None]:
    with deprecations_ignored():
        made = torch.ao.quantization.quantize_dynamic(nn.Sequential(module), {nn.Linear, nn.LSTM, nn.GRU})
    return lambda: made(torch.randn(shape))


def attend(causal: bool = False, groups: int = H, mask: Tensor | None = None, keys: int = S) -> Tensor:
    q, k, v = numbers(B, H, T, E), numbers(B, groups, keys, E), numbers(B, groups, keys, E)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal, enable_gqa=groups != H)


def without_gradients(module: nn.Module, *given: Any, **named: Any) -> Callable[[], None]:
    def run() -> None:
        with torch.no_grad():
            module.eval()(*given, **named)

    return run


def under_inference(run: Callable[[], Any]) -> Callable[[], None]:
    def inside() -> None:
        with torch.inference_mode():
            run()

    return inside


def on(device: str, run: Callable[[], Any]) -> Callable[[], None]:
    def inside() -> None:
        with torch.device(device):
            run()

    return inside


PAIRS = 2 * B * H * T * S * E
"""One product of all pairs."""
SQUARE = 2 * B * H * T * T * E
MAPS = 8 * B * T * D * D
"""Queries, keys, values and results of a layer of attention."""
MHA = MAPS + 4 * B * T * T * D
X = torch.randn(B, T, D)
