from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from test_learner import batches, learner, weights
from toys import final_bytes, toy_model, toy_run, toy_train

import patchword
from patchword.config import LoraConfig, UserError
from patchword.models.create import planned_model
from patchword.models.model import count_parameters
from patchword.models.presets import load_config
from patchword.nn.adapters import adapter_of
from patchword.training.optim import optimizer_tensors
from patchword.training.ready import make_ready

LORA: dict[str, Any] = {"train__lora__rank": 2, "train__lora__targets": ["body.*"]}


def trained(model: torch.nn.Module) -> set[str]:
    return {name for name, p in model.named_parameters() if p.requires_grad}


def test_an_adapter_has_rank_times_in_and_out_weights_and_the_rest_is_frozen() -> None:
    run = load_config("classifier-tiny", {"train.lora.rank": 3})
    model = planned_model(run).build()
    before = count_parameters(model)
    make_ready(model, run.train)
    assert count_parameters(model) - before == 4 * 2 * 3 * (128 + 128)
    assert all(".lora." in name for name in trained(model))
    make_ready(model, run.train)  # a second time changes nothing
    assert count_parameters(model) - before == 4 * 2 * 3 * (128 + 128)


def test_what_is_named_beside_the_adapters_is_trained_and_freezing_has_the_last_word() -> None:
    settings = {"train.lora.also": ["heads.*"], "train.optimizer.freeze": ["towers.image.stack.blocks.0.*", "*.bias"]}
    run = load_config("classifier-tiny", settings)
    model = planned_model(run).build()
    make_ready(model, run.train)
    names = trained(model)
    assert "heads.label.proj.weight" in names
    assert "heads.label.proj.bias" not in names
    assert not any(".blocks.0." in name for name in names)
    assert any(".blocks.1." in name for name in names)


def test_steps_move_the_adapters_alone() -> None:
    made = learner(**LORA)
    before = weights(made)
    for number in range(1, 4):
        made.step(batches(7), number, 0.01)
    moved = {name for name, p in weights(made).items() if not torch.equal(p, before[name])}
    assert moved == {f"body.{i}.lora.{part}.weight" for i in (0, 3) for part in ("down", "up")}


def test_accumulated_batches_are_one_large_batch() -> None:
    whole, parts = learner(**LORA), learner(**LORA)
    for (name, p), q in zip(whole.model.named_parameters(), parts.model.parameters(), strict=True):
        q.data.copy_(p.data)
        assert name
    for number in range(1, 4):
        whole.step(batches(17), number, 0.01)
        parts.step(batches(3, 13, 1), number, 0.01)
    for name, p in weights(whole).items():
        torch.testing.assert_close(p, weights(parts)[name], rtol=1e-4, atol=1e-6)


def test_a_run_with_adapters_resumes_bit_for_bit_and_its_model_is_an_ordinary_one(tmp_path: Path) -> None:
    settings = LORA | {"train__ema": 0.9, "train__lora__dropout": 0.2, "train__lora__also": ["head.bias"]}
    torch.manual_seed(1)
    toy_train(toy_run(**settings), tmp_path / "whole")
    torch.manual_seed(1)
    toy_train(toy_run(**settings, train__steps=7), tmp_path / "parts")
    torch.manual_seed(99)  # what a new process draws before it finds the checkpoint does not matter
    toy_train(toy_run(**settings), tmp_path / "parts", resume=True)
    assert final_bytes(tmp_path / "whole") == final_bytes(tmp_path / "parts")

    saved = load_file(tmp_path / "whole" / "model" / "model.safetensors")
    plain = toy_model()
    assert set(saved) <= set(plain.state_dict())
    moved = {name for name, value in saved.items() if not torch.equal(value, plain.state_dict()[name])}
    assert moved == {"body.0.weight", "body.3.weight", "head.bias"}
    checkpoint = load_file(tmp_path / "whole" / "checkpoints" / "step-00000012" / "model.safetensors")
    assert torch.equal(checkpoint["body.0.weight"], plain.state_dict()["body.0.weight"])
    assert "body.0.lora.up.weight" in checkpoint


def test_what_is_evaluated_is_what_is_kept() -> None:
    made = learner(**LORA)
    for number in range(1, 4):
        made.step(batches(7), number, 0.05)
    text = batches(5)[0].inputs["text"][0]
    made.model.eval()
    with torch.no_grad():
        out = made.model(text)
        with made.judged() as model:
            assert not any(adapter_of(m) for m in model.modules())
            torch.testing.assert_close(model(text), out)
    assert adapter_of(made.model.get_submodule("body.0")) is not None


@pytest.mark.parametrize(
    ("lora", "words"),
    [
        ({"targets": ["*.q_porj"]}, ["'*.q_porj' matches no linear map", "did you mean '*.q_proj'"]),
        ({"targets": ["towers.image.stack"]}, ["matches towers.image.stack, which is no linear map", "*.q_proj"]),
        ({"targets": ["nothing"]}, ["'nothing' matches no linear map"]),
        ({"also": ["heads.lable.*"]}, ["train.lora.also: 'heads.lable.*' matches no parameter", "heads.label"]),
    ],
)
def test_patterns_that_match_nothing_they_are_for(lora: dict[str, Any], words: list[str]) -> None:
    run = load_config("classifier-tiny", {f"train.lora.{name}": value for name, value in lora.items()})
    with pytest.raises(UserError) as caught:
        make_ready(planned_model(run).build(), run.train)
    assert all(word in str(caught.value) for word in words), caught.value


def test_a_weight_that_is_shared_or_read_as_a_table_can_have_no_adapter() -> None:
    run = load_config("captioner-tiny", {"train.lora.targets": ["*"]})
    with pytest.raises(UserError, match=r"heads\.text\.proj, which shares its weight with another part"):
        make_ready(planned_model(run).build(), run.train)
    run = load_config("captioner-tiny", {"train.lora.targets": ["heads.*"], "model.heads.text.tied": False})
    with pytest.raises(UserError, match=r"heads\.text\.proj, which has a weight that is read as a table"):
        make_ready(planned_model(run).build(), run.train)


def test_no_targets_are_refused_when_settings_are_read() -> None:
    with pytest.raises(UserError, match="targets"):
        LoraConfig(targets=())


def test_sizing_knows_adapters() -> None:
    lora: dict[str, Any] = {"train.lora.rank": 8}
    plain, found = patchword.size("classifier-tiny", batch=2), patchword.size("classifier-tiny", batch=2, **lora)
    adapters = 4 * 2 * 8 * 256
    assert found.total.trainable == adapters
    assert found.total.parameters == plain.total.parameters + adapters
    assert 8 * adapters <= found.by_category["optimizer"] <= 8 * adapters + 8 * 4 * 16  # two moments, counts of steps
    used, ordinary = (patchword.size("classifier-tiny", "inference", batch=2, **s) for s in (lora, {}))
    assert used == ordinary


def test_frozen_parts_keep_weights_and_norms_and_drop_out_all_the_same() -> None:
    made = learner(dropout=0.5, train__optimizer__freeze=["body.*"], train__optimizer__weight_decay=0.5)
    before, text = weights(made), batches(5)[0].inputs["text"][0]
    assert not torch.equal(made.model(text), made.model(text))
    for number in range(1, 4):
        made.step(batches(7), number, 0.05)
    moved = {name for name, p in weights(made).items() if not torch.equal(p, before[name])}
    assert moved == {"table.weight", "head.bias"}
    assert not any(name.startswith("body.") for name in optimizer_tensors(made.model, made.optimizer))
