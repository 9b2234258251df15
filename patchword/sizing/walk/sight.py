"""Who sees whom, drawn small: from the masks that a model itself makes of the facts of one sample.

The last quarter of each text, and of vectors made elsewhere, is padding there, so that what becomes of padding is
seen, too. A mechanism that sees less than its mask allows (a pattern, buckets) is asked itself: what of its values
reaches which query.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils._python_dispatch import _disable_current_modes

from patchword.config import AttentionConfig, SoftmaxAttentionConfig
from patchword.models.tower import FeaturesTower, TextTower
from patchword.nn import Attention, View
from patchword.nn.mechanisms.linformer import LinformerCostWarning
from patchword.sequence import FeaturesInput, Mask, TextInput
from patchword.sizing.tracing.rehearsal import Rehearsal
from patchword.sizing.walk.calls import Watcher

_MOST_CELLS, _MOST_PAIRS = 16, 2**20


class Sight(NamedTuple):
    """Who sees whom in one attention, as a grid of cells."""

    path: str
    """The first attention that sees so."""
    others: int
    """How many more see so."""
    policy: str
    """What its settings say: causal, a window, its mechanism."""
    queries: int
    keys: int
    cells: tuple[tuple[float, ...], ...]
    """Share of the pairs of a cell that are seen, 0 ... 1; rows are queries, columns keys."""
    padding: tuple[bool, ...]
    """Whether a column's keys are padding, all of them."""

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return self._asdict() | {"cells": [list(row) for row in self.cells], "padding": list(self.padding)}


class _Look(NamedTuple):
    """One attention at work."""

    path: str
    attention: Attention
    mask: Mask
    queries: int


def sight_of(one: Rehearsal) -> Iterator[Sight]:
    """What each attention of a model sees, those that see alike told once; of a rehearsal with a single sample."""
    looks: list[_Look] = []

    def meet(module: nn.Module, path: str, args: Any) -> None:
        if isinstance(module, TextTower | FeaturesTower):
            _pad(args[0])
        if isinstance(module, Attention) and isinstance(args[1], View):
            looks.append(_Look(path, module, args[1].mask, args[0].shape[1]))

    watcher = Watcher(one.model, meet)
    one.inference(lambda built: watcher.watch(lambda: one.loss(built)))
    alike: dict[Any, list[_Look]] = {}
    for look in looks:
        config = look.attention.mechanism.config
        alike.setdefault((id(look.mask), config), []).append(look)
    for group in alike.values():
        found = _drawn(group[0])
        if found is not None:
            yield found._replace(others=len(group) - 1)


def _pad(raw: Any) -> None:
    """The last quarter of an input that says what is real is not."""
    valid = raw.valid if isinstance(raw, TextInput | FeaturesInput) else None
    if valid is not None and not isinstance(valid, FakeTensor):
        with _disable_current_modes():
            valid[:, valid.shape[1] - valid.shape[1] // 4 :] = False


def _drawn(look: _Look) -> Sight | None:
    """None: the facts are too many to be kept, or there is nothing to see."""
    mask, config = look.mask, look.attention.mechanism.config
    facts = [*mask.queries, *mask.keys]
    if any(isinstance(fact, FakeTensor) for fact in facts) or mask.num_queries * mask.num_keys > _MOST_PAIRS:
        return None
    if not mask.num_queries or not mask.num_keys:
        return None
    with _disable_current_modes():
        see = mask.dense(config.causal, config.window, torch.device("cpu"))[0, 0]
        if not isinstance(config, SoftmaxAttentionConfig):
            see = see & _reached(look)
        real = mask.keys.valid
        gone = torch.zeros(mask.num_keys, dtype=torch.bool) if real is None else ~real[0]
        cells, padding = _shrunk(see.float()), _shrunk(gone.float()[None])[0]
    return Sight(
        look.path,
        0,
        _policy(config, look.attention.cross),
        look.queries,
        mask.num_keys,
        tuple(tuple(row) for row in cells),
        tuple(share == 1 for share in padding),
    )


def _reached(look: _Look) -> Tensor:
    """What of its values a mechanism of these settings brings to each query, for random queries and keys; bool [T, S].

    The values of as many keys as a head is wide are told apart in one go: key s has a one at place s of its head.
    """
    old, config = look.mask, look.attention.mechanism.config
    mask, wide = _remade(old), look.attention.head_dim
    with torch.random.fork_rng(devices=()), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore", LinformerCostWarning)
        torch.manual_seed(0)
        mechanism = config.build(wide).eval()
        q = torch.randn(1, look.attention.num_heads, look.queries, wide)
        k = q if config.shares_qk else torch.randn(1, look.attention.num_kv_heads, old.num_keys, wide)
        reached = torch.zeros(look.queries, old.num_keys, dtype=torch.bool)
        for start in range(0, old.num_keys, wide):
            v = torch.zeros(1, look.attention.num_kv_heads, old.num_keys, wide)
            places = torch.arange(start, min(start + wide, old.num_keys))
            v[:, :, places, places - start] = 1.0
            reached[:, places] = (mechanism(q, k, v, mask) != 0).any(1)[0, :, : len(places)]
    return reached


def _remade(mask: Mask) -> Mask:
    """The same facts, with nothing made of them yet."""
    own = None if mask.own is None else _remade(mask.own)
    return Mask(mask.queries, mask.keys, mask.num_queries, mask.num_keys, mask.start, own)


def _policy(config: AttentionConfig, cross: bool) -> str:
    words = [f"{config.kind} attention"]
    words += ["to a memory"] if cross else []
    words += ["causal"] if config.causal else []
    words += [f"window {config.window}"] if config.window is not None else []
    return ", ".join(words)


def _shrunk(pairs: Tensor) -> list[list[float]]:
    """[T, S] -> at most 16 x 16 means over pieces of almost one size."""
    for axis in (0, 1):
        pieces = pairs.tensor_split(min(pairs.shape[axis], _MOST_CELLS), dim=axis)
        pairs = torch.cat([piece.mean(axis, keepdim=True) for piece in pieces], axis)
    return [[round(value, 3) for value in row] for row in pairs.tolist()]
