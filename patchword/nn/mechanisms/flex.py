"""Exact attention through FlexAttention (Dong et al. 2024): blocks of pairs that may not be seen are never computed.

One rule says every mask: query i sees key j if then_j <= now_i, low_i <= rank_j <= high_i, and both are of one
document. So one kernel serves all masks, and a look at the least and the greatest of each block tells which blocks it
needs: there is no T x S mask on the way. R rows: B, or 1 where all are alike.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, flex_attention

from patchword.nn.mechanisms.plans import Policy
from patchword.sequence import Mask, positions_of

BLOCK = 128
"""Queries and keys of a block."""
LEAST_QUERIES, LEAST_KEYS = BLOCK, 1024
"""On fewer, a mask of all pairs is small, and nothing is compiled for it. Chosen, not measured."""
LEAST_WIDTH = 16
"""Width of a head that the kernel takes."""
NEVER = 2**62
"""More than any order or rank."""


class Pairs(NamedTuple):
    """Who sees whom, in numbers."""

    now: Tensor
    """int [R, T]: the order of each query."""
    low: Tensor
    """int [R, T]: the least rank that it sees."""
    high: Tensor
    """int [R, T]: the greatest."""
    own: Tensor
    """int [R, T]: its document."""
    then: Tensor
    """int [R, S]: the order of each key; `NEVER` for padding."""
    rank: Tensor
    """int [R, S]: its place among the real ones."""
    other: Tensor
    """int [R, S]: its document."""


class Sizes(NamedTuple):
    """What is asked for."""

    num_queries: int
    num_keys: int
    head_dim: int
    dtype: torch.dtype


def suits(mask: Mask, policy: Policy, sizes: Sizes, device: torch.device) -> bool:
    """Whether blocks are worth it: on CUDA, a mask that no flag of a kernel says, and long enough to matter."""
    return (
        device.type == "cuda"
        and mask.flags(policy.causal, policy.window) is None
        and sizes.num_queries >= LEAST_QUERIES
        and sizes.num_keys >= LEAST_KEYS
        and sizes.head_dim >= LEAST_WIDTH
        and sizes.dtype in (torch.float32, torch.bfloat16, torch.float16)
        and isinstance(mask.start, int)
        and has_triton()
    )


@cache
def has_triton() -> bool:
    """Whether kernels can be compiled; not every system has the compiler."""
    return importlib.util.find_spec("triton") is not None


@cache
def attend() -> Callable[..., Any]:
    """FlexAttention, compiled once a process."""
    return torch.compile(flex_attention)


def flex_softmax(q: Tensor, k: Tensor, v: Tensor, mask: Mask, policy: Policy, scale: float) -> Tensor:
    """q [B, H, T, E], k and v [B, G, S, E] -> [B, H, T, E]; queries that may see nothing get zeros."""
    if torch.is_autocast_enabled(q.device.type):  # queries and keys may come from a norm, in another dtype than values
        q, k, v = (x.to(torch.get_autocast_dtype(q.device.type)) for x in (q, k, v))
    key = ("flex", policy, q.shape[0], q.shape[2])
    blocks = mask.once(key, lambda: block_mask(pairs_of(mask, policy, q.shape[2], q.device), q.shape[0]))
    return attend()(q, k, v, block_mask=blocks, scale=scale, enable_gqa=q.shape[1] != k.shape[1])


def pairs_of(mask: Mask, policy: Policy, num_queries: int, device: torch.device) -> Pairs:
    """A mask in numbers. One row of queries stands for all where rows of one memory were folded into the length."""
    own = mask.start + torch.arange(mask.num_queries, device=device)
    places = torch.arange(mask.num_keys, device=device)[None]
    queries, keys = torch.zeros_like(own)[None], torch.zeros_like(places)
    now, then = queries, keys
    if policy.causal:
        now = own[None] if mask.queries.order is None else mask.queries.order
        then = places if mask.keys.order is None else mask.keys.order
    rank, low, high = keys, queries, queries
    if policy.window is not None:
        rank = places if mask.keys.valid is None else positions_of(mask.keys.valid)
        low, high = rank[:, own] - (policy.window - 1), rank[:, own] + (policy.window - 1)
    if mask.keys.valid is not None:
        then = then.masked_fill(~mask.keys.valid, NEVER)
    own_document, other = mask.queries.segment, mask.keys.segment
    if own_document is None or other is None:
        own_document, other = queries, keys
    rows = max(len(fact) for fact in (now, low, own_document, then, rank, other))
    return Pairs(
        *(fact.expand(rows, num_queries) for fact in (now, low, high, own_document)),
        *(fact.expand(rows, mask.num_keys) for fact in (then, rank, other)),
    )


def block_mask(pairs: Pairs, batch: int) -> BlockMask:
    """The blocks that a kernel must look at, and the rule for the pairs in those that are seen in part."""
    pairs = Pairs(*(fact.expand(batch, -1).contiguous() for fact in pairs))  # one shape: others were compiled again
    some, whole = seen_blocks(pairs)
    now, low, high, own, then, rank, other = pairs

    def sees(b: Tensor, h: Tensor, i: Tensor, j: Tensor) -> Tensor:  # noqa: ARG001 - FlexAttention's signature
        near = (low[b, i] <= rank[b, j]) & (rank[b, j] <= high[b, i])
        return near & (then[b, j] <= now[b, i]) & (own[b, i] == other[b, j])

    return BlockMask.from_kv_blocks(
        *_listed(some & ~whole), *_listed(whole), BLOCK, sees, (pairs.now.shape[1], pairs.then.shape[1])
    )


def seen_blocks(pairs: Pairs) -> tuple[Tensor, Tensor]:
    """Blocks in which a pair may be seen, and those in which all pairs are; bool [R, blocks of T, blocks of S].

    None that matters is left out of the first, and none that is not whole is in the second.
    """
    now, low, high, own = (tuple(end[:, :, None] for end in _ends(fact)) for fact in pairs[:4])
    then, rank, other = (tuple(end[:, None] for end in _ends(fact)) for fact in pairs[4:])
    some = (then[0] <= now[1]) & (low[0] <= rank[1]) & (rank[0] <= high[1])
    some &= (other[0] <= own[1]) & (own[0] <= other[1])
    whole = (then[1] <= now[0]) & (low[1] <= rank[0]) & (rank[1] <= high[0])
    whole &= (other[0] == other[1]) & (own[0] == own[1]) & (other[0] == own[0])
    for dim, length in ((1, pairs.now.shape[1]), (2, pairs.then.shape[1])):
        if length % BLOCK:  # the last block is not full: its pairs are looked at one by one
            whole.select(dim, -1).fill_(False)
    return some, whole


def _ends(fact: Tensor) -> tuple[Tensor, Tensor]:
    """The least and the greatest of each block; int [R, T] -> [R, blocks]."""
    length = fact.shape[1]
    blocks = -(-length // BLOCK)
    places = torch.arange(blocks * BLOCK, device=fact.device).clamp_max(length - 1)
    return fact[:, places].unflatten(1, (blocks, BLOCK)).aminmax(dim=2)


def _listed(blocks: Tensor) -> tuple[Tensor, Tensor]:
    """How many blocks of keys each block of queries has, and which, in order; int [R, 1, n] and [R, 1, n, m]."""
    count = blocks.sum(-1, dtype=torch.int32)
    return count[:, None], blocks.int().argsort(dim=-1, descending=True, stable=True).int()[:, None]
