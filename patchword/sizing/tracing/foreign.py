"""Any torch module, sized as our own models are: on inputs that the caller gives, with a plain loss and optimizer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from patchword.config import UserError
from patchword.sizing.tracing.facts import blank
from patchword.sizing.tracing.rehearsal import Rehearsal

MakeOptimizer = Callable[[nn.Module], torch.optim.Optimizer]


def adamw(model: nn.Module) -> torch.optim.Optimizer:
    """AdamW over what is trained, fused."""
    return torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], fused=True)


@contextmanager
def rehearsal_of_module(
    module: nn.Module,
    inputs: Sequence[Any] | Mapping[str, Any],
    rehearse: type[Rehearsal] = Rehearsal,
    called: Callable[..., Any] | None = None,
) -> Iterator[Rehearsal]:
    """The module without contents, ready to be looked at; it is as it was after the context.

    Args:
        module: on any device; its weights are neither read nor copied.
        inputs: what it is called with, by place or by name; of floating tensors only shapes count, whole numbers keep
            their values.
        rehearse: how.
        called: what is called in place of the module, as its compiled form.

    Raises:
        UserError: in training, the module gives nothing that a loss could be made of.
    """
    modes = {m: m.training for m in module.modules()}
    tensors = {(m, kept): dict(getattr(m, kept)) for m in modes for kept in ("_parameters", "_buffers")}

    def call(model: nn.Module) -> Any:
        function = model if called is None else called
        return function(**given) if isinstance(given, Mapping) else function(*given)

    rehearsal = rehearse(lambda: module, lambda model: loss_of(call(model)), look=call)
    given = tree_map(lambda leaf: blank(leaf, rehearsal.mode) if isinstance(leaf, Tensor) else leaf, inputs)
    rehearsal.given = [leaf for leaf in tree_leaves(given) if isinstance(leaf, Tensor)]
    try:
        yield rehearsal
    finally:
        for (m, kept), own in tensors.items():
            getattr(m, kept).update(own)
        for m, training in modes.items():
            m.training = training


def loss_of(out: Any) -> Tensor:
    """The output's own `loss`, or the mean of each floating tensor in it, added up.

    Raises:
        UserError: there is none.
    """
    own = out.get("loss") if isinstance(out, Mapping) else getattr(out, "loss", None)
    if isinstance(own, Tensor):
        return own
    leaves = out.values() if isinstance(out, Mapping) else tree_leaves(out)
    means = [leaf.mean() for leaf in tree_leaves(list(leaves)) if isinstance(leaf, Tensor) and leaf.is_floating_point()]
    if not means:
        raise UserError("the module gives no floating tensor that a loss could be made of")
    return torch.stack(means).sum() if len(means) > 1 else means[0]


def part_of(path: str) -> str:
    """`transformer.h` of `transformer.h.3.attn`: the first two names of a path; outside of all modules, `loss`."""
    names = [name for name in path.split(".") if name and not name.isdecimal()]
    return ".".join(names[:2]) or "loss"
