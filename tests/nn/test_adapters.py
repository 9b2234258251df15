from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from patchword.config import PerModalityProjectionConfig
from patchword.models.create import create_model, planned_model
from patchword.models.presets import load_config
from patchword.nn.adapters import Adapter, adapter_of, attach, linear_maps, merged
from patchword.tasks.base import Task


def adapted(dropout: float = 0.0) -> tuple[nn.Linear, Adapter]:
    torch.manual_seed(0)
    linear = nn.Linear(6, 5).double()
    adapter = Adapter(linear, rank=2, scale=3.0, dropout=dropout)
    attach(linear, adapter)
    return linear, adapter


def test_an_adapter_adds_a_scaled_product_and_nothing_at_first() -> None:
    linear, adapter = adapted()
    x = torch.randn(4, 6, dtype=torch.double)
    plain = F.linear(x, linear.weight, linear.bias)
    assert torch.equal(linear(x), plain)
    nn.init.normal_(adapter.up.weight)
    expected = plain + 3 * x @ adapter.down.weight.T @ adapter.up.weight.T
    torch.testing.assert_close(linear(x), expected)
    torch.testing.assert_close(F.linear(x, linear.weight + adapter.product(), linear.bias), expected)


def test_dropout_is_of_the_adapters_input_and_of_training_alone() -> None:
    linear, adapter = adapted(dropout=0.5)
    nn.init.ones_(adapter.up.weight)
    x = torch.ones(1, 6, dtype=torch.double)
    added = float((linear(x) - F.linear(x, linear.weight, linear.bias)).detach()[0, 0])
    each = 3 * 2 * adapter.down.weight.detach().sum(0)  # what each input adds where it is kept, twice as large
    sums = torch.cartesian_prod(*([torch.tensor([0.0, 1.0]).double()] * 6)) @ each
    assert float((sums - added).abs().min()) < 1e-9
    linear.eval()
    torch.testing.assert_close(linear(x), F.linear(x, linear.weight + adapter.product(), linear.bias))


def test_merged_is_an_ordinary_map_and_goes_back_bit_for_bit() -> None:
    linear, adapter = adapted()
    nn.init.normal_(adapter.up.weight)
    x = torch.randn(4, 6, dtype=torch.double)
    before, out = {k: v.clone() for k, v in linear.state_dict().items()}, linear(x)
    with merged(linear):
        assert set(linear.state_dict()) == {"weight", "bias"}
        assert adapter_of(linear) is None
        torch.testing.assert_close(linear(x), out)
    after = linear.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(after[k], v) for k, v in before.items())
    assert torch.equal(linear(x), out)


def test_merged_goes_back_when_what_is_inside_fails() -> None:
    linear, _ = adapted()
    with pytest.raises(KeyError), merged(linear):
        raise KeyError
    assert adapter_of(linear) is not None


CHANGES = [
    ("captioner-tiny", {}),
    ("captioner-tiny", {"model.trunk.attention.kind": "linear", "model.trunk.attention.feature_dim": 8}),
    ("captioner-tiny", {"model.trunk.attention.gate": True, "model.trunk.ffn": {"kind": "swiglu"}}),
    ("captioner-tiny", {"model.heads.text.tied": False, "model.heads.text.transform": "gelu"}),
    ("layout-merged-attention", {}),
    (
        "classifier-tiny",
        {"model.heads.label.transform": "tanh", "model.image.attention": {"kind": "linformer", "pooled_len": 16}},
    ),
]


@pytest.mark.parametrize(("preset", "changes"), CHANGES)
def test_every_map_that_can_have_an_adapter_is_one_that_is_called(preset: str, changes: dict) -> None:
    """And so the adapter learns; of the others the reason is known."""
    run = load_config(preset, changes)
    model = planned_model(run).build()
    maps = linear_maps(model)
    adapters = {}
    for path, reason in maps.items():
        if reason is None:
            linear = model.get_submodule(path)
            assert isinstance(linear, nn.Linear)
            adapters[path] = Adapter(linear, 2, 1.0, 0.0)
            attach(linear, adapters[path])
    kind: type[Task] = type(run.task).implementation
    kind.rehearse(run, model, kind.full_batch(run, 2)).backward()
    assert len(adapters) > 10
    assert [path for path, adapter in adapters.items() if adapter.up.weight.grad is None] == []
    read = {path for path, reason in maps.items() if reason is not None}
    assert all(path.startswith("heads.") or path.endswith("_map") for path in read)


def test_maps_of_single_modalities_are_found_by_their_own_paths() -> None:
    names = PerModalityProjectionConfig(names=("image", "text"))
    model = create_model("layout-single-stream", **{"model.trunk.attention.projection": names.to_dict()})
    assert "trunk.blocks.0.self_attn.step.q_proj.of.image" in linear_maps(model)
