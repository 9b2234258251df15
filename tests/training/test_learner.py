from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from toys import VOCAB, ToyExamples, ToyTask, toy_model, toy_run

from patchword.config import UserError
from patchword.data.batch import Batch
from patchword.training.learner import Learner, NotFiniteError
from patchword.training.precision import Precision, pick_device


def batches(*sizes: int) -> list[Batch]:
    examples = ToyExamples("train", sum(sizes))
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    return [examples.collate([examples[0, i] for i in range(a, a + n)]) for a, n in zip(starts, sizes, strict=True)]


def learner(seed: int = 3, dropout: float = 0.0, **changes) -> Learner:
    run = toy_run(**changes)
    return Learner(ToyTask(run), toy_model(seed, dropout).train(), run.train, "cpu")


def weights(made: Learner) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in made.model.named_parameters()}


def test_accumulated_batches_are_one_large_batch() -> None:
    """Also when they differ in size: the loss is a sum over items, divided once by the items of all."""
    whole, parts = learner(), learner()
    for number in range(1, 4):
        a = whole.step(batches(17), number, 0.01)
        b = parts.step(batches(3, 13, 1), number, 0.01)
        assert a.items == b.items
        torch.testing.assert_close(a.total, b.total)
        torch.testing.assert_close(a.norm, b.norm)
    for name, p in weights(whole).items():
        torch.testing.assert_close(p, weights(parts)[name], rtol=1e-4, atol=1e-6)


def test_what_a_step_reports_and_does_is_plain_torch() -> None:
    made = learner(train__clip=0.1, train__optimizer__weight_decay=0.0)
    model, (batch,) = copy.deepcopy(made.model), batches(9)
    loss = ToyTask(toy_run()).loss(model, batch)
    (loss.total / loss.count).backward()
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 0.1)
    plain = torch.optim.AdamW(model.parameters(), lr=0.01, betas=(0.9, 0.98), weight_decay=0.0, foreach=False)
    plain.step()
    found = made.step([batch], 1, 0.01)
    assert norm > 0.2  # or clipping would not be tested
    torch.testing.assert_close(found.norm, norm)
    torch.testing.assert_close(found.total, loss.total.double().detach())
    assert found.items == loss.count
    for p, q in zip(made.model.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-4, atol=1e-6)


def test_the_running_mean() -> None:
    made = learner(train__ema=0.7)
    expected = weights(made)
    for number in range(1, 40):
        made.step(batches(5), number, 0.01)
        decay = min(0.7, (1 + number) / (10 + number))
        expected = {name: decay * expected[name] + (1 - decay) * p for name, p in weights(made).items()}
    own = weights(made)
    with made.judged() as model:
        assert not model.training
        for name, p in weights(made).items():
            torch.testing.assert_close(p, expected[name])
            assert not torch.equal(p, own[name])
    assert made.model.training
    assert all(torch.equal(p, own[name]) for name, p in weights(made).items())


def test_training_goes_on_from_its_own_weights_when_judging_fails() -> None:
    made = learner(train__ema=0.5)
    made.step(batches(5), 1, 0.01)
    own = weights(made)
    with pytest.raises(ZeroDivisionError), made.judged():
        raise ZeroDivisionError
    assert made.model.training
    assert all(torch.equal(p, own[name]) for name, p in weights(made).items())


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_changes_nothing(value: float) -> None:
    made = learner()
    made.step(batches(5), 1, 0.01)
    with torch.no_grad():
        made.model.get_parameter("body.0.bias")[0] = value
    before = weights(made)
    with pytest.raises(NotFiniteError, match="step 2"):
        made.step(batches(5), 2, 0.01)
    assert all(torch.equal(p.nan_to_num(), before[name].nan_to_num()) for name, p in weights(made).items())


def test_a_gradient_that_is_not_finite_is_found_too() -> None:
    made = learner()

    def spoil(grad: torch.Tensor) -> torch.Tensor:
        return grad * float("inf")

    made.model.get_parameter("body.0.weight").register_hook(spoil)
    with pytest.raises(NotFiniteError):
        made.step(batches(5), 1, 0.01)


def test_bf16_is_close_to_fp32_and_leaves_weights_in_fp32() -> None:
    exact, rough = learner(), learner(train__precision="bf16")
    a, b = exact.step(batches(30), 1, 0.01), rough.step(batches(30), 1, 0.01)
    assert a.total != b.total
    torch.testing.assert_close(a.total, b.total, rtol=0.03, atol=0)
    torch.testing.assert_close(a.norm, b.norm, rtol=0.1, atol=0)
    assert {p.dtype for p in rough.model.parameters()} == {torch.float32}


def test_what_a_device_cannot_do_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"train\.precision: fp16 needs a CUDA device"):
        Precision("fp16", "cpu")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert pick_device("cuda:0") == "cuda:0"
    with pytest.raises(UserError, match=r"train\.device: cuda:1 does not exist here \(1 CUDA devices\)"):
        pick_device("cuda:1")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert pick_device("auto") == pick_device("cpu") == "cpu"


def test_saving_and_loading(tmp_path: Path) -> None:
    made = learner(train__ema=0.5)
    made.step(batches(5), 1, 0.01)
    made.save(tmp_path)
    other = learner(seed=9, train__ema=0.5)
    other.load(tmp_path)
    assert other.model.get_parameter("head.weight") is other.model.get_parameter("table.weight")
    for number in (2, 3):
        a, b = made.step(batches(6), number, 0.01), other.step(batches(6), number, 0.01)
        assert torch.equal(a.total, b.total)
        assert torch.equal(a.norm, b.norm)
    assert all(torch.equal(p, weights(other)[name]) for name, p in weights(made).items())
    assert made.ema is not None
    assert other.ema is not None
    assert all(torch.equal(p, other.ema.mean[name]) for name, p in made.ema.mean.items())
    assert made.model.get_parameter("table.weight").shape[0] == VOCAB
