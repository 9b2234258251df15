"""Gradient caching: the gradient of the whole batch, with the memory of a chunk."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from toy_pairs import TOY, batch_of, pairs, prepared

from patchword.config import ConfigError
from patchword.data.batch import Batch
from patchword.models.model import Model
from patchword.models.presets import load_config
from patchword.tasks.embedding import batch_vectors
from patchword.tasks.retrieval import RetrievalTask
from patchword.training.apply import applied_to_blocks
from patchword.training.learner import Learner
from patchword.training.rehearsed import rehearsal_of, training_of


def gradients(task: RetrievalTask, model: Model, batch: Batch) -> list[Tensor]:
    model.zero_grad()
    loss = task.loss(model, batch)
    (loss.total / loss.count).backward()
    return [p.grad.clone() for p in model.parameters() if p.grad is not None]


@pytest.mark.parametrize("contrast", ["infonce", "sigmoid", "triplet"])
@pytest.mark.parametrize("chunk", [1, 3, 100])
def test_gradients_in_chunks_are_those_of_the_whole(contrast: str, chunk: int) -> None:
    changes: dict[str, Any] = {"task.contrast.kind": contrast, "data.batch.captions": 2}
    if contrast == "triplet":
        changes["model.heads.similarity.temperature"] = None
    whole, model = prepared(changes)
    cached, _ = prepared(changes | {"task.chunk": chunk})
    model.double().train()
    batch = batch_of(whole, pairs().splits["train"])
    for one, other in zip(gradients(whole, model, batch), gradients(cached, model, batch), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


def test_dropout_is_drawn_again_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks draw other masks than the whole: these are the same chunks, kept."""
    task, model = prepared({"task.chunk": 2, "model.image.embed_dropout": 0.3, "model.text.residual.dropout": 0.2})
    model.double().train()
    batch = batch_of(task, pairs().splits["train"])
    torch.manual_seed(3)
    cached = gradients(task, model, batch)
    after = torch.rand(1)
    monkeypatch.setattr("patchword.tasks.embedding.checkpoint", lambda part, own, use_reentrant: part(own))
    torch.manual_seed(3)
    for one, other in zip(gradients(task, model, batch), cached, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)
    assert torch.rand(1) == after


def test_chunks_bound_memory() -> None:
    """More pictures take room for themselves, their vectors and scores: activations are those of a chunk."""

    def peak(batch: int, chunk: int | None) -> int:
        run = load_config("clip-tiny", TOY | {"task.chunk": chunk, "model.text.max_len": 32})
        return training_of(rehearsal_of(run, batch), run, batch).peak()[0]

    assert peak(48, 8) - peak(16, 8) < 0.1 * (peak(48, None) - peak(16, None))


def test_chunks_and_checkpointed_blocks_go_together_and_compiled_ones_do_not() -> None:
    with pytest.raises(ConfigError, match=r"train\.compile.*retrieval runs parts again"):
        load_config("clip-tiny", {"task.chunk": 8, "train.compile": True})
    task, model = prepared({"task.chunk": 2})
    batch = batch_of(task, pairs().splits["train"])
    plain = gradients(task, model.double().train(), batch)
    with applied_to_blocks(model, task.run.train.replace(checkpoint_blocks=True)):
        for one, other in zip(plain, gradients(task, model, batch), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


def test_the_trainer_bounds_the_scale() -> None:
    task, model = prepared({"model.heads.similarity.max_scale": 15.0})
    learner = Learner(task, model.train(), task.run.train, "cpu")
    scale = model.heads["similarity"].log_scale
    with torch.no_grad():
        scale.fill_(9.0)
    learner.step([batch_of(task, pairs().splits["train"])], 1, 1e-3)
    assert scale.exp().item() == pytest.approx(15.0)


def test_vectors_of_both_at_once() -> None:
    task, model = prepared({"data.batch.captions": 3})
    batch = batch_of(task, pairs().splits["train"])
    for whole, parts in zip(
        batch_vectors(model, batch.inputs, task.sides, None),
        batch_vectors(model, batch.inputs, task.sides, 2),
        strict=True,
    ):
        torch.testing.assert_close(whole, parts)
