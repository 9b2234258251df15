"""Sparse attention against dense attention with the pattern as a mask, written from the papers in plain loops."""

from __future__ import annotations

import functools
import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from largest import Largest
from safetensors.torch import load_file
from torch import Tensor

from patchword.config import (
    BlockPatternConfig,
    ConfigError,
    FixedPatternConfig,
    LocalPatternConfig,
    NoPositionConfig,
    PatternConfig,
    SoftmaxAttentionConfig,
    SparseAttentionConfig,
    StackConfig,
    StridedPatternConfig,
)
from patchword.nn import Stack
from patchword.nn.attention import Attention, View
from patchword.nn.mechanisms import blocked
from patchword.nn.mechanisms.block_pattern import BlockPattern
from patchword.nn.mechanisms.sparse import SparseAttention
from patchword.sequence import Mask, SequenceInfo, Tokens
from patchword.testing import Subject, cases, check_mechanism, laws_for

HEADS, GROUPS, WIDTH = 4, 2, 8

# ------------------------------------------------------------------ the patterns, as the papers define them


def local(p: LocalPatternConfig, i: int, j: int, n: int, causal: bool) -> bool:
    """Longformer (Beltagy et al. 2020): gaps 0, d, 2d ... (reach - 1) d; global tokens see and are seen."""
    gaps = [step * p.dilation for step in range(p.reach)]
    return abs(i - j) in gaps or i < p.num_global or j < p.num_global


def block(p: BlockPatternConfig, i: int, j: int, n: int, causal: bool) -> bool:
    """BigBird (Zaheer et al. 2020): a block sees its neighbours, the global blocks and its random ones."""
    own, other = i // p.block_size, j // p.block_size
    if abs(own - other) <= p.num_neighbours or own < p.num_global or other < p.num_global:
        return True
    return other in random_blocks(p, causal, own, -(-n // p.block_size))


@functools.cache
def random_blocks(p: BlockPatternConfig, causal: bool, own: int, blocks: int) -> list[int]:
    pattern: BlockPattern = p.build(causal)
    return pattern.random_blocks(torch.tensor([[own]]), torch.tensor([[blocks]])).flatten().tolist()


def strided(p: StridedPatternConfig, i: int, j: int, n: int, causal: bool) -> bool:
    """Child et al. 2019: t ... i with t = max(0, i - l), and those with (i - j) mod l = 0; both ways if not causal."""
    return abs(i - j) <= p.stride or (i - j) % p.stride == 0


def fixed(p: FixedPatternConfig, i: int, j: int, n: int, causal: bool) -> bool:
    """Child et al. 2019: floor(j / l) = floor(i / l), and those with j mod l in {l - c, ..., l - 1}."""
    length = p.block_size
    return j // length == i // length or j % length in range(length - p.summary, length)


DEFINITIONS: dict[type[PatternConfig], Any] = {
    LocalPatternConfig: local,
    BlockPatternConfig: block,
    StridedPatternConfig: strided,
    FixedPatternConfig: fixed,
}
PATTERNS: tuple[PatternConfig, ...] = (
    LocalPatternConfig(reach=3),
    LocalPatternConfig(reach=1),
    LocalPatternConfig(reach=40, dilation=2),
    LocalPatternConfig(reach=2, dilation=3, num_global=2),
    BlockPatternConfig(block_size=4, num_random=0),
    BlockPatternConfig(block_size=3, num_neighbours=0, num_global=0, num_random=2, seed=1),
    BlockPatternConfig(block_size=2, num_neighbours=2, num_global=2, num_random=3, seed=2),
    StridedPatternConfig(stride=4),
    StridedPatternConfig(stride=1),
    FixedPatternConfig(block_size=5, summary=2),
    FixedPatternConfig(block_size=3, summary=3),
)
EACH = pytest.mark.parametrize("pattern", PATTERNS, ids=lambda p: " ".join(map(str, p.to_dict().values())))


def ranks(info: SequenceInfo, row: int, length: int) -> list[tuple[int, int] | None]:
    """Document and place among its real tokens, of each token of a row; None for padding."""
    seen: dict[int, int] = {}
    found: list[tuple[int, int] | None] = []
    for place in range(length):
        if info.valid is not None and not info.valid[row, place]:
            found.append(None)
            continue
        document = 0 if info.segment is None else int(info.segment[row, place])
        found.append((document, seen.setdefault(document, 0)))
        seen[document] += 1
    return found


def seen(config: SparseAttentionConfig, mask: Mask, batch: int) -> Tensor:
    """bool [B, T, S]: the pattern, and what the facts allow, pair by pair; rows of padding see nothing."""
    queries, num_queries, start = (mask, mask.num_queries, mask.start) if mask.own is None else (mask.own, 0, 0)
    num_queries = num_queries or queries.num_queries
    pattern, causal = config.pattern, config.causal
    out = mask.dense(causal, config.window, torch.device("cpu")).expand(batch, 1, num_queries, -1)[:, 0].clone()
    for b in range(batch):
        keys = ranks(mask.keys, b, mask.num_keys)
        own = keys if mask.own is None else ranks(queries.keys, b, queries.num_keys)
        size: dict[int, int] = {}
        for key in keys:
            if key is not None:
                size[key[0]] = size.get(key[0], 0) + 1
        for t, s in itertools.product(range(num_queries), range(mask.num_keys)):
            q, k = own[int(start) + t], keys[s]
            if q is None or k is None:
                out[b, t, s] = False
                continue
            i = q[1] if mask.own is None else int(q[1] * config.memory_ratio)
            out[b, t, s] &= DEFINITIONS[type(pattern)](pattern, i, k[1], size[k[0]], causal)
    return out


def dense(q: Tensor, k: Tensor, v: Tensor, see: Tensor, scale: float) -> Tensor:
    """Softmax over what is seen, head by head; rows that see nothing are zero."""
    k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], 1) for x in (k, v))
    scores = (q @ k.mT * scale).masked_fill(~see[:, None], -torch.inf)
    blind = ~see.any(-1)[:, None, :, None]
    weights = scores.masked_fill(blind, 0.0).softmax(-1).masked_fill(blind, 0.0)
    return weights @ v


def inputs(batch: int, num_queries: int, num_keys: int) -> list[Tensor]:
    shapes = [(batch, HEADS, num_queries, WIDTH)] + [(batch, GROUPS, num_keys, WIDTH)] * 2
    return [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]


def check(config: SparseAttentionConfig, mask: Mask, batch: int) -> None:
    """Values and gradients, to 1e-10."""
    own = mask if mask.own is None else mask.own
    q, k, v = inputs(batch, own.num_queries, mask.num_keys)
    mechanism: SparseAttention = config.build(WIDTH)
    see = seen(config, mask, batch)
    want, got = dense(q, k, v, see, mechanism.scale), mechanism(q, k, v, mask)
    torch.testing.assert_close(got, want, atol=1e-10, rtol=1e-10)
    weight = torch.randn_like(want)
    wants = torch.autograd.grad((want * weight).sum(), (q, k, v))
    gots = torch.autograd.grad((got * weight).sum(), (q, k, v))
    for a, b in zip(gots, wants, strict=True):
        torch.testing.assert_close(a, b, atol=1e-10, rtol=1e-10)


def sparse(pattern: PatternConfig, **settings: Any) -> SparseAttentionConfig:
    return SparseAttentionConfig(num_heads=HEADS, num_kv_heads=GROUPS, pattern=pattern, **settings)


def facts(length: int) -> dict[str, SequenceInfo]:
    """All that may be known of two rows of tokens, twelve or more."""
    place = torch.arange(length)
    both = torch.stack([(place >= 2) & (place < length - 3), place < length - 1])
    holes = torch.rand(2, length) < 0.7
    documents = torch.stack([place // 5, (place > 3).long()])
    return {
        "trivial": SequenceInfo(),
        "written out": SequenceInfo(valid=torch.ones(2, length, dtype=torch.bool)),
        "padding on both sides": SequenceInfo(valid=both),
        "holes": SequenceInfo(valid=holes),
        "a row of padding": SequenceInfo(valid=torch.stack([both[0], place < 0])),
        "only padding": SequenceInfo(valid=torch.zeros(2, length, dtype=torch.bool)),
        "documents": SequenceInfo(segment=documents),
        "documents and padding": SequenceInfo(valid=both, segment=documents),
        "documents in pieces": SequenceInfo(valid=holes, segment=torch.randint(0, 3, (2, length))),
    }


# ------------------------------------------------------------------ one sequence


@EACH
@pytest.mark.parametrize("causal", [False, True])
def test_every_pattern_is_dense_attention_with_its_mask(pattern: PatternConfig, causal: bool) -> None:
    for i, info in enumerate(facts(14).values()):
        window = (None, 4)[i % 2]
        check(sparse(pattern, causal=causal, window=window), Mask(info, info, 14, 14), 2)
    for length in (1, 2, 5):
        check(sparse(pattern, causal=causal), Mask(SequenceInfo(), SequenceInfo(), length, length), 2)


@EACH
def test_orders_with_ties_and_without_sense(pattern: PatternConfig) -> None:
    prefix = torch.tensor([[3, 3, 3, 3, *range(4, 14)], [0, 0, *range(2, 14)]])
    for order in (prefix, torch.randint(0, 14, (2, 14)), prefix[:1]):
        for valid in (None, torch.rand(2, 14) < 0.7):
            info = SequenceInfo(valid=valid, order=order)
            check(sparse(pattern, causal=True), Mask(info, info, 14, 14), 2)


@pytest.mark.parametrize("causal", [False, True])
def test_chunks_longer_than_the_sequence_and_much_shorter(causal: bool) -> None:
    """Cells of 40 queries and more: their edges, and that of the sequence."""
    for pattern in (LocalPatternConfig(reach=20, num_global=1), StridedPatternConfig(stride=33)):
        for length in (31, 40, 41, 81, 150):
            check(sparse(pattern, causal=causal), Mask(SequenceInfo(), SequenceInfo(), length, length), 1)


@pytest.mark.parametrize("causal", [False, True])
def test_a_reach_as_long_as_the_sequence_is_softmax(causal: bool) -> None:
    full = SoftmaxAttentionConfig(num_heads=HEADS, num_kv_heads=GROUPS, causal=causal).build(WIDTH)
    every = (
        LocalPatternConfig(reach=14),
        BlockPatternConfig(block_size=14, num_random=0),
        StridedPatternConfig(stride=14),
        FixedPatternConfig(block_size=14),
        LocalPatternConfig(reach=1, num_global=14),
    )
    for info in facts(14).values():
        mask = Mask(info, info, 14, 14)
        q, k, v = inputs(2, 14, 14)
        real = torch.ones(2, 14, dtype=torch.bool) if info.valid is None else info.valid
        for pattern in every:
            got, want = (m(q, k, v, mask).transpose(1, 2) for m in (sparse(pattern, causal=causal).build(WIDTH), full))
            torch.testing.assert_close(got[real], want[real], atol=1e-10, rtol=1e-10)
            assert not got[~real].any()


# ------------------------------------------------------------------ two sequences


@EACH
@pytest.mark.parametrize("ratio", [1.0, 0.4, 2.5])
def test_between_two_sequences_a_query_stands_at_its_scaled_rank(pattern: PatternConfig, ratio: float) -> None:
    valid = torch.stack([torch.arange(7) >= 2, torch.arange(7) < 4])
    for own in (SequenceInfo(), SequenceInfo(valid=valid)):
        for keys in (SequenceInfo(), SequenceInfo(valid=torch.rand(2, 12) < 0.6)):
            mask = Mask(SequenceInfo(), keys, 1, 12, own=Mask(own, own, 7, 7))
            check(sparse(pattern, memory_ratio=ratio), mask, 2)


@EACH
def test_beams_stand_where_they_would_alone(pattern: PatternConfig) -> None:
    """Three rows of queries a memory, folded into its row."""
    valid = torch.rand(6, 5) < 0.7
    for own in (SequenceInfo(), SequenceInfo(valid=valid)):
        mechanism = sparse(pattern, memory_ratio=2.0).build(WIDTH)
        q, k, v = inputs(6, 5, 12)
        k, v = k[::3], v[::3]
        query_mask = Mask(own, own, 5, 5)
        many = Mask(SequenceInfo(), SequenceInfo(), 1, 12, own=query_mask)
        want = mechanism(q, k.repeat_interleave(3, 0), v.repeat_interleave(3, 0), many)
        folded = q.unflatten(0, (2, 3)).transpose(1, 2).flatten(2, 3)
        got = mechanism(folded, k, v, Mask(SequenceInfo(), SequenceInfo(), 1, 12, own=query_mask))
        torch.testing.assert_close(got.unflatten(2, (3, 5)).transpose(1, 2).flatten(0, 1), want, atol=1e-10, rtol=0)


# ------------------------------------------------------------------ steps


@EACH
@pytest.mark.parametrize("static", [False, True])
def test_steps_give_what_one_pass_gives(pattern: PatternConfig, static: bool) -> None:
    config = sparse(pattern, causal=True)
    length = 14
    for info in facts(length).values():
        if info.segment is not None:
            continue
        stack = Stack(StackConfig(dim=32, depth=1, position=NoPositionConfig(), attention=config)).double()
        x = torch.randn(2, length, 32, dtype=torch.float64)
        with torch.no_grad():
            want = stack(Tokens(x, info))
            cache, out = stack.new_cache(2, length + 3, x, static), []
            for start, end in itertools.pairwise((0, 6, 7, 8, 11, 12, 13, 14)):
                valid = None if info.valid is None else info.valid[:, start:end]
                out.append(stack(Tokens(x[:, start:end], SequenceInfo(valid=valid)), cache=cache))
        real = torch.ones(2, length, dtype=torch.bool) if info.valid is None else info.valid
        torch.testing.assert_close(torch.cat(out, 1)[real], want[real], atol=1e-10, rtol=1e-10)


def test_long_steps_that_begin_amid_a_chunk() -> None:
    pattern = LocalPatternConfig(reach=20, num_global=1)
    config = StackConfig(dim=32, depth=1, position=NoPositionConfig(), attention=sparse(pattern, causal=True))
    stack = Stack(config).double()
    x, out = torch.randn(2, 250, 32, dtype=torch.float64), []
    with torch.no_grad():
        cache = stack.new_cache(2, 250, x)
        for start, end in itertools.pairwise((0, 90, 200, 250)):
            out.append(stack(Tokens(x[:, start:end]), cache=cache))
        torch.testing.assert_close(torch.cat(out, 1), stack(Tokens(x)), atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize(
    ("pattern", "most"),
    [
        (LocalPatternConfig(reach=5, dilation=2, num_global=2), 7),
        (BlockPatternConfig(block_size=4, num_neighbours=1, num_global=1, num_random=1), 5 * 4),
        (StridedPatternConfig(stride=16), 16 + 200 // 16 + 1),
        (FixedPatternConfig(block_size=16, summary=2), 16 + 2 * (200 // 16 + 1)),
    ],
    ids=lambda value: getattr(value, "kind", ""),
)
def test_a_step_gathers_the_keys_of_its_pattern(pattern: PatternConfig, most: int, monkeypatch: Any) -> None:
    gathered = []

    def gather(x: Tensor, places: Tensor) -> Tensor:
        gathered.append(places.shape[-1])
        return plain(x, places)

    plain = blocked.gather
    monkeypatch.setattr(blocked, "gather", gather)
    q, k, v = inputs(1, 1, 200)
    info = SequenceInfo()
    sparse(pattern, causal=True).build(WIDTH)(q, k, v, Mask(info, info, 1, 200, 199))
    assert gathered[0] == 1
    assert gathered[1] == gathered[2]
    assert most // 2 < gathered[1] <= most


# ------------------------------------------------------------------ cost, choice of random blocks, refusals


@pytest.mark.parametrize(
    "pattern",
    [
        LocalPatternConfig(reach=20, dilation=2, num_global=2),
        BlockPatternConfig(block_size=8, num_random=2),
        StridedPatternConfig(stride=40),
        FixedPatternConfig(block_size=40, summary=2),
    ],
    ids=lambda p: p.kind,
)
def test_nothing_is_as_large_as_all_pairs(pattern: PatternConfig) -> None:
    length, info = 1500, SequenceInfo()
    q, k, v = (x.float() for x in inputs(1, length, length))
    with Largest() as largest:
        sparse(pattern, causal=True).build(WIDTH)(q, k, v, Mask(info, info, length, length)).sum().backward()
    assert HEADS * length * WIDTH < largest.numel < length * length / 2  # of all heads together


def test_random_blocks_are_others_distinct_and_enough() -> None:
    config = BlockPatternConfig(block_size=2, num_neighbours=1, num_global=2, num_random=3, seed=3)
    for causal, count in itertools.product((False, True), (1, 4, 9, 40)):
        own = torch.arange(count)[None]
        drawn = config.build(causal).random_blocks(own, torch.full_like(own, count))[0].tolist()
        for i, row in enumerate(drawn):
            free = [j for j in range(2, i if causal else count) if abs(i - j) > 1]
            real = [j for j in row if j >= 0]
            assert len(set(real)) == len(real) == min(3, len(free))
            assert set(real) <= set(free)


def test_random_blocks_follow_from_the_seed_and_spread_evenly() -> None:
    own = torch.arange(2000)[None]
    count = torch.full_like(own, 2000)

    def draw(seed: int, causal: bool = False) -> Tensor:
        config = BlockPatternConfig(num_neighbours=0, num_global=0, num_random=2, seed=seed)
        return config.build(causal).random_blocks(own, count)[0]

    assert torch.equal(draw(1), draw(1))
    assert (draw(1) == draw(2)).float().mean() < 0.01
    hits = torch.histc(draw(5).float(), 10, 0, 2000)
    assert hits.sum() == 4000
    assert (hits - 400).abs().max() < 80  # four standard deviations
    late = draw(5, causal=True)[1000:].float() / torch.arange(1000, 2000)[:, None]
    assert abs(late.mean().item() - 0.5) < 0.03


def test_the_seed_is_used_by_the_mechanism() -> None:
    q, k, v = inputs(1, 60, 60)
    info = SequenceInfo()
    outs = [
        sparse(BlockPatternConfig(block_size=4, seed=seed)).build(WIDTH)(q, k, v, Mask(info, info, 60, 60))
        for seed in (0, 1)
    ]
    assert (outs[0] - outs[1]).abs().max() > 1e-3


def test_more_summary_than_block_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"pattern\.summary: 9 keys of a block that has 8"):
        SparseAttentionConfig.from_dict({"pattern": {"kind": "fixed", "block_size": 8, "summary": 9}})


def test_dropout_is_refused() -> None:
    with pytest.raises(ConfigError, match="sparse attention cannot do: dropout"):
        SparseAttentionConfig(dropout=0.1)


# ------------------------------------------------------------------ the fixture


def layer(data: dict[str, Tensor], pattern: PatternConfig, causal: bool = False) -> Attention:
    attention = Attention(SparseAttentionConfig(num_heads=4, pattern=pattern, causal=causal), 32)
    attention.load_state_dict({name.removeprefix("sd/"): t for name, t in data.items() if name.startswith("sd/")})
    return attention


def test_fixture(shared: Path) -> None:
    """The parts of it that follow the definition: a band of 2 with one global token; full attention if short."""
    path = shared / "reference" / "fixtures" / "s003_sparse_attention.safetensors"
    if not path.is_file():
        pytest.skip("needs ../shared/reference")
    data = load_file(path)
    pattern = LocalPatternConfig(reach=3, num_global=1)
    valid = data["in/mask"] > 0
    for name, causal, real in (("", False, None), ("_causal", True, None), ("_masked", False, valid)):
        info = SequenceInfo(valid=real)
        got = layer(data, pattern, causal)(data["in/x"], View(Mask(info, info, 16, 16)))
        kept = torch.ones_like(valid) if real is None else real
        torch.testing.assert_close(got[kept], data[f"out/band2_global1{name}"][kept], atol=1e-5, rtol=1e-5)
    short = data["in/x_short"]
    got = layer(data, LocalPatternConfig(reach=5))(short, View(Mask(SequenceInfo(), SequenceInfo(), 5, 5)))
    torch.testing.assert_close(got, data["out/out_short_full_attention"], atol=1e-5, rtol=1e-5)


# ------------------------------------------------------------------ the contract

SMALL = (
    LocalPatternConfig(reach=4, num_global=1),
    BlockPatternConfig(block_size=3),
    StridedPatternConfig(stride=3),
    FixedPatternConfig(block_size=8, summary=2),
)


@pytest.mark.parametrize("pattern", SMALL, ids=lambda p: p.kind)
def test_some_cases_of_the_contract(pattern: PatternConfig) -> None:
    every = list(cases(SparseAttentionConfig(pattern=pattern)))
    for case in (every[3], every[14]):  # causal both: cross with a window, groups of heads without
        for law in laws_for(case):
            law.holds(Subject(case))


@pytest.mark.slow
@pytest.mark.parametrize("pattern", [LocalPatternConfig(), *SMALL], ids=lambda p: p.kind)
def test_the_whole_contract(pattern: PatternConfig) -> None:
    counts = check_mechanism(SparseAttentionConfig(pattern=pattern))
    assert counts["cached_equals_full"] == 14
