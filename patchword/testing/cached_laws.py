"""Laws about decoding step by step."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from patchword.sequence import SequenceInfo, Tokens
from patchword.testing.subject import Subject, cut

CHUNKS = ((1,) * 8, (5, 1, 1, 1), (3, 3, 2), (4, 0, 4), (8,))


def _stepwise(
    s: Subject, x: Tensor, info: SequenceInfo, chunks: Sequence[int], static: bool, memory: Tokens | None = None
) -> Tensor:
    cache, out, start = s.stack.new_cache(len(x), x.shape[1] + 2, x, static), [], 0
    for n in chunks:
        out.append(s.run(x[:, start : start + n], cut(info, start, start + n), memory, cache))
        start += n
    return torch.cat(out, 1)


def cached_equals_full(s: Subject) -> None:
    """Step by step in any chunks gives what one pass gives; growing and static; padding left, right or amid."""
    x = s.tokens(3, 8)
    left = s.ints([[False] * 2 + [True] * 6, [True] * 8, [False] * 5 + [True] * 3])
    holes = s.ints([[True] * 8, [True, True, False, True, True, False, False, True], [True] + [False] * 4 + [True] * 3])
    for padding, valid in {"none": None, "left": left, "holes": holes}.items():
        info = s.facts(3, 8, valid)
        want = s.run(x, info)
        real = torch.ones(3, 8, dtype=torch.bool, device=x.device) if valid is None else valid
        for chunks in CHUNKS:
            for static in (False, True):
                got = _stepwise(s, x, info, chunks, static)
                s.close(got[real], want[real], f"chunks {chunks}, padding {padding}, static {static}")


def padding_may_end(s: Subject) -> None:
    """Facts may be given for the first chunk alone, or begin with a later one."""
    x = s.tokens(2, 8)
    padding = {"first": [[False, False] + [True] * 6], "second": [[True] * 4 + [False] + [True] * 3]}
    for chunk, valid in padding.items():
        info = s.facts(2, 8, s.ints(valid * 2))
        want = s.run(x, info)
        a, b = cut(info, 0, 4), cut(info, 4, 8)
        parts = (a, b._replace(valid=None)) if chunk == "first" else (a._replace(valid=None), b)
        for static in (False, True):
            cache = s.stack.new_cache(2, 8, x, static)
            got = torch.cat([s.run(x[:, :4], parts[0], None, cache), s.run(x[:, 4:], parts[1], None, cache)], 1)
            real = s.ints(valid * 2)
            s.close(got[real], want[real], f"facts of the {chunk} chunk, static {static}")


def a_cached_prefix_sees_itself(s: Subject) -> None:
    """Orders that are given hold for later steps, which then stand at their own places."""
    x, order = s.tokens(2, 7), s.ints([[2, 2, 2, 3, 4, 5, 6], [0, 0, 0, 1, 2, 3, 4]])
    valid = s.ints([[True] * 7, [False, True, False, True, True, True, True]])
    info = s.facts(2, 7, valid, order)
    want = s.run(x, info)
    for chunks in ((3, 1, 1, 1, 1), (4, 3), (5, 2)):
        for static in (False, True):
            cache, out, start = s.stack.new_cache(2, 9, x, static), [], 0
            for n in chunks:
                facts = cut(info, start, start + n)
                facts = facts if start == 0 else facts._replace(order=None, valid=None)
                out.append(s.run(x[:, start : start + n], facts, None, cache))
                start += n
            s.close(torch.cat(out, 1)[valid], want[valid], f"chunks {chunks}, static {static}")


def rows_can_be_chosen(s: Subject) -> None:
    """Kept, repeated and reordered rows go on as if they had been alone; rows of one sample share its memory."""
    x = s.tokens(6, 6)
    x[:3, :3], x[3:, :3] = x[0, :3], x[3, :3]  # two samples, three beams each, with one prompt a sample
    valid = torch.ones(6, 6, dtype=torch.bool, device=x.device)
    valid[3:, 0] = False
    swapped = s.ints([2, 0, 0, 4, 5, 3])
    full, info = x.clone(), s.facts(6, 6, valid)
    full[:, 3] = x[swapped, 3]
    memory = s.look(2)
    spread = None if memory is None else Tokens(memory.x.repeat_interleave(3, 0))
    want = s.run(full, info, spread)
    for static in (False, True):
        cache = s.stack.new_cache(2, 6, x, static)
        start = cut(info, 0, 3)
        s.run(x[::3, :3], SequenceInfo(*(None if f is None else f[::3] for f in start)), memory, cache)
        cache.select(s.ints([0, 0, 0, 1, 1, 1]))
        a = s.run(x[:, 3:4], cut(info, 3, 4), memory, cache)
        cache.select(swapped)
        b = s.run(full[:, 4:], cut(info, 4, 6), memory, cache)
        got = torch.cat([a[swapped], b], 1)
        s.close(got, want[:, 3:], f"rows chosen, static {static}")


def too_many_tokens_are_refused(s: Subject) -> None:
    """More tokens than the cache was made for: a message for a growing cache, an error for a static one."""
    for static, error in ((False, ValueError), (True, (IndexError, RuntimeError, ValueError))):
        cache, x = s.stack.new_cache(2, 4, s.memory, static), s.tokens(2, 5)
        s.run(x[:, :3], cut(s.facts(2, 5), 0, 3), None, cache)
        try:
            s.run(x[:, 3:], cut(s.facts(2, 5), 3, 5), None, cache)
        except error:
            continue
        raise AssertionError(f"five tokens went into a cache for four, static {static}")
