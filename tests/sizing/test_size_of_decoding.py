"""The cost of decoding, against a real one watched by the same tracer."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import patchword
from patchword.config import UserError
from patchword.models.create import planned_model
from patchword.models.presets import load_config
from patchword.sizing.tracing.trace import Tracer
from patchword.tasks.captioning import CaptioningTask

SMALL: dict[str, Any] = {
    "model.text.vocab_size": 300,
    "model.image.dim": 64,
    "model.text.dim": 64,
    "model.trunk.dim": 64,
    "task.decode.max_len": 9,
}


@pytest.mark.parametrize("preset", ["captioner-tiny", "captioner-prefix-small"])
@pytest.mark.parametrize(
    "decode", [{"kind": "greedy"}, {"kind": "beam", "num_beams": 3}, {"kind": "sample", "top_k": 5}]
)
def test_is_that_of_a_real_one(preset: str, decode: dict[str, Any]) -> None:
    run = load_config(preset, SMALL | {f"task.decode.{key}": value for key, value in decode.items()})
    predicted = patchword.size(run, "generate", batch=8)
    model = planned_model(run).build().eval()
    tracer = Tracer(model)
    for tensor in [*model.parameters(), *model.buffers()]:
        tracer.meet(tensor, "there")
    with torch.no_grad(), tracer:
        CaptioningTask.rehearse_generation(run, model, CaptioningTask.full_batch(run, 8))
    tracer.close()
    real = tracer.record
    assert sum(op.work.model for op in real.ops) == predicted.total.flops.forward
    assert abs(predicted.peak_bytes - real.peak()[0]) <= 1e-4 * real.peak()[0]
    assert predicted.total.flops.backward == 0


def test_longer_texts_and_more_beams_cost_more() -> None:
    greedy = SMALL | {"task.decode.kind": "greedy"}
    beams = SMALL | {"task.decode.kind": "beam", "task.decode.num_beams": 60}
    short, long, wide = (
        patchword.size("captioner-tiny", "generate", batch=2, **settings)
        for settings in (greedy, greedy | {"task.decode.max_len": 12}, beams)
    )
    assert short.total.flops.forward < min(long.total.flops.forward, wide.total.flops.forward)
    assert short.peak_bytes < wide.peak_bytes


def test_how_a_module_generates_is_not_known() -> None:
    with pytest.raises(UserError, match="how it generates is not known"):
        patchword.size(torch.nn.Linear(2, 2), "generate", inputs=(torch.zeros(1, 2),))
