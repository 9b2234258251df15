"""The trainer tells mechanisms of its steps, and checkpoints keep what they count."""

from __future__ import annotations

from pathlib import Path

import torch
from toys import ToyExamples, ToyTask, toy_model, toy_run

from patchword.config import PerformerAttentionConfig
from patchword.nn.mechanisms.performer import PerformerAttention
from patchword.training.learner import Learner


def made() -> tuple[Learner, PerformerAttention]:
    """A learner whose model has a mechanism that draws its features anew after two steps."""
    run, model = toy_run(), toy_model(3, 0.0).train()
    mechanism = PerformerAttention(PerformerAttentionConfig(num_heads=1, redraw_every=2), 4)
    model.add_module("mechanism", mechanism)
    return Learner(ToyTask(run), model, run.train, "cpu"), mechanism


def test_features_are_drawn_again_after_steps_and_not_after_batches(tmp_path: Path) -> None:
    examples = ToyExamples("train", 4)
    batch = examples.collate([examples[0, i] for i in range(4)])
    learner, mechanism = made()
    first = mechanism.projection.clone()
    learner.step([batch] * 5, 1, 0.01)
    assert torch.equal(mechanism.projection, first)
    learner.step([batch], 2, 0.01)
    assert not torch.equal(mechanism.projection, first)
    learner.step([batch], 3, 0.01)
    learner.save(tmp_path)
    other, resumed = made()
    other.load(tmp_path)
    for one in (learner, other):
        one.step([batch], 4, 0.01)
    assert int(resumed.steps) == 4
    assert torch.equal(resumed.projection, mechanism.projection)
