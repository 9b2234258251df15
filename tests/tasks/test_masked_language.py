"""Masked language modelling: what is chosen, what the loss is, and the exact metrics."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import patchword
from patchword.config import ConfigError, RunConfig, UserError
from patchword.data.batch import Batch
from patchword.data.sources import open_source
from patchword.models.model import Model, count_parameters
from patchword.models.presets import load_config
from patchword.tasks.masked_language import MaskedLanguageTask, MaskedTexts

TINY: dict[str, Any] = {
    "data.scenes.train": 30, "data.scenes.val": 3, "data.batch.size": 8, "model.text.dim": 32, "model.text.depth": 1,
    "model.text.max_len": 24, "model.text.attention.num_heads": 2, "model.text.vocab_size": None,
    "data.tokenizer.vocab_size": 200, "train.steps": 3, "train.threads": 1, "train.save_every": None,
    "train.eval_every": None, "train.schedule": {"kind": "constant", "warmup": 0}, "train.precision": "fp32",
}  # fmt: skip


def made(**changes: Any) -> tuple[MaskedLanguageTask, Model, MaskedTexts, RunConfig]:
    run = load_config("bert-small", TINY | {key.replace("__", "."): value for key, value in changes.items()})
    source = open_source(run.data, run.task.fields)
    task = MaskedLanguageTask.prepare(run, source)
    torch.manual_seed(1)
    model: Model = task.model_config().build().double()
    return task, model, task.examples(source.splits["train"], train=True), run


def test_fifteen_in_a_hundred_are_chosen_and_eighty_ten_ten_of_them_hidden_changed_and_left() -> None:
    task, _, examples, _ = made()
    fates, chosen, able = {"hidden": 0, "left": 0, "changed": 0}, 0, 0
    for epoch in range(4):
        for index in range(len(examples)):
            example = examples[epoch, index]
            assert example.true == examples.pieces[index]
            places = [place for place, token in enumerate(example.true) if token >= 4]
            assert set(example.chosen) <= set(places)
            assert len(example.chosen) == max(1, round(0.15 * len(places)))
            chosen, able = chosen + len(example.chosen), able + len(places)
            for place, (shown, true) in enumerate(zip(example.shown, example.true, strict=True)):
                if place not in example.chosen:
                    assert shown == true
                else:
                    fates["hidden" if shown == 3 else "left" if shown == true else "changed"] += 1
                    assert 3 <= shown < len(task.tokenizer)
    assert chosen > 1000
    assert fates["hidden"] / chosen == pytest.approx(0.8, abs=0.04)
    assert fates["changed"] / chosen == pytest.approx(0.1, abs=0.03)
    assert fates["left"] / chosen == pytest.approx(0.1, abs=0.03)


def test_masks_are_of_seed_epoch_and_index_alone() -> None:
    task, _, examples, run = made()
    split = open_source(run.data, run.task.fields).splits["train"]
    assert examples[2, 5] == task.examples(split, train=True)[2, 5]
    assert any(examples[2, i] != examples[3, i] for i in range(9))
    still = task.examples(split, train=False)
    assert [still[0, i] for i in range(9)] == [still[4, i] for i in range(9)]


def test_the_loss_is_that_of_the_chosen_tokens_alone_whatever_stands_beside_them() -> None:
    task, model, examples, _ = made()
    some = [examples[0, i] for i in (0, 7, 20, 31)]
    loss = task.loss(model, examples.collate(some))
    total, count = torch.zeros((), dtype=torch.double), 0
    for example in some:
        scores = model({"text": torch.tensor([example.shown])}).heads["text"][0].log_softmax(-1)
        for place in example.chosen:
            total, count = total - scores[place, example.true[place]], count + 1
    assert int(loss.count) == count
    torch.testing.assert_close(loss.total, total)


def test_metrics_are_exact() -> None:
    task, model, _, run = made()
    source = open_source(run.data, run.task.fields)
    model.eval()
    found = task.evaluate(model, source, "val", 2, "cpu")
    examples = task.examples(source.splits["val"], train=False)
    pieces = [i for i, name in enumerate(examples.names) if name in ("val/0", "val/1")]
    assert found.count == len(pieces)
    right = chosen = 0
    for i in pieces:
        example = examples[0, i]
        scores = model({"text": torch.tensor([example.shown])}).heads["text"][0]
        for place in example.chosen:
            right += int(scores[place, 4 : len(task.tokenizer)].argmax()) + 4 == example.true[place]
            chosen += 1
    assert found.metrics["masked_accuracy"] == pytest.approx(right / chosen)
    total = tokens = 0
    for i in pieces:
        piece = examples.pieces[i]
        for place, token in enumerate(piece):
            if token < 4:
                continue
            hidden = torch.tensor([[*piece[:place], 3, *piece[place + 1 :]]])
            total -= float(model({"text": hidden}).heads["text"][0, place].log_softmax(-1)[token].detach())
            tokens += 1
    assert found.metrics["pseudo_perplexity"] == pytest.approx(math.exp(total / tokens))


def test_long_texts_are_learnt_from_in_pieces_and_empty_ones_not_at_all() -> None:
    task, _, _, _ = made(model__text__max_len=10)
    text = "a small red circle and a big green square and a small blue star"
    pieces = list(task.pieces(text))
    assert [token for piece in pieces for token in piece[1:-1]] == task.tokenizer.encode_stream(text)
    assert all(len(piece) <= 10 and piece[0] == 1 and piece[-1] == 2 for piece in pieces)
    assert len(pieces) > 1
    assert list(task.pieces("")) == []


def test_gradients_are_whole_and_finite_also_without_a_chosen_token() -> None:
    task, model, examples, _ = made()
    batch = examples.collate([examples[0, i] for i in range(4)])
    task.loss(model, batch).total.backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()] == []
    nothing = Batch(batch.inputs, batch.targets | {"chosen": torch.zeros_like(batch.targets["chosen"])}, batch.ids)
    loss = task.loss(model, nothing)
    assert float(loss.total.detach()) == int(loss.count) == 0


def test_a_run_fills_gaps_and_another_starts_from_it_with_its_tokenizer(tmp_path: Path) -> None:
    run = load_config("bert-small", TINY)
    patchword.train(run, tmp_path / "read", report=False)
    trained = patchword.load(tmp_path / "read")
    (said,) = trained.predict(text="a ___ red ___")
    assert "___" not in said.text
    refused = [("a red circle", None, "gap"), (None, None, "gap"), ("___ " * 40, None, "places for 24"),
               ("a ___", np.zeros((8, 8, 3), np.uint8), "no pictures")]  # fmt: skip
    for text, picture, words in refused:
        with pytest.raises(UserError, match=words):
            trained.predict(picture, text=text)
    start = {"model.text.init_from": str(tmp_path / "read"), "data.scenes.seed": 5}
    changed: dict[str, Any] = TINY | start
    patchword.train("bert-small", tmp_path / "more", report=False, **changed)
    files = [tmp_path / name / "model" / "tokenizer.json" for name in ("read", "more")]
    assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.parametrize(("changes", "words"), [
    ({"model.text.attention.causal": True}, "both sides"),
    ({"task.masked": 0.95}, "more than the whole"),
    ({"task.share": 0.0}, "task.share"),
    ({"task.head": "words"}, "language head"),
    ({"task.field": "label"}, "task.field"),
])  # fmt: skip
def test_what_cannot_be_learnt_so(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        load_config("bert-small", TINY | changes)


@pytest.mark.parametrize("vocab_size", [1000, 30_522])
def test_parameters_of_bert_small(vocab_size: int) -> None:
    """As Hugging Face's BertForMaskedLM of this shape, but for its table of two segments."""
    with torch.device("meta"):
        model = patchword.create_model("bert-small", **{"model.text.vocab_size": vocab_size})
    block = 4 * (512 * 512 + 512) + 2 * 512 * 2048 + 2048 + 512 + 2 * 2 * 512
    rest = 512 * 512 + 2 * 512 + (512 * 512 + 512) + 2 * 512  # places, a norm, the head's map and its norm
    assert count_parameters(model) == 4 * block + rest + vocab_size * (512 + 1)
    assert vocab_size != 30_522 or count_parameters(model) == 28_794_170


def test_sizes() -> None:
    run = load_config("bert-small", TINY | {"model.text.vocab_size": 90})
    found = patchword.size(run, batch=2)
    loss = next(part for part in found.components if part.name == "text")
    assert loss.flops.forward > 0
    assert found.total.trainable == found.total.parameters
