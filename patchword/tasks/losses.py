"""Cross-entropy over a vocabulary without ever holding all scores; of classes, by how hard each sample is."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from patchword.nn.heads import LanguageHead
from patchword.nn.regions import gradient


class _ChunkedCrossEntropy(torch.autograd.Function):
    """Scores, loss and gradients of one chunk of tokens at a time: nothing is computed twice, nothing large is kept."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, target: Tensor, smoothing: float, chunk: int
    ) -> Tensor:
        wanted = [x.requires_grad, weight.requires_grad, bias is not None and bias.requires_grad]
        total = torch.zeros((), dtype=torch.promote_types(x.dtype, torch.float32), device=x.device)
        grad_x = torch.empty_like(x) if wanted[0] else None
        grad_weight = torch.zeros_like(weight) if wanted[1] else None
        grad_bias = torch.zeros_like(bias) if bias is not None and wanted[2] else None
        narrow = weight.to(x.dtype)
        for start in range(0, len(x), chunk):
            rows = slice(start, start + chunk)
            scores = x[rows] @ narrow.T
            if bias is not None:
                scores += bias.to(scores.dtype)
            loss, grad = _loss_and_gradient(scores.to(total.dtype), target[rows], smoothing, any(wanted))
            total += loss
            if grad is None:
                continue
            with gradient():
                grad = grad.to(x.dtype)
                if grad_x is not None:
                    torch.mm(grad, narrow, out=grad_x[rows])
                if grad_weight is not None:
                    grad_weight.addmm_(grad.T.to(weight.dtype), x[rows].to(weight.dtype))
                if grad_bias is not None:
                    grad_bias += grad.sum(0).to(grad_bias.dtype)
        ctx.save_for_backward(grad_x, grad_weight, grad_bias)
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        factor = grads[0]
        scaled = [None if g is None else g * factor.to(g.dtype) for g in ctx.saved_tensors]
        return (*scaled, None, None, None)


def _loss_and_gradient(scores: Tensor, target: Tensor, smoothing: float, want: bool) -> tuple[Tensor, Tensor | None]:
    """Summed loss of [n, V] scores, and its gradient in place of them."""
    vocab = scores.shape[-1]
    norm = scores.logsumexp(-1, keepdim=True)
    hit = scores.gather(1, target[:, None])
    loss = (norm - (1 - smoothing) * hit).sum()
    if smoothing:
        loss = loss - smoothing / vocab * scores.sum()
    if not want:
        return loss, None
    grad = scores.sub_(norm).exp_()
    if smoothing:
        grad -= smoothing / vocab
    grad.scatter_add_(1, target[:, None], torch.full_like(hit, smoothing - 1))
    return loss, grad


def chunked_cross_entropy(
    x: Tensor, weight: Tensor, bias: Tensor | None, target: Tensor, smoothing: float = 0.0, chunk: int = 1024
) -> Tensor:
    """Sum over n tokens of the cross-entropy of softmax(x weight^T + bias) against `target`, in nats.

    Args:
        x: tokens, [n, D].
        weight: [V, D].
        bias: [V] or None.
        target: int [n], each 0 <= target < V.
        smoothing: share of the target spread over all V (Szegedy et al. 2016), as torch's `label_smoothing`.
        chunk: tokens whose V scores exist at one time.
    """
    if not torch.is_grad_enabled():  # within a function of autograd's, weights still seem to want gradients
        weight, bias = weight.detach(), None if bias is None else bias.detach()
    return _ChunkedCrossEntropy.apply(x, weight, bias, target, smoothing, chunk)  # pyright: ignore[reportReturnType]


def said_loss(head: nn.Module, x: Tensor, target: Tensor, smoothing: float, chunk: int) -> Tensor:
    """The same for the scores of a head that says words, whether it has a map to them or tokens are scores already.

    Args:
        head: a `LanguageHead`, or a `ScoresHead`.
        x: tokens, [n, D].
        target: int [n].
        smoothing: as above.
        chunk: as above.
    """
    if isinstance(head, LanguageHead):
        own: Any = head
        scores = own.proj
        return chunked_cross_entropy(own.given(x), scores.weight, scores.bias, target, smoothing, chunk)
    return F.cross_entropy(x, target, reduction="sum", label_smoothing=smoothing)


def focal_cross_entropy(
    scores: Tensor, target: Tensor, gamma: float, weight: Tensor | None = None, smoothing: float = 0.0
) -> Tensor:
    """Sum over n samples of weight * (1 - p) ** gamma * cross-entropy, p being exp(-cross-entropy), in nats.

    Lin et al. 2017, "Focal loss for dense object detection"; gamma 0 is cross-entropy.

    Args:
        scores: before the softmax, [n, C].
        target: int [n], each 0 <= target < C.
        gamma: how much less what is told well already counts.
        weight: what a sample of each class counts, [C]; None: 1.
        smoothing: share of the target spread over all C (Szegedy et al. 2016), as torch's `label_smoothing`.
    """
    if not gamma:
        return F.cross_entropy(scores, target, weight, reduction="sum", label_smoothing=smoothing)
    loss = F.cross_entropy(scores, target, reduction="none", label_smoothing=smoothing)
    hard = (1 - (-loss).exp()).clamp_min(torch.finfo(loss.dtype).eps) ** gamma  # at 0 a power below 1 has no slope
    each = hard * F.cross_entropy(scores, target, weight, reduction="none", label_smoothing=smoothing)
    return each.sum()
