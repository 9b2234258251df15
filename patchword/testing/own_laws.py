"""Laws about tokens that look at their own sequence."""

from __future__ import annotations

import torch
from torch import Tensor

from patchword.sequence import SequenceInfo, Tokens
from patchword.testing.subject import Subject, require


def padding_changes_nothing(s: Subject) -> None:
    """A row gives the same alone, and in a batch where padding stands left, right, or on both sides of it."""
    lengths, total = (5, 2, 1), 7
    rows = [s.tokens(1, n) for n in lengths]
    starts = {"left": [total - n for n in lengths], "right": [0] * 3, "both sides": [1, 3, 4], "none": [0, 0, 0]}
    for side, start in starts.items():
        width = total if side != "none" else lengths[0]
        x, valid = 5 * s.tokens(3, width), torch.zeros(3, width, dtype=torch.bool, device=s.case.device)
        for i, (row, n) in enumerate(zip(rows, lengths, strict=True)):
            x[i, start[i] : start[i] + n], valid[i, start[i] : start[i] + n] = row[0], True
        got = s.run(x, s.facts(3, width, valid))
        for i, (row, n) in enumerate(zip(rows, lengths, strict=True)):
            look = None if s.case.cross is None else Tokens(s.memory[i : i + 1])
            s.close(got[i : i + 1, start[i] : start[i] + n], s.run(row, memory=look), f"padding: {side}, row {i}")


def all_real_is_trivial(s: Subject) -> None:
    """Facts written out give what facts left out give."""
    x = s.tokens(2, 6)
    want, places = s.run(x), torch.arange(6, device=x.device).expand(2, -1)
    every = torch.ones(2, 6, dtype=torch.bool, device=x.device)
    s.close(s.run(x, s.facts(2, 6, every)), want, "valid written out")
    s.close(s.run(x, s.facts(2, 6, None, places)), want, "order written out")
    if not s.case.grid:
        s.close(s.run(x, SequenceInfo(pos=places)), want, "pos written out")


def the_future_is_invisible(s: Subject) -> None:
    """A change from place 4 on is not seen before it, and is seen there."""
    x = s.tokens(2, 8)
    y = torch.cat([x[:, :4], s.tokens(2, 4)], 1)
    a, b = s.run(x), s.run(y)
    s.close(b[:, :4], a[:, :4], "before the change")
    s.differ(b[:, 4:], a[:, 4:], "from the change on")


def the_past_is_visible(s: Subject) -> None:
    """A change at place 0 is seen by the last token that may see it, also by way of other layers."""
    x = s.tokens(2, 6)
    y = torch.cat([s.tokens(2, 1), x[:, 1:]], 1)
    own = s.case.own
    assert own is not None
    reach = 5 if own.window is None else min(5, (own.window - 1) * s.config.depth)
    s.differ(s.run(y)[:, reach], s.run(x)[:, reach], f"place 0 seen from place {reach}")


def a_prefix_sees_itself(s: Subject) -> None:
    """Tokens of one order see one another; what follows sees them and is causal. A cache keeps to it."""
    x, order = s.tokens(2, 7), s.ints([[2, 2, 2, 3, 4, 5, 6]]).expand(2, -1)
    info = s.facts(2, 7, None, order)
    want = s.run(x, info)
    y, z = x.clone(), x.clone()
    y[:, 2], z[:, 4] = s.tokens(2, 1)[:, 0], s.tokens(2, 1)[:, 0]
    s.differ(s.run(y, info)[:, 0], want[:, 0], "the prefix' end seen from its start")
    s.close(s.run(z, info)[:, :4], want[:, :4], "the suffix' future")


def packed_documents_stay_apart(s: Subject) -> None:
    """Several documents in a row give what each gives alone; a mechanism that cannot do it says so."""
    lengths = (3, 1, 4)
    x = s.tokens(2, 8)
    rank = torch.cat([torch.arange(n, device=x.device) for n in lengths]).expand(2, -1)
    segment = s.ints([[0] * 3 + [1] + [2] * 4]).expand(2, -1)
    info = SequenceInfo(pos=s.on_grid(rank) if s.case.grid else rank, segment=segment)
    if not s.case.able("segment"):
        try:
            s.run(x, info)
        except ValueError as error:
            require("cannot keep packed documents apart" in str(error), f"the refusal should say so: {error}")
            return
        raise AssertionError("packed documents were neither kept apart nor refused")
    got, start = s.run(x, info), 0
    for n in lengths:
        s.close(got[:, start : start + n], s.run(x[:, start : start + n]), f"document at {start}")
        start += n


def the_window_is_exact(s: Subject) -> None:
    """In one layer a token sees to just inside its window and no further."""
    own = s.case.own
    assert own is not None
    assert own.window is not None
    one = s.variant(depth=1)
    x = one.tokens(2, 2 * own.window + 1)
    middle = own.window
    y = x.clone()
    y[:, middle] = one.tokens(2, 1)[:, 0]
    changed = (one.run(y) - one.run(x)).abs().amax((0, 2)) > 1e-7
    gap = torch.arange(len(changed), device=x.device) - middle
    want = (gap.abs() < own.window) & ((gap >= 0) | (not own.causal))
    require(changed.tolist() == want.tolist(), f"seen from {changed.tolist()}, should be {want.tolist()}")


def groups_are_repeated_heads(s: Subject) -> None:
    """Key and value heads shared by groups of query heads are as many heads with equal weights."""
    changes = {}
    for name in ("attention", "cross_attention"):
        part = getattr(s.config, name)
        changes[name] = None if part is None else part.replace(num_kv_heads=None)
    full = s.variant(**changes)
    weights = s.stack.state_dict()
    for name, weight in weights.items():
        step, _, kind = name.rpartition(".")[0].rpartition(".")
        if kind in ("k_proj", "v_proj"):
            layer = s.stack.get_submodule(step)
            heads = weight.unflatten(0, (int(layer.num_kv_heads), -1))  # pyright: ignore[reportArgumentType]
            times = int(layer.num_heads) // len(heads)  # pyright: ignore[reportArgumentType]
            weights[name] = torch.cat([head for head in heads for _ in range(times)])
    full.stack.load_state_dict(weights)
    full.memory = s.memory
    x = s.tokens(2, 6)
    s.close(s.run(x), full.run(x), "groups")


def any_length_and_batch(s: Subject) -> None:
    """No rows, no tokens or one of each are legal, and every weight keeps a (zero) gradient."""
    for batch, length in ((0, 3), (2, 0), (0, 0), (1, 1), (3, 1)):
        for masked in (False, True):
            s.stack.zero_grad()
            valid = torch.ones(batch, length, dtype=torch.bool, device=s.case.device) if masked else None
            out = s.run(s.tokens(batch, length), s.facts(batch, length, valid))
            require(out.shape == (batch, length, s.config.dim), f"{batch} x {length} gave {tuple(out.shape)}")
            out.sum().backward()
            every_gradient_is_finite(s, out, {}, f"{batch} rows of {length}")


def any_facts_are_finite(s: Subject) -> None:
    """Whatever the facts, also rows that may see nothing: finite output, finite gradients, in training too."""
    for _ in range(4):
        batch, length = 3, 6
        x = s.tokens(batch, length).requires_grad_()
        order = None
        if s.case.causal:
            order = torch.randint(0, length, (batch, length), generator=s.generator).to(x.device)
        info = s.facts(batch, length, s.chance(0.4, batch, length), order)
        if s.case.able("segment"):
            segment = torch.randint(0, 3, (batch, length), generator=s.generator)
            info = info._replace(segment=segment.to(x.device))
        memory = s.look(batch)
        if memory is not None:
            memory = Tokens(memory.x, SequenceInfo(valid=s.chance(0.3, batch, memory.x.shape[1])))
        s.stack.zero_grad()
        s.stack.train()
        out = s.run(x, info, memory)
        out.square().sum().backward()
        s.stack.eval()
        every_gradient_is_finite(s, out, {"the tokens": x.grad}, f"facts {info}")


def blind_rows_give_zero(s: Subject) -> None:
    """A mechanism gives zeros to a token that may see nothing: only the output map's offset is left."""
    own = s.variant(depth=1, ffn=None, final_norm=False)
    layer = own.stack.blocks[0].self_attn.step  # pyright: ignore[reportOptionalMemberAccess, reportAttributeAccessIssue]
    seen: list[Tensor] = []
    layer.mechanism.register_forward_hook(lambda *call: seen.append(call[2]))  # pyright: ignore
    valid = own.ints([[True] * 4, [False] * 4, [False, False, True, True]])
    own.run(own.tokens(3, 4), own.facts(3, 4, valid))
    blind = [seen[0][1]] + ([seen[0][2, :, :2]] if s.case.causal else [])
    for out in blind:
        require(not out.any(), "a token that may see nothing got something")
    s.differ(seen[0][0], torch.zeros_like(seen[0][0]), "what tokens that see get")


def every_gradient_is_finite(s: Subject, out: Tensor, inputs: dict[str, Tensor | None], where: str) -> None:
    """Fail unless the output, and the gradients of all weights and of these inputs, are there and finite."""
    require(bool(out.isfinite().all()), f"not finite: {where}")
    grads = {name: parameter.grad for name, parameter in s.stack.named_parameters()}
    for name, grad in (grads | inputs).items():
        require(grad is not None and bool(grad.isfinite().all()), f"no finite gradient of {name}: {where}")
