from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from toys import ToyTask, final_bytes, read_lines, toy_run, toy_train

from patchword.config import TrainConfig, UserError
from patchword.nn.block import Block
from patchword.training.apply import applied_to_blocks
from patchword.training.display import Silent
from patchword.training.trainer import train


class TinyBlock(Block):
    """A block as far as the trainer is concerned."""

    def __init__(self) -> None:
        nn.Module.__init__(self)
        self.map = nn.Linear(8, 8)
        self.dropout = nn.Dropout(0.3)
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        if not torch.compiler.is_compiling():
            self.calls += 1
        return x + self.dropout(torch.tanh(self.map(x)))


def blocked_model() -> nn.Module:
    from toys import toy_model

    model = toy_model()
    with torch.random.fork_rng([]):
        torch.manual_seed(8)
        model.body.append(TinyBlock())
        model.body.append(TinyBlock())
    return model


def run_blocks(folder: Path, **changes) -> nn.Module:
    from toys import ToySource

    run, model = toy_run(train__steps=6, **changes), blocked_model()
    train(run, ToyTask(run), model, ToySource(), folder, display=Silent())
    return model


def test_blocks_run_again_give_the_same_bits(tmp_path: Path) -> None:
    plain, again = run_blocks(tmp_path / "a"), run_blocks(tmp_path / "b", train__checkpoint_blocks=True)
    a, b = final_bytes(tmp_path / "a"), final_bytes(tmp_path / "b")
    assert all(a[name] == b[name] for name in a if name.endswith("safetensors"))
    assert read_lines(tmp_path / "a") == read_lines(tmp_path / "b")
    calls = [[m.calls for m in model.modules() if isinstance(m, TinyBlock)] for model in (plain, again)]
    assert [n + 6 for n in calls[0]] == calls[1]  # each block once more a step, none more in evaluations
    assert "forward" not in vars(next(m for m in again.modules() if isinstance(m, TinyBlock)))  # and undone


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # torch's compiler uses what torch deprecates
def test_compiled_blocks_train_alike(tmp_path: Path) -> None:
    torch._dynamo.reset()
    compiled = run_blocks(tmp_path / "b", train__compile=True, train__eval_every=None)
    assert all(m.calls == 0 for m in compiled.modules() if isinstance(m, TinyBlock))
    run_blocks(tmp_path / "a", train__eval_every=None)
    for a, b in zip(read_lines(tmp_path / "a", "train"), read_lines(tmp_path / "b", "train"), strict=True):
        assert b["loss"] == pytest.approx(a["loss"], rel=0.2)  # other dropout, same model
    torch._dynamo.reset()


@pytest.mark.parametrize("name", ["compile", "checkpoint_blocks"])
def test_a_model_without_blocks_cannot(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match=f"train.{name}: this model has no blocks"):
        toy_train(toy_run(**{f"train__{name}": True}), tmp_path / "run")
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_nothing_asked_nothing_done() -> None:
    with applied_to_blocks(nn.Linear(2, 2), TrainConfig()):
        pass


class CountOps(TorchDispatchMode):
    """Counts operations that read a tensor's value, and so wait for a device."""

    def __init__(self) -> None:
        super().__init__()
        self.reads = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.reads += func in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.is_nonzero.default)
        return func(*args, **(kwargs or {}))


def test_steps_do_not_wait_for_the_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two lines of metrics nothing looks at a value: on CUDA that would stop the queue."""
    from test_learner import batches, learner

    made = learner(train__ema=0.9, train__accumulate=2)
    monkeypatch.setattr(made, "check", lambda: None)  # done at once on a CPU only
    a, b = batches(3, 4)
    made.step([a, b], 1, 0.01)
    with CountOps() as count:
        found = made.step([a, b], 2, 0.01)
        assert count.reads == 0
        float(found.norm)
    assert count.reads == 1
