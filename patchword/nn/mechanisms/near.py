"""Exact attention whose window is short: n.w instead of n^2."""

from __future__ import annotations

from torch import Tensor

from patchword.config import LocalPatternConfig
from patchword.nn.mechanisms.blocked import Scores, blocked_softmax
from patchword.nn.mechanisms.patterns import LocalPattern, chunk_of
from patchword.nn.mechanisms.plans import Policy, plans_for
from patchword.sequence import Mask

PASS_COST, STEP_COST = 256, 1024
"""What it costs beside to find the keys to gather, in keys of a dense row: for many queries, and for a single one.
Measured on a CPU."""


def is_short(window: int, causal: bool, q: Tensor, k: Tensor) -> bool:
    """Whether gathered keys are cheaper than all keys and a mask."""
    num_queries, num_keys = q.shape[2], k.shape[2]
    if num_queries == 1:
        return q.numel() > 0 and num_keys >= STEP_COST + 2 * window
    gathered = window * (1 if causal else 2) + chunk_of(window)
    return q.numel() > 0 and num_queries >= PASS_COST and num_keys >= PASS_COST + 2 * gathered


def near_softmax(q: Tensor, k: Tensor, v: Tensor, mask: Mask, policy: Policy, scores: Scores) -> Tensor:
    """Attention to keys less than `policy.window` real tokens away; q [B, H, T, E], k and v [B, G, S, E] -> as q.

    What dense attention gives under the same mask, but for padding, which gets zeros.
    """
    assert policy.window is not None
    pattern = LocalPattern(LocalPatternConfig(reach=policy.window), policy.causal)
    if mask.queries.segment is None:  # the pattern says it already; a window is counted across documents
        policy = policy._replace(window=None)
    key = ("near", pattern.config, policy, q.shape[:3], q.dtype)
    return blocked_softmax(q, k, v, mask.once(key, lambda: plans_for(mask, pattern, policy, q)), scores)
