"""Fused attention on the CPU: each thread has a block of scores, of queries by keys.

Sizes of blocks are those of torch's FlashAttentionKernel.cpp.
"""

from __future__ import annotations

import torch
from torch import Tensor

from patchword.sizing.flops.registry import Call
from patchword.sizing.workspaces.registry import Inside, aten, rule, size

_KEYS = 512


def _block(q: Tensor, k: Tensor) -> tuple[int, int]:
    """Queries and keys whose scores a thread holds at one time."""
    queries, keys = q.shape[-2], k.shape[-2]
    block = 256 if queries >= 768 else 64 if queries >= 192 else 32
    return min(block, queries), min(_KEYS, keys)


@rule(aten._scaled_dot_product_flash_attention_for_cpu)
def _flash(call: Call) -> int:
    """Scores, maxima and sums, and what was read so far, a thread; scores once more in bf16."""
    q, k = call["query"], call["key"]
    queries, keys = _block(q, k)
    own = 4 * (queries * keys + 2 * queries + queries * q.shape[-1])
    narrow = q.element_size() * queries * keys if q.element_size() < 4 else 0
    return torch.get_num_threads() * (max(q.element_size() // 4, 1) * own + narrow)


@rule(aten._scaled_dot_product_flash_attention_for_cpu_backward)
def _flash_backward(call: Call) -> Inside:
    """Scores and their gradients, and a sum for each query, a thread; the gradient as the kernel walks through it."""
    q, k, grad = call["query"], call["key"], call["grad_out"]
    queries, keys = _block(q, k)
    wide = max(q.element_size(), 4)
    narrow = q.element_size() < 4
    own = wide * (2 * queries * keys + queries) + (2 * q.element_size() * queries * keys if narrow else 0)
    if narrow:  # products of blocks in bf16, each with a description of its own
        own += 3_312 + 256 * max(queries, q.shape[-1]) + 128 * keys + queries * keys // 2
    copy = 0 if grad.transpose(1, 2).is_contiguous() else size(grad)
    threads = torch.get_num_threads()
    return Inside(threads * own + copy, threads * 19_216 if narrow else 0)


@rule(aten._native_multi_head_attention, aten._transformer_encoder_layer_fwd)
def _native(call: Call) -> int:
    """The fast path of torch's own modules: queries, keys and values as they are mapped and by heads; then scores."""
    x: Tensor = call.args[0]
    heads = call["num_head"] if "num_head" in call else call["num_heads"]
    batch, length, _ = x.shape
    scores = batch * heads * length * length * x.element_size()
    return max(5 * size(x), 2 * size(x) + scores)
