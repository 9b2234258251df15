"""Parameters by component: exact, on every preset and on many configurations."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
import torch
from each_preset import each_preset

import patchword
from patchword.models.create import planned_model
from patchword.models.presets import load_config

SMALL: dict[str, Any] = {
    "model.image.dim": 32,
    "model.text.dim": 32,
    "model.trunk.dim": 32,
    "model.text.vocab_size": 99,
}
VARIANTS = [
    SMALL
    | {
        "model.trunk.attention.kind": kind,
        "model.trunk.ffn.kind": ffn,
        "model.trunk.norm.kind": norm,
        "model.trunk.position.kind": position,
    }
    for (kind, position), ffn, norm in product(
        [
            ("softmax", "rotary"),
            ("linear", "sinusoidal"),
            ("topk", "alibi"),
            ("differential", "none"),
            ("performer", "sinusoidal"),
        ],
        ["standard", "swiglu"],
        ["layernorm", "rmsnorm", "scalenorm"],
    )
]


def counted(settings: dict[str, Any], preset: str = "captioner-tiny") -> tuple[int, int, int]:
    """Numbers in parameters, in those under a second name, and in buffers, of the model as it is built."""
    with torch.device("meta"):
        model = planned_model(load_config(preset, settings)).build()
    every = {id(p): p.numel() for p in model.parameters()}
    tied = sum(p.numel() for _, p in model.named_parameters(remove_duplicate=False)) - sum(every.values())
    return sum(every.values()), tied, sum(b.numel() for b in model.buffers())


@pytest.mark.filterwarnings("ignore:linformer attention pools")  # a published model does
@pytest.mark.parametrize("preset", each_preset())
def test_of_every_preset(preset: str) -> None:
    found = patchword.size(preset, "inference", batch=1)
    assert (found.total.parameters, found.tied, found.buffers) == counted({}, preset)
    assert sum(part.parameters for part in found.components) == found.total.parameters == found.total.trainable


@pytest.mark.parametrize("number", range(len(VARIANTS)))
def test_of_many_configurations(number: int) -> None:
    found = patchword.size(load_config("captioner-tiny", VARIANTS[number]), "inference", batch=1)
    assert (found.total.parameters, found.tied, found.buffers) == counted(VARIANTS[number])


def test_there_are_thirty() -> None:
    assert len(VARIANTS) >= 30


def test_a_tied_table_counts_once() -> None:
    tied, own = (
        patchword.size(load_config("captioner-tiny", SMALL | {"model.heads.text.tied": is_tied}), "inference", batch=1)
        for is_tied in (True, False)
    )
    assert tied.tied == 99 * 32
    assert own.tied == 0
    assert own.total.parameters == tied.total.parameters + 99 * 32
