"""Which laws a case is asked for, and the whole contract for one mechanism."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch

from patchword.config import (
    ALiBiPositionConfig,
    AttentionConfig,
    ConfigError,
    LearnedPositionConfig,
    NoPositionConfig,
    PositionConfig,
    RelativeBiasPositionConfig,
    RelativeKeyPositionConfig,
    RotaryPositionConfig,
    SinusoidalPositionConfig,
    SoftmaxAttentionConfig,
    StackConfig,
)
from patchword.nn import Stack
from patchword.testing import cached_laws, memory_laws, own_laws
from patchword.testing.subject import Case, Subject, require


class Law(NamedTuple):
    """A law, and which cases it is about."""

    holds: Callable[[Subject], None]
    """Raises `AssertionError` where it does not."""
    concerns: Callable[[Case], bool]
    """Whether a case can be asked for it; `bool` itself: every case can."""

    @property
    def name(self) -> str:
        """What the law says."""
        return self.holds.__name__


def _looks(case: Case) -> bool:
    return case.own is not None


def _causal(case: Case) -> bool:
    return case.causal


def _tied(case: Case) -> bool:
    return case.causal and case.own is not None and case.own.window is None


def _window(case: Case) -> bool:
    return case.own is not None and case.own.window is not None and case.cross is None


def _groups(case: Case) -> bool:
    return any(a is not None and a.num_kv_heads not in (None, a.num_heads) for a in (case.own, case.cross))


def _steps(case: Case) -> bool:
    return case.causal and case.able("cache")


def _tied_steps(case: Case) -> bool:
    return _tied(case) and _steps(case)


def _memory(case: Case) -> bool:
    return case.cross is not None


LAWS = (
    Law(own_laws.padding_changes_nothing, bool),
    Law(own_laws.all_real_is_trivial, bool),
    Law(own_laws.the_past_is_visible, _looks),
    Law(own_laws.the_future_is_invisible, _causal),
    Law(own_laws.a_prefix_sees_itself, _tied),
    Law(own_laws.packed_documents_stay_apart, _looks),
    Law(own_laws.the_window_is_exact, _window),
    Law(own_laws.groups_are_repeated_heads, _groups),
    Law(own_laws.any_length_and_batch, bool),
    Law(own_laws.any_facts_are_finite, bool),
    Law(own_laws.blind_rows_give_zero, _looks),
    Law(cached_laws.cached_equals_full, _steps),
    Law(cached_laws.padding_may_end, _steps),
    Law(cached_laws.a_cached_prefix_sees_itself, _tied_steps),
    Law(cached_laws.rows_can_be_chosen, _steps),
    Law(cached_laws.too_many_tokens_are_refused, _steps),
    Law(memory_laws.padded_memory_is_ignored, _memory),
    Law(memory_laws.beams_share_a_memory, _memory),
    Law(memory_laws.a_missing_memory_is_nothing, _memory),
)
"""The contract."""


def laws_for(case: Case) -> list[Law]:
    """The laws that a case must obey."""
    return [law for law in LAWS if law.concerns(case)]


POSITIONS: tuple[tuple[PositionConfig, bool], ...] = (
    (NoPositionConfig(), False),
    (LearnedPositionConfig(), False),
    (SinusoidalPositionConfig(), False),
    (RotaryPositionConfig(), False),
    (LearnedPositionConfig(), True),
    (SinusoidalPositionConfig(), True),
    (RotaryPositionConfig(), True),
    (RelativeBiasPositionConfig(num_buckets=8, max_distance=6), False),
    (RelativeKeyPositionConfig(max_distance=2), False),
    (ALiBiPositionConfig(), False),
    (RelativeBiasPositionConfig(num_buckets=8, max_distance=6), True),
    (RelativeKeyPositionConfig(max_distance=2), True),
    (ALiBiPositionConfig(), True),
)
"""Kinds, on a line and on a grid."""

ABILITIES = ("causal", "window", "cross", "cache", "dropout")


def cases(config: AttentionConfig, dtype: torch.dtype = torch.float64) -> Iterator[Case]:
    """Shapes of stack that a mechanism with these settings says it can work in.

    Every position with every role, on a line and on a grid; groups and windows take turns.
    """
    can = config.can
    choices = [groups if _accepts(config, groups) else 2 for groups in (None, 2, 1)]
    positions = [(position, grid) for position, grid in POSITIONS if set(position.needs) <= can]
    causals, crosses = ((False, True) if what in can else (False,) for what in ("causal", "cross"))
    for i, ((position, grid), causal, cross) in enumerate(itertools.product(positions, causals, crosses)):
        groups, window = choices[i % 3], 3 if "window" in can and i // 3 % 2 else None
        own = config.replace(num_heads=4, num_kv_heads=groups, causal=causal, window=window)
        other = config.replace(num_heads=4, num_kv_heads=groups) if cross else None
        stack = StackConfig(dim=16, depth=2, position=position, attention=own, cross_attention=other)
        asked = {"grid": grid, f"groups {groups}": groups, "causal": causal, f"window {window}": window, "cross": cross}
        words = [config.kind, position.kind, *(word for word, on in asked.items() if on)]
        yield Case(stack, grid, dtype, name=" ".join(words))


def _accepts(config: AttentionConfig, num_kv_heads: int | None) -> bool:
    try:
        config.replace(num_heads=4, num_kv_heads=num_kv_heads)
    except ConfigError:
        return False
    return True


def check_refusals(config: AttentionConfig) -> list[str]:
    """What the mechanism cannot do is refused with a message that names it; returns what was refused.

    Raises:
        AssertionError: something that it says it cannot do is built all the same.
    """
    refused = [what for what in ABILITIES if what not in config.can]
    for what in refused:
        try:
            _ask(what, config)
        except ValueError as error:
            wanted = f"{config.kind} attention cannot do: {what}"
            require(wanted in str(error), f"should say {wanted!r}: {error}")
            continue
        raise AssertionError(f"{config.kind} attention says that it cannot do {what}, and was not refused")
    return refused


def _ask(what: str, config: AttentionConfig) -> None:
    changes = {"causal": {"causal": True}, "window": {"window": 3}, "dropout": {"dropout": 0.1}}
    if what in changes:
        config.replace(**changes[what])
    elif what == "cross":
        StackConfig(dim=16, attention=SoftmaxAttentionConfig(), cross_attention=config.replace(num_heads=4))
    else:
        own = config.replace(num_heads=4, causal="causal" in config.can)
        stack = Stack(StackConfig(dim=16, attention=own))
        stack.new_cache(1, 4, torch.zeros(()))


def check_mechanism(mechanism: AttentionConfig | type[AttentionConfig]) -> dict[str, int]:
    """Run the whole contract on a mechanism: every law in every case that it can do, every refusal of the others.

    Args:
        mechanism: its config class, or settings of it (heads, groups and policy are varied, the rest is kept).

    Returns:
        How often each law was checked.

    Raises:
        AssertionError: naming the law and the case.
        UserError: the mechanism refuses what it says it can do.
    """
    config = mechanism() if isinstance(mechanism, type) else mechanism
    counts = {"refused": len(check_refusals(config))}
    for case in cases(config):
        for law in laws_for(case):
            try:
                law.holds(Subject(case))
            except AssertionError as error:
                raise AssertionError(f"{law.name} does not hold for {case.name}: {error}") from error
            counts[law.name] = counts.get(law.name, 0) + 1
    return counts
