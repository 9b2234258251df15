"""A model from a name, a file, plain data or a configuration: the same one whichever way it is asked for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from patchword.config import CharactersTokenizerConfig, UserError, to_yaml
from patchword.models.create import create_model, planned_model
from patchword.models.presets import preset

CHANGES: dict[str, Any] = {"model.image.depth": 1, "model.trunk.depth": 1, "model.text.vocab_size": 31}


def _spec(way: str, folder: Path) -> Any:
    run = preset("captioner-tiny")
    texts = {
        "complete.yaml": to_yaml(run),
        "complete.json": json.dumps(run.to_dict()),
        "short.yaml": "preset: captioner-tiny\n",
    }
    for name, text in texts.items():
        (folder / name).write_text(text)
    specs: dict[str, Any] = {"name": "captioner-tiny", "run": run, "run as data": run.to_dict()}
    specs |= {"model": run.model, "model as data": run.model.to_dict()}
    specs |= {"preset in data": {"preset": "captioner-tiny"}, "path as text": str(folder / "short.yaml")}
    return (specs | {name: folder / name for name in texts})[way]


WAYS = ["name", "run", "run as data", "path as text", "model", "model as data", "preset in data"]


@pytest.mark.parametrize("way", [*WAYS, "complete.yaml", "complete.json", "short.yaml"])
def test_every_way_leads_to_the_same_model(way: str, tmp_path: Path) -> None:
    torch.manual_seed(3)
    want = create_model("captioner-tiny", **CHANGES)
    torch.manual_seed(3)
    got = create_model(_spec(way, tmp_path), **CHANGES)
    assert got.config == want.config
    assert got.config.towers["text"].to_dict()["vocab_size"] == 31
    assert all(torch.equal(a, b) for a, b in zip(got.state_dict().values(), want.state_dict().values(), strict=True))


def test_a_vocabulary_is_as_large_as_the_tokenizer_may_become() -> None:
    run = preset("captioner-tiny")
    assert planned_model(run).towers["text"].to_dict()["vocab_size"] == run.data.tokenizer.most_entries()
    characters = run.replace(data=run.data.replace(tokenizer=CharactersTokenizerConfig()))
    with pytest.raises(UserError, match=r"set model\.text\.vocab_size"):
        create_model(characters)


@pytest.mark.parametrize(
    "spec", ["captioner-tinny", {"preset": "captioner-tinny"}, {"preset": ["x"]}, {}, {"towers": {}}]
)
def test_what_is_no_model_is_refused(spec: Any) -> None:
    with pytest.raises(UserError):
        create_model(spec)


def test_a_model_alone_needs_to_know_its_vocabulary() -> None:
    with pytest.raises(UserError, match="vocab_size"):
        create_model(preset("captioner-tiny").model)
