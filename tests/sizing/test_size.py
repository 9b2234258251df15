"""Sizes from a configuration alone, against closed forms and against real steps."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

import patchword
from patchword.cli import main
from patchword.config import ImageTowerConfig, RunConfig, StackConfig, TextTowerConfig, UserError
from patchword.models.create import planned_model
from patchword.models.presets import load_config
from patchword.sizing.flops.attention import triangle
from patchword.sizing.size import component_of
from patchword.sizing.tracing.rehearsal import Rehearsal
from patchword.sizing.tracing.trace import Tracer
from patchword.training.apply import applied_to_blocks
from patchword.training.ready import make_ready
from patchword.training.rehearsed import RehearsedStep

SMALL: dict[str, Any] = {
    "model.image.dim": 32,
    "model.image.depth": 2,
    "model.text.dim": 32,
    "model.trunk.dim": 32,
    "model.trunk.depth": 3,
    "model.image.ffn": {"kind": "standard", "hidden_dim": 40},
    "model.trunk.ffn": {"kind": "standard", "hidden_dim": 56},
}


def plain(**changes: Any) -> RunConfig:
    """A small cross-attention captioner without a stem, so that a closed form is short."""
    settings = SMALL | {"model.image.stem": [], "model.image.patch_size": [16, 16]}
    return load_config("captioner-tiny", settings | {k.replace("__", "."): v for k, v in changes.items()})


def closed_form(run: RunConfig, batch: int) -> dict[str, int]:
    """Products of the forward pass, by hand; every map has 2 x in x out a token, scores and sums 2 x E each a pair."""
    image, trunk, text = run.model.towers["image"], run.model.trunk, run.model.towers["text"]
    assert isinstance(image, ImageTowerConfig)
    assert isinstance(text, TextTowerConfig)
    assert isinstance(trunk, StackConfig)
    patches, length, dim = image.grid[0] * image.grid[1], text.max_len, image.dim
    attention = 2 * 4 * dim * dim * patches + 4 * patches * patches * dim
    embed = 2 * 3 * 16 * 16 * dim * patches
    seen = embed + image.depth * (attention + 2 * 2 * dim * 40 * patches)
    own = 2 * 4 * dim * dim * length + 4 * length * length * dim
    cross = 2 * 2 * dim * dim * length + 2 * 2 * dim * dim * patches + 4 * length * patches * dim
    said = trunk.depth * (own + cross + 2 * 2 * dim * 56 * length)
    return {"image": batch * seen, "trunk": batch * said}


def test_forward_flops_are_those_of_the_closed_form() -> None:
    run = plain()
    found = patchword.size(run, "inference", batch=3)
    parts = {part.name: part.flops.forward for part in found.components}
    assert {name: parts[name] for name in ("image", "trunk")} == closed_form(run, 3)


def test_backward_flops_are_twice_the_forward_but_for_the_first_map() -> None:
    run = plain()
    found = patchword.size(run, batch=2)
    parts = {part.name: part.flops for part in found.components}
    first = 2 * 3 * 16 * 16 * 32 * 16 * 2  # pixels need no gradient
    assert parts["image"].forward == closed_form(run, 2)["image"]
    assert parts["image"].backward == 2 * parts["image"].forward - first
    assert parts["trunk"].backward == 2 * parts["trunk"].forward


def test_the_loss_has_its_gradient_in_the_backward_pass() -> None:
    """It is computed beside the loss, chunk by chunk."""
    run = plain(**{"model.text.vocab_size": 300})
    text = run.model.towers["text"]
    assert isinstance(text, TextTowerConfig)
    parts = {part.name: part.flops for part in patchword.size(run, batch=2).components}
    assert parts["loss"].forward == 2 * 2 * text.max_len * 32 * 300
    assert parts["loss"].backward == 2 * parts["loss"].forward


def test_a_frozen_tower_has_neither_gradients_nor_state() -> None:
    whole, frozen = (patchword.size(plain(**{"train.optimizer.freeze": f}), batch=2) for f in ([], ["towers.image.*"]))
    image = next(part for part in frozen.components if part.name == "image")
    assert image.trainable == 0
    assert image.flops.backward == 0
    assert frozen.by_category["optimizer"] < whole.by_category["optimizer"]
    assert frozen.peak_bytes < whole.peak_bytes


def real_peak(run: RunConfig, batch: int) -> int:
    """Of the second step, with contents, watched by the same tracer."""
    model = planned_model(run).build().train()
    make_ready(model, run.train)
    with applied_to_blocks(model, run.train):
        step = RehearsedStep(run, model, batch)
        step.gradient()
        step.update()
        tracer = Tracer(model)
        kept = [*model.parameters(), *model.buffers(), *step.kept().values(), *step.inputs()]
        for tensor in kept + [t for state in step.optimizer.state.values() for t in state.values()]:
            tracer.meet(tensor, "there")
        with tracer:
            step.gradient()
            step.update()
        tracer.close()
    return tracer.record.peak()[0]


SMALLER: dict[str, Any] = {
    "model.text.vocab_size": 300,
    "model.image.dim": 64,
    "model.text.dim": 64,
    "model.trunk.dim": 64,
}


@pytest.mark.parametrize("preset", ["captioner-tiny", "captioner-prefix-small"])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"model.trunk.attention.kind": "topk"},
        {"model.image.attention.kind": "linear"},
        {"model.image.attention.kind": "sparse"},
        {"train.precision": "bf16"},
        {"train.accumulate": 3, "train.ema": 0.99},
        {"train.checkpoint_blocks": True},
        {"train.optimizer.freeze": ["towers.image.*"], "train.clip": None},
        {"train.lora.rank": 4, "train.lora.dropout": 0.1, "train.lora.also": ["towers.text.*"]},
    ],
)
def test_memory_is_that_of_a_real_step(preset: str, changes: dict[str, Any]) -> None:
    run = load_config(preset, SMALLER | changes)
    predicted, real = patchword.size(run, batch=2).peak_bytes, real_peak(run, 2)
    assert abs(predicted - real) <= 1e-4 * real


BOTH = {name: {"task": {"kind": kind}} for name, kind in (("say", "captioning"), ("name", "classification"))}
WORDS = {"model.text.dim": 64, "model.text.max_len": 32, "model.text.vocab_size": 300, "train.precision": "fp32"}


@pytest.mark.parametrize(
    ("preset", "changes"),
    [
        ("masked-image-tiny", {"model.image.dim": 64}),
        ("bert-small", WORDS),
        (
            "captioner-tiny",
            SMALLER
            | {"task.kind": "several", "task.tasks": BOTH, "model.heads.label": {"kind": "label", "source": "image"}},
        ),
    ],
)
def test_memory_of_other_tasks_is_that_of_a_real_step(preset: str, changes: dict[str, Any]) -> None:
    run = load_config(preset, changes)
    assert patchword.size(run, batch=2).peak_bytes == real_peak(run, 2)


@pytest.mark.parametrize(
    ("preset", "changes"),
    [("layout-merged-attention", {}), ("captioner-tiny", {"model.trunk.cross_attention.kind": "sparse"})],
)
def test_models_that_look_at_facts_are_sized(preset: str, changes: dict[str, Any]) -> None:
    run = load_config(preset, SMALLER | changes)
    predicted, real = patchword.size(run, batch=2).peak_bytes, real_peak(run, 2)
    assert abs(predicted - real) <= 1e-4 * real


@pytest.mark.parametrize("kind", ["softmax", "linear", "performer", "topk", "differential"])
def test_no_operation_goes_uncounted(kind: str) -> None:
    found = patchword.size(plain(**{"model.trunk.attention.kind": kind, "model.image.attention.kind": kind}), batch=2)
    assert found.uncounted == {}
    assert sum(part.at_peak for part in found.components) == found.peak_bytes == sum(found.by_category.values())
    assert sum(part.parameters for part in found.components) == found.total.parameters


def test_a_model_that_looks_at_what_it_computed_is_refused() -> None:
    class Odd(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x if (x * 2.0).sum() > 3 else x @ x

    with pytest.raises(UserError, match="cannot be sized without running it"):
        Rehearsal(Odd, lambda model: model(torch.zeros(3, 3)).sum()).inference()


def test_what_has_no_formula_is_said() -> None:
    class Odd(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.linalg.svdvals(x @ x.T)

    rehearsal = Rehearsal(Odd, lambda model: model(torch.zeros(3, 3)).sum())
    ops = rehearsal.inference().ops
    assert [op.name for op in ops if not op.work.known] == ["aten._linalg_svd"]
    assert sum(op.work.model for op in ops) == 2 * 27


ZOO: dict[str, tuple[Any, int]] = {
    "matrix times vector": (lambda: torch.zeros(5, 7) @ torch.zeros(7), 2 * 35),
    "dot": (lambda: torch.dot(torch.zeros(9), torch.zeros(9)), 18),
    "einsum": (lambda: torch.einsum("bij,bjk->bik", torch.zeros(2, 3, 4), torch.zeros(2, 4, 5)), 2 * 2 * 60),
    "sdpa": (lambda: F.scaled_dot_product_attention(*torch.zeros(3, 2, 4, 6, 8).unbind(0)), 4 * 2 * 4 * 36 * 8),
    "causal sdpa": (
        lambda: F.scaled_dot_product_attention(*torch.zeros(3, 2, 4, 6, 8).unbind(0), is_causal=True),
        4 * 2 * 4 * 36 * 8,
    ),
    "grouped convolution": (
        lambda: F.conv2d(torch.zeros(2, 4, 9, 9), torch.zeros(8, 2, 3, 3), groups=2),
        2 * 2 * 49 * 8 * 2 * 9,
    ),
    "transposed convolution": (
        lambda: F.conv_transpose2d(torch.zeros(2, 4, 5, 5), torch.zeros(4, 3, 3, 3), stride=2),
        2 * 2 * 25 * 4 * 3 * 9,
    ),
}


@pytest.mark.parametrize("name", ZOO)
def test_products_that_other_counters_miss(name: str) -> None:
    run, flops = ZOO[name]
    with FakeTensorMode(), Tracer(nn.Identity()) as tracer:
        run()
    assert sum(op.work.model for op in tracer.record.ops) == flops
    assert all(op.work.known for op in tracer.record.ops)


def test_depthwise_convolutions_are_counted_backwards_too() -> None:
    with FakeTensorMode(), Tracer(nn.Identity()) as tracer:
        x, w = torch.zeros(2, 6, 8, 8, requires_grad=True), torch.zeros(6, 1, 3, 3, requires_grad=True)
        F.conv2d(x, w, groups=6, padding=1).sum().backward()
    assert sum(op.work.model for op in tracer.record.ops) == 3 * 2 * 2 * 64 * 6 * 9


@pytest.mark.parametrize(("queries", "keys"), [(1, 1), (5, 5), (3, 7), (7, 3), (0, 4)])
def test_pairs_below_the_diagonal(queries: int, keys: int) -> None:
    assert triangle(queries, keys) == sum(j <= i for i in range(queries) for j in range(keys))


def test_backward_work_belongs_to_the_module_that_did_the_forward() -> None:
    model = nn.Sequential(nn.Linear(3, 5), nn.GELU(), nn.Linear(5, 2))
    with Tracer(model) as tracer:
        model(torch.randn(4, 3)).sum().backward()
    tracer.close()
    products = [(op.module, op.phase) for op in tracer.record.ops if op.work.model]
    assert products == [("0", "forward"), ("2", "forward"), ("2", "backward"), ("2", "backward"), ("0", "backward")]
    assert [op.module for op in tracer.record.ops if "gelu" in op.name] == ["1", "1"]


def test_what_is_computed_again_is_told_apart() -> None:
    from torch.utils.checkpoint import checkpoint

    model = nn.Sequential(nn.Linear(3, 5), nn.Linear(5, 2))
    with Tracer(model) as tracer:
        checkpoint(model, torch.randn(4, 3, requires_grad=True), use_reentrant=False).sum().backward()
    tracer.close()
    again = [op.module for op in tracer.record.ops if op.again and op.work.model]
    assert again
    assert all(op.phase == "backward" for op in tracer.record.ops if op.again)


def test_components() -> None:
    paths = ["towers.image.stack.blocks.0", "heads.text.proj", "trunk.norm", "fusion.projectors.image", ""]
    assert [component_of(path) for path in paths] == ["image", "text head", "trunk", "fusion", "loss"]


def test_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["size", "captioner-tiny", "--batch", "2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    with torch.device("meta"):
        model = patchword.create_model("captioner-tiny")
    assert found["parameters"]["total"] == sum(p.numel() for p in model.parameters())
    assert found["flops"]["backward"] > found["flops"]["forward"] > 0
    assert found["memory"]["peak_bytes"] == sum(found["memory"]["by_category"].values())
    assert main(["size", "captioner-tiny", "--batch", "2", "--mode", "inference"]) == 0
    assert "Peak" in capsys.readouterr().out
    assert main(["size", "captioner-tiny", "--mode", "infer"]) == 2
    assert "did you mean 'inference'" in capsys.readouterr().err


def test_an_empty_batch_costs_no_products() -> None:
    assert patchword.size(plain(), batch=0).total.flops.forward == 0


def test_a_wrong_mode_is_refused() -> None:
    with pytest.raises(UserError, match="unknown mode 'fit'"):
        patchword.size(plain(), mode="fit")
