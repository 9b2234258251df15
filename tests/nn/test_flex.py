"""FlexAttention: the rule and the blocks that it gets are those of the mask, and what it gives is what all pairs give.

There is no backward pass for it on a CPU but the plain one of all pairs, which these tests use; a test of what runs on
CUDA is skipped elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention import flex_attention as library

from patchword.config import ALiBiPositionConfig, SoftmaxAttentionConfig, StackConfig
from patchword.nn import Stack
from patchword.nn.mechanisms import Mechanism, flex, softmax
from patchword.nn.mechanisms.flex import Pairs, Sizes, block_mask, flex_softmax, pairs_of, seen_blocks, suits
from patchword.nn.mechanisms.plans import Policy
from patchword.sequence import Mask, SequenceInfo, Tokens
from patchword.testing import check_mechanism

LENGTH = 75
POLICIES = [Policy(causal, window) for causal in (False, True) for window in (None, 1, 20)]
CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def facts(length: int = LENGTH) -> dict[str, SequenceInfo]:
    place = torch.arange(length)
    both = torch.stack([(place >= 20) & (place < length - 3), place < length - 30])
    documents = torch.stack([place // 17, (place > 33).long()])
    return {
        "trivial": SequenceInfo(),
        "padding on both sides": SequenceInfo(valid=both),
        "holes": SequenceInfo(valid=torch.rand(2, length) < 0.7),
        "only padding": SequenceInfo(valid=torch.stack([place < 0, place > 2])),
        "documents": SequenceInfo(segment=documents),
        "documents in pieces": SequenceInfo(valid=both, segment=torch.randint(-2, 3, (2, length))),
        "prefix": SequenceInfo(order=place.clamp_min(25)[None]),
        "orders without sense": SequenceInfo(valid=both, order=torch.randint(-9, length, (2, length))),
    }


NAMES = list(facts())


@pytest.fixture
def _plain(monkeypatch: Any) -> None:
    """FlexAttention as it stands: not compiled, and with the gradients that it has on a CPU then."""
    monkeypatch.setattr(library, "_FLEX_ATTENTION_DISABLE_COMPILE_DEBUG", True)
    monkeypatch.setattr(library, "_validate_device", lambda *_: None)
    monkeypatch.setattr(flex, "attend", lambda: library.flex_attention)


def ruled(pairs: Pairs) -> Tensor:
    """The rule written out; bool [R, T, S]."""
    now, low, high, own = (fact[:, :, None] for fact in pairs[:4])
    then, rank, other = (fact[:, None] for fact in pairs[4:])
    return (then <= now) & (low <= rank) & (rank <= high) & (own == other)


def in_blocks(see: Tensor, size: int) -> Tensor:
    """[R, T, S] -> [R, n, m, size * size], False beyond the ends."""
    see = torch.nn.functional.pad(see, (0, -see.shape[2] % size, 0, -see.shape[1] % size))
    return see.unflatten(1, (-1, size)).unflatten(3, (-1, size)).transpose(2, 3).flatten(3)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("name", NAMES)
def test_the_rule_and_the_blocks_are_those_of_the_mask(name: str, policy: Policy, monkeypatch: Any) -> None:
    monkeypatch.setattr(flex, "BLOCK", 8)
    info = facts()[name]
    mask = Mask(info, info, LENGTH, LENGTH)
    want = mask.dense(*policy[:2], CPU)[:, 0]
    pairs = pairs_of(mask, policy, LENGTH, CPU)
    assert torch.equal(ruled(pairs), want.expand(len(pairs.now), -1, -1))
    some, whole = seen_blocks(pairs)
    blocks = in_blocks(ruled(pairs), 8)
    assert not (blocks.any(-1) & ~some).any()
    assert not (whole & ~blocks.all(-1)).any()
    listed = block_mask(pairs, 2)
    rule = listed.mask_mod
    assert listed.to_dense()[:, 0].bool().equal(some.expand(2, -1, -1))
    assert library.create_mask(rule, 2, 1, LENGTH, LENGTH, "cpu")[:, 0].equal(want.expand(2, -1, -1))
    if name in ("trivial", "padding on both sides", "documents", "prefix") and policy.window is None:
        assert torch.equal(some, blocks.any(-1))  # nothing is computed in vain
        assert torch.equal(whole, blocks.all(-1))


class Case(NamedTuple):
    """Inputs of attention."""

    mask: Mask
    q: Tensor
    k: Tensor
    v: Tensor


def inputs(mask: Mask, num_queries: int | None = None, groups: int = 2, dtype: torch.dtype = torch.float64) -> Case:
    shapes = (4, num_queries or mask.num_queries), (groups, mask.num_keys), (groups, mask.num_keys)
    return Case(mask, *(torch.randn(2, *shape, 16, dtype=dtype, requires_grad=True) for shape in shapes))


def built(policy: Policy, groups: int = 2) -> Mechanism:
    own = SoftmaxAttentionConfig(num_heads=4, num_kv_heads=groups, causal=policy.causal, window=policy.window)
    return own.build(16)


def agree(case: Case, policy: Policy, tolerance: float = 1e-10) -> None:
    """Blocks against the mechanism as it computes on a CPU, and every gradient; blind rows are zero in both."""
    mechanism, given, outs = built(policy, case.k.shape[1]), case[1:], []
    weight = torch.randn_like(case.q)
    for blocks in (True, False):
        if blocks:
            out = flex_softmax(case.q, case.k, case.v, case.mask, policy, mechanism.scale)
        else:
            out = mechanism(case.q, case.k, case.v, case.mask)
        outs.append((out, *torch.autograd.grad((out * weight).sum(), given)))
    for got, want in zip(*outs, strict=True):
        torch.testing.assert_close(got, want, atol=tolerance, rtol=tolerance)


@pytest.mark.usefixtures("_plain")
@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("name", NAMES)
def test_blocks_give_what_all_pairs_give(name: str, policy: Policy) -> None:
    info = facts()[name]
    agree(inputs(Mask(info, info, LENGTH, LENGTH)), policy)


@pytest.mark.usefixtures("_plain")
@pytest.mark.parametrize("groups", [4, 2, 1])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_groups(groups: int, dtype: torch.dtype) -> None:
    info = facts()["padding on both sides"]
    mask = Mask(info, info, LENGTH, LENGTH)
    agree(inputs(mask, None, groups, dtype), Policy(True, 9), 1e-5 if dtype == torch.float32 else 1e-10)


@pytest.mark.usefixtures("_plain")
@pytest.mark.parametrize("num_queries", [1, 5, 140])
def test_a_padded_memory_is_one_row_of_queries(num_queries: int) -> None:
    valid = torch.rand(2, 130) < 0.5
    agree(inputs(Mask(SequenceInfo(), SequenceInfo(valid=valid), 1, 130), num_queries), Policy())
    valid[0] = False
    case = inputs(Mask(SequenceInfo(), SequenceInfo(valid=valid), 1, 130), num_queries)
    out = flex_softmax(case.q, case.k, case.v, case.mask, Policy(), 0.25)
    assert not out[0].any()
    assert out[1].all()
    assert all(torch.isfinite(grad).all() for grad in torch.autograd.grad(out.sum(), case[1:]))


@pytest.mark.usefixtures("_plain")
@pytest.mark.parametrize("policy", POLICIES)
def test_queries_in_the_middle_of_their_keys(policy: Policy) -> None:
    keys = SequenceInfo(valid=torch.rand(2, LENGTH) < 0.8)
    agree(inputs(Mask(SequenceInfo(), keys, 30, LENGTH, 20)), policy)


@pytest.mark.usefixtures("_plain")
def test_one_token() -> None:
    for valid in (torch.ones(2, 1, dtype=torch.bool), torch.tensor([[True], [False]])):
        info = SequenceInfo(valid=valid)
        agree(inputs(Mask(info, info, 1, 1)), Policy(True, 1))


@pytest.mark.usefixtures("_plain")
def test_autocast_reaches_it() -> None:
    info = facts()["documents"]
    case = inputs(Mask(info, info, LENGTH, LENGTH), None, 2, torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        out = flex_softmax(case.q, case.k, case.v.bfloat16(), case.mask, Policy(True), 0.25)
    assert out.dtype == torch.bfloat16
    q, k, v = (x.bfloat16() for x in case[1:])
    assert torch.equal(out, flex_softmax(q, k, v, case.mask, Policy(True), 0.25))


# ------------------------------------------------------------------ when it is chosen

LONG = Sizes(2048, 2048, 64, torch.bfloat16)


def long_mask(**known: Tensor) -> Mask:
    info = SequenceInfo(**known)
    return Mask(info, info, 2048, 2048)


@pytest.mark.parametrize(
    ("mask", "policy", "want"),
    [
        (long_mask(), Policy(), False),
        (long_mask(), Policy(causal=True), False),
        (long_mask(), Policy(window=64), True),
        (long_mask(valid=torch.ones(1, 2048, dtype=torch.bool)), Policy(), True),
        (long_mask(segment=torch.zeros(1, 2048, dtype=torch.long)), Policy(causal=True), True),
        (long_mask(order=torch.zeros(1, 2048, dtype=torch.long)), Policy(), False),
        (long_mask(order=torch.zeros(1, 2048, dtype=torch.long)), Policy(causal=True), True),
        (Mask(SequenceInfo(), SequenceInfo(), 1024, 2048, 1024), Policy(causal=True), True),
        (Mask(SequenceInfo(), SequenceInfo(), 1024, 2048, torch.tensor(1024)), Policy(causal=True), False),
    ],
)
def test_masks_that_flags_cannot_say(mask: Mask, policy: Policy, want: bool, monkeypatch: Any) -> None:
    monkeypatch.setattr(flex, "has_triton", lambda: True)
    assert suits(mask, policy, LONG, CUDA) is want
    assert not suits(mask, policy, LONG, CPU)


@pytest.mark.parametrize(
    ("change", "want"),
    [
        ({}, True),
        ({"num_queries": 128, "num_keys": 1024}, True),
        ({"num_queries": 127}, False),
        ({"num_keys": 1023}, False),
        ({"head_dim": 16, "dtype": torch.float32}, True),
        ({"head_dim": 15}, False),
        ({"dtype": torch.float64}, False),
    ],
)
def test_sizes_that_matter(change: dict[str, Any], want: bool, monkeypatch: Any) -> None:
    for there in (True, False):
        monkeypatch.setattr(flex, "has_triton", lambda there=there: there)
        assert suits(long_mask(), Policy(window=64), LONG._replace(**change), CUDA) is (want and there)


@pytest.fixture
def taken(monkeypatch: Any) -> list[Sizes]:
    """Calls that were computed in blocks, wherever blocks could be."""
    calls: list[Sizes] = []

    def always(mask: Mask, policy: Policy, sizes: Sizes, device: torch.device) -> bool:
        calls.append(sizes)
        return True

    monkeypatch.setattr(softmax, "suits", always)
    return calls


@pytest.mark.usefixtures("_plain")
def test_layers_share_their_blocks(taken: list[Sizes], monkeypatch: Any) -> None:
    made: list[Pairs] = []

    def counted(pairs: Pairs, batch: int, make: Callable[..., Any] = block_mask) -> Any:
        made.append(pairs)
        return make(pairs, batch)

    monkeypatch.setattr(flex, "block_mask", counted)
    stack = Stack(StackConfig(dim=64, depth=3, attention=SoftmaxAttentionConfig(causal=True, num_kv_heads=2))).double()
    info = facts()["padding on both sides"]
    x = torch.randn(2, LENGTH, 64, dtype=torch.float64)
    got = stack(Tokens(x, info))
    assert (len(taken), len(made)) == (3, 1)
    monkeypatch.setattr(softmax, "suits", lambda *_: False)
    torch.testing.assert_close(got, stack(Tokens(x, info)), atol=1e-10, rtol=1e-10)


def test_what_it_is_not_for(taken: list[Sizes]) -> None:
    x = torch.randn(2, 12, 64)
    plain = StackConfig(dim=64, depth=1, attention=SoftmaxAttentionConfig(causal=True))
    with torch.no_grad():
        Stack(plain.replace(position=ALiBiPositionConfig()))(Tokens(x))
        Stack(plain.replace(attention=SoftmaxAttentionConfig(causal=True, dropout=0.5)))(Tokens(x))
        stack = Stack(plain)
        for static in (False, True):
            stack(Tokens(x), cache=stack.new_cache(2, 20, x, static))
        for empty in (x[:0], x[:, :0]):
            stack(Tokens(empty))
        torch.export.export(stack, (Tokens(x),))
        with FakeTensorMode(allow_non_fake_inputs=True):
            stack(Tokens(torch.empty(2, 12, 64)))
    assert not taken


@pytest.mark.slow
@pytest.mark.usefixtures("_plain")
def test_the_contract_holds_in_blocks(monkeypatch: Any) -> None:
    taken: list[Sizes] = []

    def wherever(mask: Mask, policy: Policy, sizes: Sizes, device: torch.device) -> bool:
        taken.append(sizes)
        return mask.flags(policy.causal, policy.window) is None

    monkeypatch.setattr(softmax, "suits", wherever)
    check_mechanism(SoftmaxAttentionConfig())
    assert len(taken) > 1000


# ------------------------------------------------------------------ compiled


BUILDING = pytest.mark.filterwarnings("ignore:.torch.jit.script_method. is deprecated:DeprecationWarning")
"""The compiler's own import says so."""


@BUILDING
@pytest.mark.slow
@torch.no_grad()
def test_compiled_on_a_cpu() -> None:
    for policy in (Policy(True), Policy(False, 40)):
        for name, info in facts(300).items():
            case = inputs(Mask(info, info, 300, 300), None, 2, torch.float32)
            q, k, v = (x.detach() for x in case[1:])
            got, want = flex_softmax(q, k, v, case.mask, policy, 0.25), built(policy)(q, k, v, case.mask)
            torch.testing.assert_close(got, want, atol=1e-5, rtol=1e-5, msg=lambda said, name=name: f"{name}: {said}")


@BUILDING
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", NAMES)
def test_on_the_device(name: str, monkeypatch: Any) -> None:
    info = SequenceInfo(*(None if fact is None else fact.to(CUDA) for fact in facts(1100)[name]))
    for policy in POLICIES[1:]:
        if name == "trivial" and policy.window is None:
            continue
        mask, mechanism = Mask(info, info, 1100, 1100), built(policy)
        given = [torch.randn(2, heads, 1100, 16, device=CUDA, requires_grad=True) for heads in (4, 2, 2)]
        weight, outs = torch.randn_like(given[0]), []
        for always in (True, False):
            monkeypatch.setattr(softmax, "suits", suits if always else lambda *_: False)
            out = mechanism(*given, mask)
            outs.append((out, *torch.autograd.grad((out * weight).sum(), given)))
        for got, want in zip(*outs, strict=True):
            torch.testing.assert_close(got, want, atol=5e-3, rtol=5e-3)  # products in TF32
