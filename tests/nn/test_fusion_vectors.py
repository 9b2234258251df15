"""Fusions that make one vector of all towers, against their formulas; and without the towers that are absent."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from patchword.config import (
    ConcatFusionConfig,
    FusionConfig,
    GatedFusionConfig,
    LowRankFusionConfig,
    NoNormConfig,
    TensorFusionConfig,
    WeightedFusionConfig,
)
from patchword.sequence import SequenceInfo, Tokens
from patchword.testing import randomise

DIMS, DIM = {"image": 3, "text": 4, "sound": 2}, 5
PLAIN = NoNormConfig()
LOW = LowRankFusionConfig(rank=3)


def built(config: FusionConfig, dims: dict[str, int] = DIMS) -> Any:
    fusion = config.build(dims, DIM)
    randomise(fusion, torch.Generator().manual_seed(1))
    return fusion.double().eval()


def parts(rows: int = 4) -> dict[str, Tokens]:
    """A single token of each tower, so that its mean is known; sound is absent in row 1, all are in row 2."""
    given = {}
    for name, width in DIMS.items():
        valid = torch.ones(rows, 1, dtype=torch.bool)
        valid[2] = False
        if name == "sound":
            valid[1] = False
        given[name] = Tokens(torch.randn(rows, 1, width, dtype=torch.float64), SequenceInfo(valid=valid))
    return given


def vectors(given: dict[str, Tokens]) -> dict[str, Tensor]:
    return {n: t.x[:, 0] * t.info.valid for n, t in given.items() if t.info.valid is not None}


def result(fusion: Any, given: dict[str, Tokens]) -> Tensor:
    fused = fusion(given)
    assert fused.tokens.x.shape[1] == 1
    assert fused.tokens.info == SequenceInfo()
    return fused.tokens.x[:, 0]


def close(got: Tensor, want: Tensor) -> None:
    torch.testing.assert_close(got, want, atol=1e-12, rtol=1e-12)


def test_concat() -> None:
    fusion, given = built(ConcatFusionConfig(hidden_dim=7)), parts()
    together = torch.cat(list(vectors(given).values()), -1)
    assert fusion.up_proj.weight.shape == (7, sum(DIMS.values()))
    close(result(fusion, given), fusion.norm(fusion.down_proj(F.gelu(fusion.up_proj(together)))))


def test_weighted() -> None:
    fusion, given = built(WeightedFusionConfig(norm=PLAIN)), parts()
    mapped = [fusion.projectors(name, v) for name, v in vectors(given).items()]
    got, exps = result(fusion, given), fusion.scores.exp()
    close(got[0], sum(e * v[0] for e, v in zip(exps / exps.sum(), mapped)))
    two = exps[:2] / exps[:2].sum()  # sound is absent: the others' weights are as if it did not exist
    close(got[1], two[0] * mapped[0][1] + two[1] * mapped[1][1])
    assert got[2].eq(0).all()


@torch.no_grad()
def test_weights_of_those_that_are_there_add_up_to_one() -> None:
    fusion = built(WeightedFusionConfig())
    for there in itertools.product((False, True), repeat=3):
        weights = fusion.weights(torch.tensor([there]))[0]
        assert float(weights.sum()) == pytest.approx(float(any(there)), abs=1e-12)
        assert [bool(w > 0) for w in weights] == list(there)


def test_weights_start_equal() -> None:
    fusion = WeightedFusionConfig().build(DIMS, DIM)
    torch.testing.assert_close(fusion.weights(torch.ones(1, 3, dtype=torch.bool)), torch.full((1, 3), 1 / 3))


def test_gated() -> None:
    fusion, given = built(GatedFusionConfig(norm=PLAIN)), parts()
    there = torch.stack([t.info.valid[:, 0] for t in given.values() if t.info.valid is not None], 1)
    mapped = [fusion.projectors(n, v) * there[:, i : i + 1] for i, (n, v) in enumerate(vectors(given).items())]
    together = torch.cat(mapped, -1)
    gates = [(together @ gate.weight.T + gate.bias).sigmoid() for gate in fusion.gates.values()]
    close(result(fusion, given), fusion.out_proj(sum((g * v for g, v in zip(gates, mapped)), torch.zeros(()))))


@pytest.mark.parametrize("width", [None, 2])
def test_tensor_is_all_products(width: int | None) -> None:
    fusion, given = built(TensorFusionConfig(width=width)), parts()
    widths = [width or w for w in DIMS.values()]
    assert fusion.out_proj.in_features == math.prod(w + 1 for w in widths)
    there = torch.ones(4, 3, dtype=torch.bool)
    there[1, 2], there[2] = False, False
    with_one = fusion.with_one(list(vectors(given).values()), there)
    product = fusion.product(list(vectors(given).values()), there)
    assert product.shape == (4, math.prod(w + 1 for w in widths))
    for row in range(4):
        every = [math.prod(each) for each in itertools.product(*(v[row].tolist() for v in with_one))]
        close(product[row], torch.tensor(every, dtype=torch.float64))
    close(result(fusion, given), product @ fusion.out_proj.weight.T)
    assert product[2].tolist() == [1.0] + [0.0] * (product.shape[1] - 1), "nobody there: only the ones are left"


def full_rank(tensor: Any, low: Any) -> None:
    """Give `low` the map of `tensor`: one product for each number of the outer product."""
    sizes = [w + 1 for w in DIMS.values()]
    with torch.no_grad():
        for r, index in enumerate(itertools.product(*map(range, sizes))):
            for m, (name, i) in enumerate(zip(DIMS, index)):
                low.factors[name][r] = 0
                low.factors[name][r, i] = tensor.out_proj.weight[:, r] if m == 0 else 1.0


def test_low_rank_at_full_rank_is_tensor() -> None:
    rank = math.prod(w + 1 for w in DIMS.values())
    tensor, low = built(TensorFusionConfig(width=None)), built(LowRankFusionConfig(rank=rank))
    full_rank(tensor, low)
    given = parts(6)
    close(result(low, given), result(tensor, given))


def test_low_rank_is_tensor_whose_map_is_a_sum_of_products() -> None:
    tensor, low, given = built(TensorFusionConfig(width=None)), built(LOW), parts()
    factors = [low.factors[name] for name in DIMS]
    whole = torch.einsum("rad,rbd,rcd->dabc", *factors)
    with torch.no_grad():
        tensor.out_proj.weight.copy_(whole.flatten(1))
    close(result(low, given), result(tensor, given))


# ------------------------------------------------------------------ absent towers, and their order


def without(config: FusionConfig, fusion: Any, absent: str) -> Any:
    """The fusion of the other towers alone, with the same weights."""
    dims = {name: width for name, width in DIMS.items() if name != absent}
    less, place = built(config, dims), list(DIMS).index(absent)
    held = {n: w for n, w in fusion.state_dict().items() if f".{absent}" not in n}
    if isinstance(config, ConcatFusionConfig):
        columns = [name for name, width in DIMS.items() for _ in range(width)]
        held["up_proj.weight"] = held["up_proj.weight"][:, [name != absent for name in columns]]
    if isinstance(config, GatedFusionConfig):
        for name in dims:
            gate = held[f"gates.{name}.weight"].unflatten(1, (3, DIM))
            held[f"gates.{name}.weight"] = gate[:, [i for i in range(3) if i != place]].flatten(1)
    if isinstance(config, WeightedFusionConfig):
        held["scores"] = held["scores"][[i for i in range(3) if i != place]]
    if isinstance(config, TensorFusionConfig):
        sizes = [(config.width or w) + 1 for w in DIMS.values()]
        held["out_proj.weight"] = held["out_proj.weight"].unflatten(1, sizes).select(place + 1, 0).flatten(1)
    if isinstance(config, LowRankFusionConfig):  # of an absent tower its 1 is left, a factor of each product
        other = next(iter(dims))
        held[f"factors.{other}"] = held[f"factors.{other}"] * fusion.factors[absent][:, :1]
    less.load_state_dict(held)
    return less


KINDS = [ConcatFusionConfig(), WeightedFusionConfig(), GatedFusionConfig(), TensorFusionConfig(width=2), LOW]


@pytest.mark.parametrize("absent", DIMS)
@pytest.mark.parametrize("config", KINDS, ids=lambda c: c.kind)
def test_an_absent_tower_is_as_if_it_did_not_exist(config: FusionConfig, absent: str) -> None:
    fusion, given = built(config), parts()
    less = without(config, fusion, absent)
    none = given | {absent: Tokens(given[absent].x[:, :0])}
    close(result(fusion, none), result(less, {n: t for n, t in given.items() if n != absent}))


@pytest.mark.parametrize("config", [WeightedFusionConfig(), LOW], ids=lambda c: c.kind)
def test_the_order_of_towers_has_no_meaning(config: FusionConfig) -> None:
    given = parts()
    fusion, turned = built(config), built(config, dict(reversed(DIMS.items())))
    held = fusion.state_dict()
    if "scores" in held:
        held["scores"] = held["scores"].flip(0)
    turned.load_state_dict(held)
    close(result(turned, given), result(fusion, given))
