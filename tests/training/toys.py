"""A toy world for the trainer: sequences of digits, whose sum the model learns; also run as a script, to be killed."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from patchword.config import ConstantScheduleConfig, ModelConfig, RunConfig, override
from patchword.data.base import Source, Split
from patchword.data.batch import BadSample, Batch
from patchword.models.presets import preset
from patchword.sequence import TextInput
from patchword.tasks.base import Evaluation, LossOutput, Prediction, Query, Task
from patchword.training.display import Silent
from patchword.training.trainer import TrainResult, train

VOCAB = 12


class ToySplit:
    """So many sequences of digits, of random lengths."""

    def __init__(self, name: str, size: int) -> None:
        self.name, self.size = name, size

    def __len__(self) -> int:
        return self.size

    def record(self, index: int) -> Any:
        raise AssertionError("the trainer has no business with records")

    def read(self, index: int) -> bytes:
        raise AssertionError("the trainer has no business with files")


class ToySource:
    name = "toys"
    has_pictures = False

    def __init__(self, train: int = 37, val: int = 9) -> None:
        sizes = {"train": train, "val": val}
        self.splits: Mapping[str, ToySplit] = {k: ToySplit(k, v) for k, v in sizes.items() if v}

    def describes(self, split: str, index: int, caption: str) -> bool | None:
        return None

    def group(self, split: str, index: int) -> str | None:
        return None


class ToyExample(NamedTuple):
    id: str
    ids: list[int]


class ToyExamples:
    """Example i has a length of its own; its digits depend on (seed, epoch, i), as augmented ones do."""

    def __init__(self, split: str, size: int, bad: frozenset[int] = frozenset()) -> None:
        self.split, self.bad = split, bad
        self.lengths = np.random.default_rng(len(split)).integers(2, 9, size)
        self.answers = np.zeros(0, dtype=np.int64)

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, key: tuple[int, int]) -> ToyExample | BadSample:
        epoch, index = key
        if index in self.bad:
            return BadSample(f"{self.split}/{index}.jpg", "truncated", "ends after 12 bytes")
        digits = np.random.default_rng([epoch, index]).integers(1, VOCAB, self.lengths[index])
        return ToyExample(f"{self.split}/{index}@{epoch}", digits.tolist())

    def collate(self, examples: Sequence[ToyExample | BadSample]) -> Batch:
        good = [e for e in examples if isinstance(e, ToyExample)]
        length = max((len(e.ids) for e in good), default=0)
        ids = torch.zeros(len(good), length, dtype=torch.long)
        for row, example in zip(ids, good, strict=True):
            row[: len(example.ids)] = torch.tensor(example.ids)
        text = TextInput(ids, ids > 0)
        target = ids.cumsum(1) % VOCAB
        bad = tuple(e for e in examples if isinstance(e, BadSample))
        return Batch({"text": text}, {"sum": target}, tuple(e.id for e in good), bad)


class ToyModel(nn.Module):
    """Embeds, mixes what came before, drops out, and reads off with the table itself (a tied weight)."""

    def __init__(self, dropout: float = 0.2) -> None:
        super().__init__()
        self.table = nn.Embedding(VOCAB, 8)
        self.body = nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.LayerNorm(16), nn.Linear(16, 8))
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(8, VOCAB)
        self.head.weight = self.table.weight

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.dropout(self.body(self.table(ids).cumsum(1))))


def toy_model(seed: int = 5, dropout: float = 0.2) -> ToyModel:
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        return ToyModel(dropout)


class ToyTask(Task):
    """Learns running sums. `on_loss` and `on_evaluate` are called with the count of calls: a test's way in."""

    def __init__(self, run: RunConfig, bad: frozenset[int] = frozenset()) -> None:
        self.run, self.bad = run, bad
        self.losses = self.evaluations = 0
        self.on_loss: Callable[[int], None] = lambda count: None
        self.on_evaluate: Callable[[int], None] = lambda count: None
        self.seen: list[tuple[str, ...]] = []

    @classmethod
    def prepare(cls, run: RunConfig, source: Source) -> Self:
        return cls(run)

    @classmethod
    def load(cls, run: RunConfig, folder: Path) -> Self:
        assert json.loads((folder / "digits.json").read_text()) == VOCAB
        return cls(run)

    def save(self, folder: Path) -> None:
        (folder / "digits.json").write_text(json.dumps(VOCAB))

    def model_config(self) -> ModelConfig:
        return self.run.model

    def examples(self, split: Split, train: bool) -> ToyExamples:
        return ToyExamples(split.name, len(split), self.bad if train else frozenset())

    def loss(self, model: nn.Module, batch: Batch) -> LossOutput:
        if model.training:
            self.losses += 1
            self.seen.append(batch.ids)
            self.on_loss(self.losses)
        text = batch.inputs["text"]
        assert isinstance(text, TextInput)
        assert text.valid is not None
        scores, target = model(text.ids)[text.valid], batch.targets["sum"][text.valid]
        return LossOutput(F.cross_entropy(scores.float(), target, reduction="sum"), text.valid.sum())

    @classmethod
    def full_batch(cls, run: RunConfig, size: int) -> Batch:
        return Batch({"text": TextInput(torch.zeros(size, 3, dtype=torch.long), None)}, {}, ())

    @classmethod
    def rehearse(cls, run: RunConfig, model: nn.Module, batch: Batch) -> Tensor:
        text = batch.inputs["text"]
        assert isinstance(text, TextInput)
        return model(text.ids).float().sum()

    @classmethod
    def rehearse_generation(cls, run: RunConfig, model: nn.Module, batch: Batch) -> object:
        raise NotImplementedError

    def predict(self, model: nn.Module, queries: Sequence[Query], device: str) -> list[Prediction]:
        raise AssertionError("the trainer asks no questions")

    def evaluate(self, model: nn.Module, source: Source, split: str, limit: int | None, device: str) -> Evaluation:
        assert not model.training
        if limit != 1:
            self.evaluations += 1
            self.on_evaluate(self.evaluations)
        torch.rand(3)  # whoever evaluates may draw random numbers
        examples = self.examples(source.splits[split], train=False)
        count = len(examples) if limit is None else limit
        batch = examples.collate([examples[0, i] for i in range(count)]).to(device)
        loss = self.loss(model, batch)
        metrics = {"loss": float(loss.total / loss.count), "luck": float(torch.rand(()))}
        return Evaluation(metrics, count, [Prediction("a", "b")])


def toy_run(**changes: Any) -> RunConfig:
    """`train_steps=3` stands for `train.steps=3`."""
    run = preset("captioner-tiny")
    run = run.replace(train=run.train.replace(schedule=ConstantScheduleConfig(warmup=0)))
    settings = {
        "train.steps": 12,
        "train.device": "cpu",
        "train.threads": 1,
        "train.log_every": 3,
        "train.eval_every": 4,
        "train.save_every": None,
        "train.optimizer.lr": 0.02,
        "data.batch.size": 4,
        "data.batch.bucket": 2,
    }
    named = {key.replace("__", "."): value for key, value in changes.items()}
    return override(run, settings | named)


def toy_train(
    run: RunConfig, folder: Path, resume: bool = False, task: ToyTask | None = None, **model: Any
) -> TrainResult:
    task = task if task is not None else ToyTask(run)
    return train(run, task, toy_model(**model), ToySource(), folder, resume=resume, display=Silent())


def read_lines(folder: Path, kind: str | None = None) -> list[dict[str, Any]]:
    """`metrics.jsonl` without what depends on the clock."""
    timed = {"time", "samples_per_second", "tokens_per_second", "data_wait", "seconds"}
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in timed} for line in lines if kind in (None, line["kind"])]


def final_bytes(folder: Path) -> dict[str, bytes]:
    """The files of the last checkpoint and of the model, but for times."""
    last = sorted(p for p in (folder / "checkpoints").iterdir() if p.name[-8:].isdigit())[-1]
    files = {p.name: p.read_bytes() for p in last.iterdir() if p.suffix == ".safetensors"}
    state = json.loads((last / "state.json").read_text())
    assert state.pop("elapsed") >= 0
    assert state.pop("metrics_size") > 0
    files["state"] = json.dumps(state).encode()
    return files | {f"model/{p.name}": p.read_bytes() for p in (folder / "model").iterdir()}


def kill_self_at(loss: int) -> Callable[[int], None]:
    def kill(count: int) -> None:
        if count == loss:
            os.kill(os.getpid(), signal.SIGKILL)

    return kill


def _killed_while_saving(number: int) -> None:
    """From now on the `number`-th write of tensors kills the process halfway."""
    import patchword.training.checkpoint as module

    save, calls = module.save_tensors, []

    def save_some(tensors: dict[str, Tensor], path: Path) -> None:
        calls.append(path)
        save(tensors, path)
        if len(calls) == number:
            path.write_bytes(path.read_bytes()[:100])
            os.kill(os.getpid(), signal.SIGKILL)

    module.save_tensors = save_some  # pyright: ignore[reportPrivateImportUsage]


def main() -> None:
    """`toys.py FOLDER CHANGES LOSS SAVE`: train until the given loss or save kills the process."""
    folder, changes, loss, save = sys.argv[1:]
    run = toy_run(**json.loads(changes))
    task = ToyTask(run)
    task.on_loss = kill_self_at(int(loss))
    if int(save):
        _killed_while_saving(int(save))
    toy_train(run, Path(folder), task=task)


if __name__ == "__main__":
    main()
