"""Steps of training: the same weights, data and optimizer on both sides."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks import peers
from benchmarks.rows import Contest
from patchword.models.model import count_parameters
from patchword.tasks.losses import chunked_cross_entropy

GPT = peers.TextShape(dim=384, depth=6, heads=6, vocab_size=8192, max_len=128)
VIT_S16 = peers.ImageShape(dim=384, depth=12, heads=6, side=224, patch=16)
BATCH = 8
CLASSES = 1000


def gpt() -> list[Contest]:
    """Forward, loss, backward and AdamW of a GPT-2."""
    return [_gpt_step("eager", "gelu_new"), _gpt_step("sdpa", "gelu_new"), _gpt_step("sdpa", "gelu_pytorch_tanh")]


def _gpt_step(attention: str, activation: str) -> Contest:
    torch.manual_seed(0)
    ours, peer = peers.gpt2(GPT, attention, activation)
    ids = torch.randint(GPT.vocab_size, (BATCH, GPT.max_len))

    def our_loss() -> Tensor:
        x = ours({"text": ids}, heads=()).towers["text"].x
        total = chunked_cross_entropy(
            x[:, :-1].flatten(0, 1), ours.heads["text"].proj.weight, None, ids[:, 1:].flatten()
        )
        return total / ids[:, 1:].numel()

    def their_loss() -> Tensor:
        return peer(input_ids=ids, labels=ids, use_cache=False).loss

    label = f"Hugging Face GPT-2, {attention}" + (", fused GELU" if activation != "gelu_new" else "")
    facts = _check(ours, our_loss, their_loss)
    return Contest(
        "training step, GPT 6 x 384, 128 x 8", label, _stepping(ours, our_loss), _stepping(peer, their_loss), 12, facts
    )


def vit() -> list[Contest]:
    """Forward and backward of a ViT-S/16."""
    torch.manual_seed(0)
    ours, peer = peers.vit(VIT_S16, CLASSES)
    pixels = torch.randint(256, (BATCH, 3, VIT_S16.side, VIT_S16.side), dtype=torch.uint8)
    prepared = (pixels.float() / 255 - 0.5) / 0.5  # ours does this itself, in its own time
    labels = torch.randint(CLASSES, (BATCH,))

    def our_loss() -> Tensor:
        return F.cross_entropy(ours({"image": pixels}).heads["label"], labels)

    def their_loss() -> Tensor:
        return F.cross_entropy(peer(pixel_values=prepared).logits, labels)

    facts = _check(ours, our_loss, their_loss)
    task = "forward + backward, ViT-S/16, 224 px x 8"
    return [Contest(task, "Hugging Face ViT, sdpa", _backward(ours, our_loss), _backward(peer, their_loss), 5, facts)]


def _check(ours: nn.Module, our_loss: Callable[[], Tensor], their_loss: Callable[[], Tensor]) -> dict[str, str]:
    with torch.no_grad():
        first, second = our_loss().item(), their_loss().item()
    assert abs(first - second) < 1e-4 * second, f"on equal weights our loss is {first}, the peer's {second}"
    return {
        "parameters of each": f"{count_parameters(ours):,}",
        "losses on equal weights differ by": f"{abs(first - second):.1e}",
    }


def _stepping(model: nn.Module, loss: Callable[[], Tensor]) -> Callable[[], None]:
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)

    def step() -> None:
        loss().backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def _backward(model: nn.Module, loss: Callable[[], Tensor]) -> Callable[[], None]:
    def step() -> None:
        loss().backward()
        model.zero_grad()

    return step
