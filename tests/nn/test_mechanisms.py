"""The swap point: mechanisms that only exist here, one that can do everything and one that can do almost nothing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from patchword.cache import KeyValueCache, LayerCache
from patchword.config import (
    AttentionConfig,
    ConfigError,
    ModelConfig,
    SoftmaxAttentionConfig,
    StackConfig,
    UserError,
    implements,
)
from patchword.config.numbers import Positive
from patchword.nn import Stack
from patchword.nn.mechanisms.base import Mechanism
from patchword.nn.positions import Bias
from patchword.sequence import Mask, SequenceInfo, Tokens
from patchword.testing import Case, Subject, check_mechanism, check_refusals


@pytest.fixture(autouse=True)
def _kinds() -> Iterator[None]:
    """Kinds of this file are known to its tests only."""
    AttentionConfig.kinds |= {"test_topk": TopKConfig, "test_mean": MeanConfig}
    yield
    for kind in ("test_topk", "test_mean"):
        AttentionConfig.kinds.pop(kind, None)


def able(*wants: str) -> str:
    """The kinds that can do all of this, as a message names them."""
    kinds = {kind: c for kind, c in AttentionConfig.kinds.items() if issubclass(c, AttentionConfig)}
    return ", ".join(sorted(kind for kind, c in kinds.items() if c.can.issuperset(wants)))


class TopKConfig(AttentionConfig, kind="test_topk"):
    """Each query keeps its best keys only."""

    can = frozenset({"causal", "window", "segment", "cache", "cross"})

    keep: Positive = 4
    """How many."""


@implements(TopKConfig)
class TopK(Mechanism):
    """In plain tensor operations, with the library's cache."""

    def forward(
        self, q: Tensor, k: Tensor, v: Tensor, mask: Mask, bias: Bias | None = None, cache: LayerCache | None = None
    ) -> Tensor:
        """q [B, H, T, E], k and v [B, G, S, E] -> [B, H, T, E]."""
        if cache is not None:
            assert isinstance(cache, KeyValueCache)
            k, v = cache.write(k, v, mask.start)
        if k.shape[2] == 0:
            return (q + k.sum() + v.sum()) * 0.0
        k, v = (x.repeat_interleave(self.num_heads // self.num_kv_heads, 1) for x in (k, v))
        see = mask.dense(self.config.causal, self.config.window, q.device)
        scores = (q @ k.mT * self.scale).masked_fill(~see, -torch.inf)
        assert isinstance(self.config, TopKConfig)
        least = scores.topk(min(self.config.keep, k.shape[2]), -1).values[..., -1:]
        scores = scores.masked_fill(scores < least, -torch.inf).masked_fill(~see.any(-1, keepdim=True), 0.0)
        return scores.softmax(-1).masked_fill(~see, 0.0) @ v


class MeanConfig(AttentionConfig, kind="test_mean"):
    """Every query gets the mean of all values: no order, no steps, no other sequence."""


@implements(MeanConfig)
class Mean(Mechanism):
    """The mean of the real values."""

    def forward(
        self, q: Tensor, k: Tensor, v: Tensor, mask: Mask, bias: Bias | None = None, cache: LayerCache | None = None
    ) -> Tensor:
        """q [B, H, T, E], k and v [B, G, S, E] -> [B, H, T, E]."""
        v = v.repeat_interleave(self.num_heads // self.num_kv_heads, 1)
        valid = mask.keys.valid
        keep = torch.ones_like(v[:, :1, :, :1]) if valid is None else valid[:, None, :, None].to(v.dtype)
        mean = (v * keep).sum(2, keepdim=True) / keep.sum(2, keepdim=True).clamp_min(1)
        return mean.expand_as(q) + (q.sum() + k.sum()) * 0.0


def test_a_new_mechanism_passes_the_contract_through_the_swap_point() -> None:
    counts = check_mechanism(TopKConfig(keep=4))
    assert counts["refused"] == 1
    assert counts["cached_equals_full"] >= 10
    assert sum(counts.values()) > 300


def test_a_poor_mechanism_passes_what_it_can_be_asked_for() -> None:
    counts = check_mechanism(MeanConfig)
    assert counts["refused"] == 5
    assert "cached_equals_full" not in counts
    assert counts["packed_documents_stay_apart"] == 7


def test_a_false_claim_is_found() -> None:
    class Boastful(MeanConfig):
        can = frozenset({"causal"})

    with pytest.raises(AssertionError, match=r"the_future_is_invisible does not hold for test_mean none .*causal"):
        check_mechanism(Boastful())


def test_a_refusal_that_does_not_happen_is_found() -> None:
    class Sloppy(MeanConfig):
        def refusals(self, wants: set[str]) -> Iterator[str]:
            yield from ()

    with pytest.raises(AssertionError, match="test_mean attention says that it cannot do causal, and was not refused"):
        check_refusals(Sloppy())


def test_topk_of_all_keys_is_softmax() -> None:
    every = Subject(Case(StackConfig(dim=16, attention=TopKConfig(keep=9, causal=True)), seed=5))
    softmax = Subject(Case(StackConfig(dim=16, attention=SoftmaxAttentionConfig(causal=True)), seed=5))
    x = every.tokens(2, 9)
    every.close(every.run(x), softmax.run(x), "all keys kept")


@pytest.mark.parametrize("what", ["causal", "window", "dropout"])
def test_policy_is_refused_when_the_configuration_is_read(what: str) -> None:
    value = {"causal": True, "window": 3, "dropout": 0.1}[what]
    assert ("test_topk" in able(what)) == (what != "dropout")
    assert "softmax" in able(what)
    with pytest.raises(ConfigError) as caught:
        StackConfig.from_dict({"attention": {"kind": "test_mean", what: value}})
    assert [tuple(p) for p in caught.value.problems] == [
        ("attention.kind", f"test_mean attention cannot do: {what}; kinds that can: {able(what)}")
    ]


def test_cross_is_refused_when_the_configuration_is_read() -> None:
    towers = {"text": {"kind": "text", "dim": 16, "depth": 0}, "image": {"kind": "image", "dim": 16}}
    data = {
        "towers": towers,
        "fusion": "cross",
        "trunk": {"dim": 16, "cross_attention": {"kind": "test_mean"}},
        "heads": {},
    }
    message = f"test_mean attention cannot do: cross; kinds that can: {able('cross')}"
    with pytest.raises(ConfigError, match=message) as caught:
        ModelConfig.from_dict(data)
    assert caught.value.problems[0].path == "trunk.cross_attention.kind"


def test_several_refusals_are_one_message() -> None:
    with pytest.raises(ConfigError, match="cannot do: causal, dropout, window; kinds that can: ") as caught:
        MeanConfig(causal=True, window=4, dropout=0.5)
    assert str(caught.value).endswith(f": {able('causal', 'dropout', 'window')}")


def test_steps_are_refused_before_any_is_taken() -> None:
    poor = Stack(StackConfig(dim=16, attention=MeanConfig()))
    with pytest.raises(UserError, match=f"test_mean attention cannot do: cache; kinds that can: {able('cache')}"):
        poor.new_cache(2, 4, torch.zeros(()))
    blind = Stack(StackConfig(dim=16, attention=SoftmaxAttentionConfig()))
    with pytest.raises(UserError, match=r"only a causal stack can decode step by step: set attention\.causal"):
        blind.new_cache(2, 4, torch.zeros(()))


def test_packed_documents_are_refused_not_mixed() -> None:
    stack = Stack(StackConfig(dim=16, attention=MeanConfig()))
    with pytest.raises(ValueError, match="test_mean attention cannot keep packed documents apart"):
        stack(Tokens(torch.randn(1, 4, 16), SequenceInfo(segment=torch.tensor([[0, 0, 1, 1]]))))


def test_packed_documents_are_refused_by_a_cache() -> None:
    stack = Stack(StackConfig(dim=16, attention=SoftmaxAttentionConfig(causal=True)))
    cache = stack.new_cache(1, 4, torch.zeros(()))
    with pytest.raises(ValueError, match="a cache holds one document a row"):
        stack(Tokens(torch.randn(1, 4, 16), SequenceInfo(segment=torch.tensor([[0, 0, 1, 1]]))), cache=cache)
