"""Keys and values that decoding keeps: gradients through steps, rows chosen again and again."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from patchword.cache import KeyValueCache

ROOM, HEADS, WIDTH = 6, 2, 3


def pieces(batch: int, lengths: tuple[int, ...]) -> list[tuple[Tensor, Tensor]]:
    return [(torch.randn(batch, HEADS, n, WIDTH), torch.randn(batch, HEADS, n, WIDTH)) for n in lengths]


def start(length: int, static: bool) -> int | Tensor:
    return torch.tensor(length) if static else length


@pytest.mark.parametrize("static", [False, True], ids=["growing", "static"])
def test_what_was_written_is_shown(static: bool) -> None:
    cache, length, seen = KeyValueCache(2, HEADS, ROOM, WIDTH, torch.zeros(())), 0, []
    for k, v in pieces(2, (3, 0, 1, 2)):
        shown = cache.write(k, v, start(length, static))
        length += k.shape[2]
        seen.append((k, v))
        for got, want in zip(shown, zip(*seen, strict=True), strict=True):
            assert got.shape[2] == (ROOM if static else length)
            assert torch.equal(got[:, :, :length], torch.cat(want, 2))
            assert not got[:, :, length:].any()


@pytest.mark.parametrize("static", [False, True], ids=["growing", "static"])
def test_rows_are_chosen_again_and_again(static: bool) -> None:
    """More rows, as many, fewer, none."""
    cache, length = KeyValueCache(2, HEADS, ROOM, WIDTH, torch.zeros(())), 1
    ((k, v),) = pieces(2, (1,))
    cache.write(k, v, start(0, static))
    for rows in ([0, 0, 1], [2, 0, 1], [2, 2, 2], [1], []):
        chosen = torch.tensor(rows, dtype=torch.long)
        cache.select(chosen)
        ((new_k, new_v),) = pieces(len(rows), (1,))
        k, v = torch.cat([k[chosen], new_k], 2), torch.cat([v[chosen], new_v], 2)
        shown = cache.write(new_k, new_v, start(length, static))
        length += 1
        for got, want in zip(shown, (k, v), strict=True):
            assert torch.equal(got[:, :, :length], want)
            assert not got[:, :, length:].any()


@pytest.mark.parametrize("static", [False, True], ids=["growing", "static"])
def test_gradients_flow_through_steps_and_choices(static: bool) -> None:
    """As through a concatenation, also when what an earlier step saw is differentiated last."""
    parts = [(k.requires_grad_(), v.requires_grad_()) for k, v in pieces(2, (2, 1, 1))]
    rows = torch.tensor([1, 1])

    def loss(steps: list[tuple[Tensor, Tensor]]) -> Tensor:
        return torch.stack([(k * k).sum() + (k * v.sin()).sum() for k, v in steps]).sum()

    cache, seen, length = KeyValueCache(2, HEADS, ROOM, WIDTH, torch.zeros(())), [], 0
    for i, (k, v) in enumerate(parts):
        if i == 2:
            cache.select(rows)
        seen.append(cache.write(k, v, start(length, static)))
        length += k.shape[2]
    got = torch.autograd.grad(loss(seen), [x for part in parts for x in part])

    (a, b), (c, d), (e, f) = parts
    k, v = torch.cat([a, c], 2), torch.cat([b, d], 2)
    whole = [(a, b), (k, v), (torch.cat([k[rows], e], 2), torch.cat([v[rows], f], 2))]
    want = torch.autograd.grad(loss(whole), [x for part in parts for x in part])
    for g, w in zip(got, want, strict=True):
        torch.testing.assert_close(g, w)
