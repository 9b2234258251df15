"""Models of other libraries, sized: against a real step of theirs, watched by the same tracer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import nn

import patchword
from patchword.sizing.tracing.foreign import adamw, loss_of
from patchword.sizing.tracing.trace import Tracer

Made = tuple[nn.Module, Any]


def _hf(name: str, config: str, **settings: Any) -> nn.Module:
    transformers = pytest.importorskip("transformers")
    return getattr(transformers, name)(getattr(transformers, config)(**settings))


def vit() -> Made:
    model = _hf("ViTForImageClassification", "ViTConfig", hidden_size=32, num_hidden_layers=3, num_attention_heads=2,
                intermediate_size=64, image_size=32, patch_size=8)  # fmt: skip
    return model, {"pixel_values": torch.randn(2, 3, 32, 32), "labels": torch.tensor([0, 1])}


def bert() -> Made:
    plain = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    model = _hf("BertModel", "BertConfig", hidden_size=32, num_hidden_layers=3, num_attention_heads=2,
                intermediate_size=64, vocab_size=60, **plain)  # fmt: skip
    valid = torch.tensor([[1] * 9, [1] * 5 + [0] * 4])
    return model, {"input_ids": torch.randint(0, 60, (2, 9)), "attention_mask": valid}


def llama() -> Made:
    model = _hf("LlamaForCausalLM", "LlamaConfig", hidden_size=32, num_hidden_layers=3, num_attention_heads=4,
                num_key_value_heads=2, intermediate_size=64, vocab_size=60)  # fmt: skip
    ids = torch.randint(0, 60, (2, 11))
    return model, {"input_ids": ids, "labels": ids, "use_cache": False}


def x_transformer() -> Made:
    library = pytest.importorskip("x_transformers")
    model = library.ViTransformerWrapper(
        image_size=32, patch_size=8, num_classes=5, attn_layers=library.Encoder(dim=32, depth=3, heads=2)
    )
    return model, (torch.randn(2, 3, 32, 32),)


def encoder() -> Made:
    layer = nn.TransformerEncoderLayer(32, 4, 64, 0.0, batch_first=True)
    return nn.TransformerEncoder(layer, 3), (torch.randn(2, 7, 32),)


def convolutions() -> Made:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=4), nn.AvgPool2d(2),
        nn.Flatten(), nn.Linear(8 * 15 * 15, 4),
    ), (torch.randn(2, 3, 32, 32),)  # fmt: skip


MODELS: dict[str, Callable[[], Made]] = {
    f.__name__: f for f in (vit, bert, llama, x_transformer, encoder, convolutions)
}


def watched(model: nn.Module, inputs: Any) -> Tracer:
    """The second of two real steps."""
    optimizer = adamw(model.train())

    def step() -> None:
        loss_of(model(**inputs) if isinstance(inputs, Mapping) else model(*inputs)).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    step()
    tracer = Tracer(model)
    kept = [*model.parameters(), *model.buffers(), *(t for s in optimizer.state.values() for t in s.values())]
    for tensor in [*kept, *(inputs.values() if isinstance(inputs, Mapping) else inputs)]:
        if isinstance(tensor, torch.Tensor):
            tracer.meet(tensor, "there")
    with tracer:
        step()
    tracer.close()
    return tracer


@pytest.mark.filterwarnings("ignore")  # of libraries
@pytest.mark.parametrize("name", MODELS)
def test_memory_and_flops_are_those_of_a_real_step(name: str) -> None:
    model, inputs = MODELS[name]()
    found = patchword.size(model, inputs=inputs)
    record = watched(model, inputs).record
    real = record.peak()[0]
    assert abs(found.peak_bytes - real) <= 1e-3 * real
    flops = found.total.flops
    assert flops.forward + flops.backward == sum(op.work.model for op in record.ops if not op.again)
    assert flops.forward > 0
    assert not found.uncounted
    assert found.total.parameters == sum(p.numel() for p in model.parameters())


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", MODELS)
def test_a_module_is_left_as_it_was(name: str) -> None:
    model, inputs = MODELS[name]()
    before = {key: (value, value.clone()) for key, value in model.state_dict(keep_vars=True).items()}
    patchword.size(model.eval(), "inference", inputs=inputs)
    assert not model.training
    for key, value in model.state_dict(keep_vars=True).items():
        assert value is before[key][0]
        assert torch.equal(value, before[key][1])
