"""Every preset, at the size of a toy, from its configuration to an answer: built, trained, kept, loaded, asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from shrunk import SIDE, shrunk

import patchword
from patchword.config import RunConfig, UserError
from patchword.models.presets import PRESETS
from patchword.tasks.base import Query


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def losses(run: Path) -> list[float]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [line["loss"] for line in lines if line.get("kind") == "train"]


def query(run: RunConfig) -> Query:
    """A picture where the task looks at one, a text where it reads one."""
    fields = run.task.fields
    picture = torch.zeros(3, SIDE, SIDE, dtype=torch.uint8)
    text = None if reads_nothing(run) else "a red ___" if run.task.kind == "masked_language" else "a red circle"
    return Query("new", picture if fields.image else None, text)


def reads_nothing(run: RunConfig) -> bool:
    return not getattr(run.task, "reads", {"text": "text"})


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_learns_and_answers(name: str, tmp_path: Path) -> None:
    run = shrunk(name)
    result = patchword.train(run, tmp_path / "run", report=False)
    assert result.steps == 30
    found = losses(tmp_path / "run")
    assert np.mean(found[-5:]) < np.mean(found[:5]), found
    trained: Any = patchword.load(tmp_path / "run")
    if run.task.kind == "masked_image":  # there to be started from: what it would say are pixels
        with pytest.raises(UserError, match="init_from"):
            trained.task.predict(trained.model, [query(trained.run)], "cpu")
    else:
        [said] = trained.task.predict(trained.model, [query(trained.run)], "cpu")
        assert isinstance(said.text, str)
    again: Any = patchword.load(tmp_path / "run")
    for (key, kept), loaded in zip(trained.model.state_dict().items(), again.model.state_dict().values(), strict=True):
        assert torch.equal(kept, loaded), key
