"""Softmax over a few keys of each query, computed in groups: n.w in time and memory, in fused kernels where one look
is all. R, n, C, m as in `plans`."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from patchword.nn.mechanisms.plans import Plan
from patchword.nn.mechanisms.windows import Windows, windows


class Scores(NamedTuple):
    """How scores are made."""

    scale: float
    dropout: float = 0.0
    """Share of weights that are zeroed."""


def blocked_softmax(q: Tensor, k: Tensor, v: Tensor, looks: list[list[Plan]], scores: Scores) -> Tensor:
    """q [B, H, T, E], k and v [B, G, S, E] -> [B, H, T, E], all of at least one place.

    Args:
        q: queries.
        k: keys.
        v: values.
        looks: what `plans_for` made; alternatives that share no query within a look.
        scores: how scores are made.
    """
    looks = [plans for plans in looks if plans]
    if not looks:  # nobody sees anything
        return (q + k.sum() + v.sum()) * 0.0
    if len(looks) > 1:
        out = _united(q, k, v, [plans[0] for plans in looks], scores)
    else:
        out = _alternatives([(_fused(q, k, v, plan, scores), plan) for plan in looks[0]])
    rows = len(looks[0][0].back)
    return (out.unflatten(2, (-1, q.shape[1]))[0].transpose(0, 1) if rows == 1 else out).transpose(1, 2)


def gather(x: Tensor, places: Tensor) -> Tensor:
    """x [B, h, L, E] at int [R, K] -> [R, K, h, E], or [1, K, B * h, E] where all rows are alike."""
    batch, heads, length, dim = x.shape
    if len(places) == 1:
        table = x.permute(2, 0, 1, 3).reshape(length, batch * heads * dim)
    elif x.stride(2) > x.stride(0):  # places first, as in a cache: its memory must not be copied at every step
        table = x.permute(2, 0, 1, 3).reshape(length * batch, heads * dim)
        places = places * batch + torch.arange(batch, device=places.device)[:, None]
    else:
        table = x.transpose(1, 2).reshape(batch * length, heads * dim)
        places = places + torch.arange(batch, device=places.device)[:, None] * length
    return F.embedding(places, table).unflatten(-1, (-1, dim))  # of all gathers the one with a fast gradient


def _grouped(q: Tensor, k: Tensor, v: Tensor, plan: Plan) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """q [R * n, heads, C, E], k and v [R * n, groups, m, E], and what is added to scores [R * n, 1, C or 1, m]."""
    num, capacity = plan.shape
    added = plan.added.flatten(0, 1)[:, None]
    if plan.run is not None:
        q = windows(q.flatten(0, 1), plan.run.query, Windows(num, capacity, capacity))
        looked = Windows(num, added.shape[-1], plan.run.step)
        k, v = (windows(x.flatten(0, 1), plan.run.key, looked) for x in (k, v))
        return q, k, v, added
    q = gather(q, plan.queries).unflatten(1, (num, capacity)).flatten(0, 1).transpose(1, 2)
    k, v = (gather(x, plan.keys).unflatten(1, (num, -1)).flatten(0, 1).transpose(1, 2) for x in (k, v))
    return q, k, v, added


def _fused(q: Tensor, k: Tensor, v: Tensor, plan: Plan, scores: Scores) -> Tensor:
    """[R, n * C, heads, E]."""
    q, k, v, added = _grouped(q, k, v, plan)
    grouped = q.shape[1] != k.shape[1]
    out = F.scaled_dot_product_attention(
        q, k, v, attn_mask=added, dropout_p=scores.dropout, scale=scores.scale, enable_gqa=grouped
    )
    return out.transpose(1, 2).unflatten(0, (-1, plan.shape[0])).flatten(1, 2)


def _take(rows: Tensor, back: Tensor) -> Tensor:
    """[R, K, heads, E] at int [R, T] -> [R, T, heads, E]."""
    places = back + torch.arange(len(back), device=back.device)[:, None] * rows.shape[1]
    return F.embedding(places, rows.flatten(0, 1).flatten(1)).unflatten(-1, rows.shape[2:])


def _alternatives(found: list[tuple[Tensor, Plan]]) -> Tensor:
    """Each query's result, from the plan that holds it; [R, T, heads, E]."""
    rows, back, blind, start = [], torch.zeros_like(found[0][1].back), torch.ones_like(found[0][1].blind), 0
    for out, plan in found:
        back = torch.where(plan.blind, back, plan.back + start)
        blind = blind & plan.blind
        rows.append(out)
        start += out.shape[1]
    return _take(torch.cat(rows, 1) if len(rows) > 1 else rows[0], back).masked_fill(blind[..., None, None], 0.0)


def _united(q: Tensor, k: Tensor, v: Tensor, plans: list[Plan], scores: Scores) -> Tensor:
    """One softmax over the keys of several looks: sums of exponentials are put together; [R, T, heads, E]."""
    parts = [_sums(q, k, v, plan, scores.scale) for plan in plans]
    most = torch.stack([top for _, _, top in parts]).amax(0).clamp_min(torch.finfo(parts[0][2].dtype).min)
    total = weight = 0.0
    for values, sums, top in parts:
        share = (top - most).exp()
        total, weight = total + values * share, weight + sums * share
    assert isinstance(total, Tensor)
    assert isinstance(weight, Tensor)
    return (total / weight.masked_fill(weight == 0, 1.0)).to(v.dtype)


def _sums(q: Tensor, k: Tensor, v: Tensor, plan: Plan, scale: float) -> tuple[Tensor, Tensor, Tensor]:
    """Of each query: sum of exp(score - top) v, sum of exp(score - top), and top; [R, T, heads, E or 1].

    For a query that sees nothing here the sums are those of some other keys, and top is -inf.
    """
    q, k, v, added = _grouped(q, k, v, plan)
    times, capacity = q.shape[1] // k.shape[1], q.shape[2]
    q = (q * scale).unflatten(1, (-1, times)).flatten(2, 3)  # heads that share keys are more queries
    score = q @ k.mT
    score = score.to(torch.promote_types(score.dtype, torch.float32))
    score = score.add_(added if times == 1 else added.repeat(1, 1, times, 1))
    top = score.detach().amax(-1, keepdim=True)
    share = score.sub_(top).exp_()  # in place: of all these only the last is needed for the gradient
    sums, values = share.sum(-1, keepdim=True), share.to(v.dtype) @ v

    def by_query(x: Tensor) -> Tensor:
        rows = x.unflatten(2, (times, capacity)).flatten(1, 2).transpose(1, 2)
        return _take(rows.unflatten(0, (-1, plan.shape[0])).flatten(1, 2), plan.back)

    blind = plan.blind[..., None, None]
    return by_query(values), by_query(sums), by_query(top).masked_fill(blind, float("-inf"))
