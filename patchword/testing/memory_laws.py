"""Laws about tokens that look at a memory."""

from __future__ import annotations

import torch
from torch import Tensor

from patchword.sequence import SequenceInfo, Tokens
from patchword.testing.own_laws import every_gradient_is_finite
from patchword.testing.subject import MEMORY_DIM, Subject, cut, require


def _padded(s: Subject, batch: int) -> tuple[Tokens, Tokens]:
    """A memory, and the same among padding on both sides."""
    memory = s.look(batch)
    assert memory is not None
    x = torch.cat([5 * s.random(batch, 2, MEMORY_DIM), memory.x, 5 * s.random(batch, 3, MEMORY_DIM)], 1)
    places = torch.arange(x.shape[1], device=x.device)
    valid = ((places >= 2) & (places < 2 + memory.x.shape[1])).expand(batch, -1)
    return memory, Tokens(x, SequenceInfo(valid=valid))


def _steps(s: Subject, x: Tensor, memory: Tokens, static: bool) -> Tensor:
    cache, info, out = s.stack.new_cache(len(x), x.shape[1], x, static), s.facts(x.shape[0], x.shape[1]), []
    for i in range(x.shape[1]):
        out.append(s.run(x[:, i : i + 1], cut(info, i, i + 1), memory, cache))
    return torch.cat(out, 1)


def padded_memory_is_ignored(s: Subject) -> None:
    """Padding in the memory changes nothing; what a cache keeps of it neither; the memory itself is seen."""
    memory, padded = _padded(s, 2)
    x = s.tokens(2, 4)
    want = s.run(x, memory=memory)
    s.close(s.run(x, memory=padded), want, "padded memory")
    other = memory.x.clone()
    other[:, 3] += 1
    s.differ(s.run(x, memory=Tokens(other)), want, "a change in the memory")
    if s.case.causal and s.case.able("cache"):
        for static in (False, True):
            s.close(_steps(s, x, padded, static), want, f"cached padded memory, static {static}")


def beams_share_a_memory(s: Subject) -> None:
    """A memory with fewer rows than there are queries serves them in order: rows i k ... i k + k - 1 see its row i."""
    valid = s.ints([[True, True, False, True, True], [True] * 5])
    for memory in (Tokens(s.memory[:2]), Tokens(s.memory[:2], SequenceInfo(valid=valid))):
        for length in (1, 3):
            x = s.tokens(6, length)
            facts = SequenceInfo(*(None if f is None else f.repeat_interleave(3, 0) for f in memory.info))
            spread = Tokens(memory.x.repeat_interleave(3, 0), facts)
            s.close(s.run(x, memory=memory), s.run(x, memory=spread), f"three rows a memory, {length} long")
            if s.case.causal and s.case.able("cache"):
                for static in (False, True):
                    want = s.run(x, memory=spread)
                    s.close(_steps(s, x, memory, static), want, f"the same in steps, static {static}")


def a_missing_memory_is_nothing(s: Subject) -> None:
    """A sample without a picture: its padding does not show, no tokens are as good as padding, gradients are whole."""
    x = s.tokens(2, 4)
    valid = s.ints([[True] * 5, [False] * 5])
    memory = s.memory[:2].clone()
    changed = memory.clone()
    changed[1] = 5 * s.random(5, MEMORY_DIM)
    want = s.run(x, memory=Tokens(memory, SequenceInfo(valid=valid)))
    s.close(s.run(x, memory=Tokens(changed, SequenceInfo(valid=valid))), want, "padding of a missing memory")
    nothing = Tokens(s.memory[:2, :0], SequenceInfo(valid=valid[:, :0]))
    s.close(s.run(x, memory=nothing)[1], want[1], "no tokens against padding only")
    s.close(s.run(x, memory=Tokens(nothing.x))[1], want[1], "no tokens and no facts")
    for look in (Tokens(memory, SequenceInfo(valid=valid)), nothing):
        s.stack.zero_grad()
        tokens = x.clone().requires_grad_()
        source = look.x.clone().requires_grad_()
        out = s.run(tokens, memory=Tokens(source, look.info))
        out.square().sum().backward()
        every_gradient_is_finite(s, out, {"the tokens": tokens.grad, "the memory": source.grad}, "missing memory")
        assert source.grad is not None
        seen = s.ints([[True] * 5, [False] * 5])[:, : source.shape[1]]
        require(not source.grad[~seen].any(), "padding got a gradient")
