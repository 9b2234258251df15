"""Linear attention: its n x n form, chunks, steps, memory, and the fixtures of the reference."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from kernel_matrix import FACTS, QKV, facts, gathered, inputs, itself, same_with_gradients
from largest import Largest
from safetensors.torch import load_file
from torch import Tensor

from patchword.config import ConfigError, LinearAttentionConfig
from patchword.nn import Attention, View
from patchword.nn.mechanisms.linear import LinearAttention
from patchword.sequence import Mask, SequenceInfo
from patchword.testing import Case, Subject, cases, check_mechanism, laws_for, randomise

PHI = {"elu": lambda x: F.elu(x) + 1, "relu": F.relu, "softmax": lambda x: x.softmax(-1)}


def made(head_dim: int = 6, **settings: Any) -> LinearAttention:
    """A mechanism with random float64 maps."""
    mechanism = LinearAttention(LinearAttentionConfig(**settings), head_dim)
    randomise(mechanism, torch.Generator().manual_seed(1))
    return mechanism.double()


def matrix(mechanism: LinearAttention, q: Tensor, k: Tensor, v: Tensor, mask: Mask) -> Tensor:
    config = mechanism.config
    assert isinstance(config, LinearAttentionConfig)
    if mechanism.q_map is not None and mechanism.k_map is not None:
        q, k = q @ mechanism.q_map.weight.T, k @ mechanism.k_map.weight.T
    phi = PHI[config.feature]
    return gathered(phi(q), phi(k), v, mask.dense(config.causal, None, q.device), config.eps)


@pytest.mark.parametrize("name", FACTS)
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("chunk", [1, 3, 4, 64])
def test_matrix_form(name: str, causal: bool, chunk: int) -> None:
    """For any facts and any chunk; with and without groups and learned maps; gradients, too."""
    for length, groups, feature, width in ((14, 4, "elu", None), (13, 2, "softmax", 5), (5, 1, "relu", 9)):
        phi = {"feature": feature, "feature_dim": width}
        mechanism = made(num_heads=4, num_kv_heads=groups, causal=causal, chunk=chunk, **phi)
        x, mask = inputs(2, length, 4, groups, 6), itself(facts(name, 2, length), length)
        learned = [*x, *mechanism.parameters()]
        same_with_gradients(mechanism(*x, mask), matrix(mechanism, *x, mask), learned)


def test_two_sequences() -> None:
    """Padding in the memory, no memory, and more queries than its mask speaks of (folded beams)."""
    mechanism = made(num_heads=4, num_kv_heads=2)
    q, (_, k, v) = torch.randn(3, 4, 10, 6, dtype=torch.float64), inputs(3, 7, 4, 2, 6)
    valid = torch.tensor([[True] * 7, [False] * 7, [False, True, True, False, True, False, False]])
    mask = Mask(SequenceInfo(), SequenceInfo(valid=valid), 1, 7)
    got = mechanism(q, k, v, mask)
    same_with_gradients(got, matrix(mechanism, q, k, v, mask), [k, v])
    assert not got[1].any()
    nothing = mechanism(q, k[:, :, :0], v[:, :, :0], Mask(SequenceInfo(), SequenceInfo(), 1, 0))
    assert not nothing.any()
    (gradient,) = torch.autograd.grad(nothing.sum(), [k])
    assert not gradient.any()


def steps(mechanism: LinearAttention, x: QKV, info: SequenceInfo, lengths: tuple[int, ...]) -> Tensor:
    """One pass in parts, with a cache."""
    cache, out, start = mechanism.new_cache(len(x[0]), 99, x[0], static=False), [], 0
    for n in lengths:
        end = start + n
        own = SequenceInfo(*(None if fact is None else fact[:, start:end] for fact in info))
        keys = SequenceInfo(*(None if fact is None else fact[:, :end] for fact in info))
        q, k, v = (y[:, :, start:end] for y in x)
        out.append(mechanism(q, k, v, Mask(own, keys, n, end, start), None, cache))
        start = end
    return torch.cat(out, 2)


@pytest.mark.parametrize("lengths", [(1,) * 9, (5, 1, 3), (0, 9), (2, 0, 7)])
def test_steps_of_any_length(lengths: tuple[int, ...]) -> None:
    mechanism = made(num_heads=4, num_kv_heads=2, causal=True, chunk=2)
    x = inputs(3, 9, 4, 2, 6)
    for name in ("plain", "padding"):
        info = facts(name, 3, 9)
        same_with_gradients(steps(mechanism, x, info, lengths), mechanism(*x, itself(info, 9)), x)


def test_tokens_of_one_order_must_come_together() -> None:
    """Within a part they see one another; what would come before or beside an earlier part is refused."""
    mechanism = made(num_heads=4, causal=True, chunk=2)
    x, order = inputs(2, 8, 4, 4, 6), torch.tensor([[4, 4, 4, 5, 6, 6, 7, 9], [1, 0, 1, 2, 4, 3, 5, 5]])
    info = SequenceInfo(order=order)
    same_with_gradients(steps(mechanism, x, info, (4, 2, 2)), mechanism(*x, itself(info, 8)), x)
    for lengths in ((2, 6), (5, 3), (7, 1)):
        with pytest.raises(ValueError, match="tokens of one order must be given in one chunk"):
            steps(mechanism, x, info, lengths)
    valid = torch.tensor([[True] * 5 + [False] + [True] * 2, [True] * 4 + [False] + [True] * 3])
    padded = info._replace(valid=valid)  # what padding says of itself does not count
    got, want = steps(mechanism, x, padded, (5, 3)), mechanism(*x, itself(padded, 8))
    torch.testing.assert_close(got.transpose(1, 2)[valid], want.transpose(1, 2)[valid])


@pytest.mark.parametrize("causal", [False, True])
def test_no_tensor_grows_faster_than_length(causal: bool) -> None:
    """Forward and backward, also sorted: never n x F x E numbers, nor n x n."""
    sizes = []
    for length in (256, 1024):
        mechanism, largest = made(16, num_heads=2, causal=causal, chunk=32), Largest()
        x = inputs(1, length, 2, 2, 16)
        for name in ("plain", "documents", "prefix"):
            with largest:
                mechanism(*x, itself(facts(name, 1, length), length)).sum().backward()
        sizes.append(largest.numel)
    assert sizes[1] <= 4 * sizes[0]
    assert sizes[1] < 1024 * 2 * 16 * 16 / 4


@pytest.mark.parametrize("causal", [False, True])
def test_sums_are_wide(causal: bool) -> None:
    """Sums over thousands of keys in bfloat16 are those of float32, under autocast, too."""
    mechanism = made(8, num_heads=1, causal=causal).float()
    q, k, v = (x.detach().bfloat16() for x in inputs(1, 3000, 1, 1, 8))
    v, mask = v + 1, itself(SequenceInfo(), 3000)
    want = matrix(mechanism, q.double(), k.double(), v.double(), mask)
    got = mechanism(q, k, v, mask)
    with torch.autocast("cpu", torch.bfloat16):
        within = mechanism(q.float(), k.float(), v.float(), mask)
    assert got.dtype == torch.bfloat16
    torch.testing.assert_close(got.double(), want, atol=8e-3, rtol=8e-3)
    torch.testing.assert_close(within.double(), want, atol=1e-4, rtol=1e-4)


def test_keys_far_below_zero_leave_zeros() -> None:
    """elu(x) + 1 rounds to 0: eps keeps 0 / 0 away."""
    x = inputs(1, 4, 4, 4, 6, torch.float32)
    out = made(num_heads=4).float()(x[0], x[1] - 1e4, x[2], itself(SequenceInfo(), 4))
    out.sum().backward()
    assert not out.any()
    assert all(y.grad is not None and y.grad.isfinite().all() for y in x)


def test_what_has_no_meaning_is_refused() -> None:
    with pytest.raises(ConfigError, match="linear attention has no scores to scale"):
        LinearAttentionConfig(scale=0.5)
    with pytest.raises(ConfigError, match="linear attention cannot do: window"):
        LinearAttentionConfig(window=4)


def test_laws_where_chunks_are_short() -> None:
    """Some shapes of the contract with chunks of 3, so that what is short there has several."""
    for case in [c for c in cases(LinearAttentionConfig(chunk=3)) if c.causal][::13]:
        for law in laws_for(case):
            law.holds(Subject(case))


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{}, {"chunk": 2, "feature": "softmax", "feature_dim": 5}], ids=["plain", "maps"])
def test_contract(settings: Any) -> None:
    counts = check_mechanism(LinearAttentionConfig(**settings))
    assert counts["refused"] == 2  # window, dropout
    assert counts["cached_equals_full"] >= 10


@pytest.mark.parametrize("name", ["linear_attention_elu", "linear_attention_softmax", "multi_query_linear"])
def test_fixture(shared: Path, name: str) -> None:
    """Learned maps before phi; padding counts after phi (as published, multi-query lets it leak)."""
    path = shared / "reference" / "fixtures" / f"s003_{name}.safetensors"
    if not path.is_file():
        pytest.skip("needs ../shared/reference")
    data = load_file(path)
    settings: dict[str, Any] = {"num_kv_heads": 1} if "query" in name else {"feature": name.rpartition("_")[2]}
    width = data["sd/q_map.weight"].shape[0]
    x, valid = data["in/x"], data["in/mask"].bool()
    for out, causal, info in (
        ("out", False, SequenceInfo()),
        ("out_masked", False, SequenceInfo(valid=valid)),
        ("out_causal", True, SequenceInfo()),
    ):
        config = LinearAttentionConfig(num_heads=4, causal=causal, feature_dim=width, chunk=3, **settings)
        layer = Attention(config, 32)
        weights = {key.removeprefix("sd/"): value for key, value in data.items() if key.startswith("sd/")}
        layer.load_state_dict({f"mechanism.{k}" if "_map" in k else k: v for k, v in weights.items()})
        got = layer(x, View(itself(info, 7)))
        torch.testing.assert_close(got, data[f"out/{out}"], atol=1e-5, rtol=1e-5, msg=lambda m, o=out: f"{o}: {m}")


def test_a_stack_takes_it_in_every_place() -> None:
    """Learned maps are weights of the layer: they train, and get gradients."""
    case = Case(next(cases(LinearAttentionConfig(feature_dim=3))).stack)
    subject = Subject(case)
    subject.run(subject.tokens(2, 5)).sum().backward()
    maps = [p.grad for name, p in subject.stack.named_parameters() if "_map" in name]
    assert len(maps) == 4
    assert all(g is not None and g.abs().max() > 0 for g in maps)
