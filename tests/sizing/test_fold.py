"""A deep model's cost from shallow ones is that of the whole trace, to the last byte."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import patchword
from patchword.config import UserError
from patchword.models.presets import load_config
from patchword.sizing.size import component_of, sizing_of, summarise
from patchword.sizing.tracing.fold import folded, parts_of, repeated, shortened
from patchword.sizing.tracing.foreign import part_of, rehearsal_of_module
from patchword.training.rehearsed import rehearsal_of, training_of

TINY: dict[str, Any] = {
    "model.image.dim": 16,
    "model.text.dim": 16,
    "model.trunk.dim": 16,
    "model.text.vocab_size": 4000,
    "model.image.attention.num_heads": 2,
    "model.trunk.attention.num_heads": 2,
}


@pytest.mark.parametrize(
    ("preset", "changes"),
    [
        ("captioner-tiny", {"model.image.depth": 19, "model.trunk.depth": 13}),
        ("captioner-tiny", {"model.image.depth": 2, "model.trunk.depth": 14, "model.image.attention.kind": "sparse"}),
        ("captioner-prefix-small", {"model.image.depth": 3, "model.trunk.depth": 15, "train.accumulate": 2}),
        ("captioner-tiny", {"model.trunk.depth": 16, "train.checkpoint_blocks": True, "train.precision": "bf16"}),
        ("captioner-tiny", {"model.trunk.depth": 16, "train.optimizer.freeze": ["towers.image.*"], "train.ema": 0.9}),
    ],
)
@pytest.mark.parametrize("batch", [1, 6])
def test_lines_are_the_whole_trace(preset: str, changes: dict[str, Any], batch: int) -> None:
    run = load_config(preset, TINY | changes)
    rehearsal = rehearsal_of(run, batch)
    lines = folded(rehearsal.model, lambda: training_of(rehearsal, run, batch), component_of)
    assert lines is not None
    whole = summarise(rehearsal.model, training_of(rehearsal, run, batch), "train", batch)
    found = sizing_of(rehearsal.model, lines, "train", batch)
    assert found.by_phase == whole.by_phase
    assert found.total == whole.total
    assert found.components == whole.components


class Uneven(nn.Module):
    """Each layer makes more than the one before: no line."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(4, 4) for _ in range(20))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(torch.cat([x, x]))
        return x


def test_what_is_no_line_is_traced_whole() -> None:
    module = Uneven()
    module.layers = module.layers[:14]
    with rehearsal_of_module(module, (torch.zeros(1, 4),)) as rehearsal:
        assert folded(module, rehearsal.inference, part_of) is None
    found = patchword.size(module, "inference", inputs=(torch.zeros(1, 4),))
    assert found.total.flops.forward == sum(2 * 2 ** (i + 1) * 16 for i in range(14))


def test_the_lists_are_whole_afterwards() -> None:
    module = Uneven()
    before = list(module.layers)
    with shortened(repeated(module), {"layers": 3}):
        assert list(module.layers) == before[:3]
    assert list(module.layers) == before
    assert [name for name, _ in module.layers.named_children()] == [str(i) for i in range(20)]


def test_layers_that_differ_or_share_weights_are_no_list() -> None:
    one = nn.Linear(4, 4)
    assert not repeated(nn.Sequential(nn.ModuleList([one] * 9)))
    assert not repeated(nn.Sequential(nn.ModuleList([*(nn.Linear(4, 4) for _ in range(8)), nn.Linear(4, 5)])))
    assert not repeated(nn.Sequential(nn.ModuleList(nn.Linear(4, 4) for _ in range(5))))
    assert list(repeated(nn.Sequential(nn.ModuleList(nn.Linear(4, 4) for _ in range(6))))) == ["0"]


def test_blocks_are_told_from_both_ends() -> None:
    with (
        rehearsal_of_module(Uneven(), (torch.zeros(1, 4),)) as rehearsal,
        shortened(repeated(rehearsal.model), {"layers": 5}),
    ):
        parts = parts_of(rehearsal.inference(), {"layers": 5})
    named = {name.split()[1] for names in parts for name in names if "layers" in name}
    assert named == {"layers[0]", "layers[1]", "layers[between]", "layers[-2]", "layers[-1]"}


def gpt2(layers: int) -> nn.Module:
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(n_layer=layers, n_embd=32, n_head=2, vocab_size=100, n_positions=32,
                                     resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0)  # fmt: skip
    return transformers.GPT2LMHeadModel(config)


def test_any_module_is_sized_and_left_as_it_was() -> None:
    model = gpt2(2).eval()
    weights = [p.detach().clone() for p in model.parameters()]
    ids = torch.randint(0, 100, (3, 20))
    found = patchword.size(model, inputs={"input_ids": ids, "labels": ids, "use_cache": False})
    assert found.batch == 3
    assert found.total.parameters == sum(p.numel() for p in model.parameters())
    per_token = 2 * 2 * 12 * 32 * 32 + 2 * 32 * 100
    attention = 2 * 4 * 20 * 20 * 32 * 3
    assert found.total.flops.forward == 60 * per_token + attention
    assert found.total.flops.backward == 2 * found.total.flops.forward
    assert not model.training
    assert all(torch.equal(p, w) for p, w in zip(model.parameters(), weights, strict=True))
    assert model(input_ids=ids).logits.isfinite().all()


def test_a_deep_module_is_folded() -> None:
    model, ids = gpt2(16), torch.randint(0, 100, (3, 20))
    with rehearsal_of_module(model, {"input_ids": ids, "use_cache": False}) as rehearsal:
        lines = folded(model, rehearsal.inference, part_of)
        assert lines is not None
        whole = summarise(model, rehearsal.inference(), "inference", 3, part_of)
        assert sizing_of(model, lines, "inference", 3, part_of) == whole


def test_kernels_that_nobody_has_measured_are_named() -> None:
    class Spectrum(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.fft.rfft(x).abs()

    found = patchword.size(Spectrum(), "inference", inputs=(torch.zeros(2, 8),))
    assert found.unmeasured == {"aten._fft_r2c": 1}
    assert found.to_dict()["unmeasured"] == found.unmeasured


def test_what_a_module_takes() -> None:
    with pytest.raises(UserError, match="sized on `inputs`"):
        patchword.size(nn.Linear(2, 2))
    with pytest.raises(UserError, match="for modules"):
        patchword.size("captioner-tiny", inputs=())

    class Whole(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.map = nn.Linear(2, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.map(x).argmax(-1)

    with pytest.raises(UserError, match="no floating tensor"):
        patchword.size(Whole(), inputs=(torch.zeros(3, 2),))
    assert patchword.size(Whole(), "inference", inputs=(torch.zeros(3, 2),)).total.flops.forward == 24
