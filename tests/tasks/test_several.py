"""Several tasks in one run: what they share, what they are alone, and what they learn together."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import patchword
from patchword.config import ConfigError, RunConfig, SeveralTasksConfig, UserError, override
from patchword.data.base import Split
from patchword.data.batch import Batch
from patchword.data.sources import open_source
from patchword.models.model import Model
from patchword.models.presets import load_config
from patchword.tasks.base import Query, Task
from patchword.tasks.captioning import CaptioningTask
from patchword.tasks.several import SeveralTasks, joined, parted
from patchword.training.learner import Learner

SMALL: dict[str, Any] = {
    "data.scenes.train": 40, "data.scenes.val": 6, "data.scenes.test": 4, "data.batch.size": 8,
    "data.image.height": 32, "data.image.width": 32, "data.tokenizer.vocab_size": 300,
    "model.image.dim": 32, "model.image.depth": 1, "model.image.stem": [], "model.image.ffn.hidden_dim": 40,
    "model.image.image_size": [32, 32], "model.text.dim": 32, "model.trunk.dim": 32, "model.trunk.depth": 1,
    "train.steps": 4, "train.schedule": {"kind": "constant", "warmup": 0}, "train.threads": 1,
    "train.save_every": None, "train.eval_every": None,
}  # fmt: skip
BOTH: dict[str, Any] = {
    "task.kind": "several",
    "task.tasks": {
        "say": {"task": {"kind": "captioning"}},
        "name": {"task": {"kind": "classification"}, "weight": 0.5},
    },
    "model.heads.label": {"kind": "label", "source": "image"},
}


def several(**changes: Any) -> RunConfig:
    named = {key.replace("__", "."): value for key, value in changes.items()}
    return load_config("captioner-tiny", SMALL | BOTH | named)


def prepared(run: RunConfig) -> tuple[SeveralTasks, Model, Batch]:
    source = open_source(run.data, run.task.fields)
    task = cast(type[SeveralTasks], type(run.task).implementation).prepare(run, source)
    torch.manual_seed(1)
    model: Model = task.model_config().build()
    examples = task.examples(source.splits["train"], train=True)
    return task, model.double(), examples.collate([examples[0, i] for i in range(6)])


def gradients(task: Task, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
    model.zero_grad(set_to_none=True)
    loss = task.loss(model, batch)
    (loss.total / loss.count).backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def test_the_loss_is_the_weighted_sum_of_the_tasks_means() -> None:
    task, model, batch = prepared(several())
    parts = parted(batch)
    loss = task.loss(model, batch)
    say, name = (task.of[key].loss(model, parts[key]) for key in ("say", "name"))
    expected = say.total / say.count + 0.5 * name.total / name.count
    torch.testing.assert_close(loss.total / loss.count, expected)
    assert int(loss.count) == len(batch.ids) == 12
    assert list(parts) == ["say", "name"]
    assert {each.partition("/")[0] for each in batch.ids} == {"say", "name"}


def test_each_adds_its_own_gradients() -> None:
    task, model, batch = prepared(several())
    parts = parted(batch)
    both = gradients(task, model, batch)
    say, name = (gradients(task.of[key], model, parts[key]) for key in ("say", "name"))
    assert "towers.image.embedding.proj.weight" in say.keys() & name.keys()
    for key, grad in both.items():
        torch.testing.assert_close(
            grad, say.get(key, torch.zeros_like(grad)) + 0.5 * name.get(key, torch.zeros_like(grad))
        )


def test_captioning_twice_with_weights_1_and_0_is_captioning_once() -> None:
    twice = {name: {"task": {"kind": "captioning"}, "weight": weight} for name, weight in (("a", 1.0), ("b", 0.0))}
    run = load_config("captioner-tiny", SMALL | {"task.kind": "several", "task.tasks": twice})
    task, model, batch = prepared(run)
    alone = load_config("captioner-tiny", SMALL)
    source = open_source(alone.data, alone.task.fields)
    single = CaptioningTask.prepare(alone, source)
    assert single.tokenizer.encode("a red circle") == cast(CaptioningTask, task.of["b"]).tokenizer.encode(
        "a red circle"
    )
    examples = single.examples(source.splits["train"], train=True)
    plain = gradients(single, model, examples.collate([examples[0, i] for i in range(6)]))
    both = gradients(task, model, batch)
    assert both.keys() == plain.keys()
    for key, grad in both.items():
        torch.testing.assert_close(grad, plain[key])
    assert task.examples(cast(Split, open_source(run.data, run.task.fields).splits["train"]), True).of.keys() == {"a"}


def test_a_step_over_several_batches_weighs_each_by_its_samples() -> None:
    run = several(train__accumulate=2)
    task, model, _ = prepared(run)
    model = model.float()
    source = open_source(run.data, run.task.fields)
    examples = task.examples(source.splits["train"], train=True)
    batches = [examples.collate([examples[0, i] for i in rows]) for rows in (range(5), range(5, 8))]
    losses = [task.loss(model, batch) for batch in batches]
    expected = sum(loss.total for loss in losses) / sum(len(batch.ids) for batch in batches)
    found = Learner(task, model, run.train, "cpu").gradient(batches)
    torch.testing.assert_close((found.total / found.items).float(), cast(Tensor, expected).detach())


def test_smaller_tasks_are_gone_through_again_as_in_epochs_of_their_own() -> None:
    run = several(data__batch__captions=1)
    task, _, _ = prepared(run)
    examples = task.examples(open_source(run.data, run.task.fields).splits["train"], train=True)
    many, few = (len(examples.of[name]) for name in ("say", "name"))
    assert len(examples) == many > few == 40
    seen: dict[int, set[tuple[int, int]]] = {}

    class Watched:
        lengths, answers = examples.of["name"].lengths, examples.of["name"].answers

        def __len__(self) -> int:
            return few

        def __getitem__(self, key: tuple[int, int]) -> Any:
            seen.setdefault(epoch, set()).add(key)
            return None

    examples.of["name"] = cast(Any, Watched())
    for epoch in range(2):
        for index in range(many):
            examples[epoch, index]
    assert not seen[0] & seen[1]
    assert len(seen[0]) == len(seen[1]) == many
    assert {key[1] for key in seen[0]} == set(range(few))


def test_bad_samples_and_tasks_without_any_have_no_part() -> None:
    task, model, batch = prepared(several())
    parts = parted(batch)
    alone = joined({"say": parts["say"], "name": parts["name"]._replace(ids=())})
    loss = task.loss(model, alone)
    say = task.of["say"].loss(model, parts["say"])
    torch.testing.assert_close(loss.total / loss.count, say.total / say.count)


def test_tasks_that_share_a_text_tower_share_a_tokenizer_of_all_their_texts() -> None:
    tasks = {
        "say": {"task": {"kind": "captioning"}},
        "match": {"task": {"kind": "classification", "caption": "text", "head": "match"}},
    }
    heads = {"model.heads.match": {"kind": "label", "source": "text"}}
    run = load_config("captioner-tiny", SMALL | heads | {"task.kind": "several", "task.tasks": tasks})
    task, model, _ = prepared(run)
    one, other = task.of["say"], task.of["match"]
    text = "a big green triangle"
    assert one.tokenizers["text"].encode(text) == other.tokenizers["text"].encode(text)  # pyright: ignore
    assert model.config.towers["text"].vocab_size == one.tokenizers["text"].vocab_size  # pyright: ignore


def test_a_task_may_have_data_of_its_own() -> None:
    run = several(
        **{
            "task.tasks.name.data.scenes": {"train": 8, "val": 2},
            "task.tasks.name.data.image": {"height": 32, "width": 32},
        }
    )
    source = open_source(run.data, run.task.fields)
    sizes = {name: len(own.splits["train"]) for name, own in cast(Any, source).of.items()}
    assert sizes == {"say": 40, "name": 8}
    task, model, _ = prepared(run)
    evaluation = task.evaluate(model.eval(), source, "val", None, "cpu")
    assert evaluation.count == 6 + 2


def test_a_run_is_trained_resumed_bit_for_bit_evaluated_and_asked(tmp_path: Path) -> None:
    whole = patchword.train(several(), tmp_path / "whole", report=False)
    patchword.train(several(train__steps=2), tmp_path / "parts", report=False)
    patchword.train(several(), tmp_path / "parts", resume=True, report=False)
    files = ["checkpoints/step-00000004/model.safetensors", "checkpoints/step-00000004/optimizer.safetensors",
             "model/say/tokenizer.json", "model/name/labels.json"]  # fmt: skip
    for name in files:
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "parts" / name).read_bytes()
    assert {"loss", "say.loss", "say.cider_d", "name.accuracy"} <= whole.metrics.keys()
    assert whole.metrics["loss"] == pytest.approx(whole.metrics["say.loss"] + 0.5 * whole.metrics["name.loss"])

    trained = patchword.load(tmp_path / "whole")
    measured = trained.evaluate(split="test")
    assert measured.count == 8
    assert measured.confusion is not None
    assert [p.task for p in measured.predictions] == ["name"] * 4 + ["say"] * 4
    said = trained.predict([np.zeros((32, 32, 3), np.uint8)] * 2)
    assert [(p.id, p.task) for p in said] == [(f"picture {i}", t) for i in range(2) for t in ("say", "name")]
    begun = trained.predict(np.zeros((32, 32, 3), np.uint8), text="a")  # only captions can begin with a text
    assert [p.task for p in begun] == ["say"]
    with pytest.raises(UserError, match=r"say: .*\nname: "):
        trained.task.predict(trained.model, [Query("x")], "cpu")
    trained.report()
    assert "say: CIDEr-D" in (tmp_path / "whole" / "report.html").read_text()


def test_a_metric_of_one_task_can_be_the_best_one() -> None:
    from patchword.training.evaluate import Evaluator

    run = several(train__best_metric="say.perplexity")
    better = Evaluator(cast(Any, None), run, cast(Any, None), cast(Any, None)).better
    assert better({"say.perplexity": 2.0}, {"say.perplexity": 3.0})
    assert not better({"say.perplexity": 4.0}, {"say.perplexity": 3.0})


def test_sizes_of_several_tasks_are_those_of_their_steps() -> None:
    run = several()
    tasks = cast(SeveralTasksConfig, run.task).tasks
    both = patchword.size(run, batch=3).total.flops.forward
    each = [patchword.size(override(run, {"task.tasks": {n: {"weight": float(n == name)} for n in tasks}}), batch=3)
            for name in tasks]  # fmt: skip
    assert both == sum(own.total.flops.forward for own in each)
    assert patchword.size(run, "generate", batch=2).total.flops.forward > 0


WRONG = [
    ({"task.tasks.say.task.image": "eye"}, "task.tasks.say.task.image", "eye"),
    ({"task.tasks.say.weight": 0, "task.tasks.name.weight": 0}, "task.tasks", "nothing would be learnt"),
    ({"task.tasks.a/b": {"task": {"kind": "captioning"}}}, "task.tasks", "no /"),
    ({"task.tasks.more": {"task": {"kind": "several", "tasks": {"x": {"task": {"kind": "captioning"}}}}}},
     "task.tasks.more.task.kind", "side by side"),
    ({"task.tasks.name.data": {"image": {"height": 33}}}, "task.tasks.name.data.image.height", "33"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "path", "words"), WRONG)
def test_what_is_wrong_with_a_task_has_its_path(changes: dict[str, Any], path: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        several(**changes)
    assert any(problem.path == path and words in problem.message for problem in caught.value.problems), caught.value


def test_no_task_is_refused() -> None:
    with pytest.raises(ConfigError, match="name at least one task"):
        SeveralTasksConfig(tasks={})


@pytest.mark.slow
def test_captions_and_classes_are_learnt_together(tmp_path: Path) -> None:
    """One image tower for both; of so few pictures classes are learnt by heart (26 % of other pictures are right)."""
    run = load_config("captioner-tiny", BOTH | {
        "data.scenes.train": 4000, "data.scenes.max_objects": 1, "data.scenes.val": 200, "train.steps": 300,
        "train.threads": 1, "data.image.height": 32, "data.image.width": 32, "model.image.stem": [16, 32],
        "model.image.image_size": [32, 32], "model.image.patch_size": [8, 8], "train.schedule.warmup": 30,
    })  # fmt: skip
    metrics = patchword.train(run, tmp_path / "run", report=False).metrics
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    last = [line["loss"] for line in lines if line["kind"] == "train"][-1]
    assert last < 1.0  # captions take 0.6 of it, guessing classes would add 0.9
    assert metrics["say.perplexity"] < 3
