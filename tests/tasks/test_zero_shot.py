"""Classes as texts: by hand, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from toy_pairs import pairs, prepared

from patchword.config import ConfigError, UserError, ZeroShotConfig
from patchword.models.presets import load_config
from patchword.tasks.retrieval import RetrievalTask


def test_zero_shot_by_hand() -> None:
    task, model = prepared()
    zero_shot = ZeroShotConfig(names={"ape": "an ape"}, templates=("a {}.", "{} in it"))
    task = RetrievalTask(task.config.replace(zero_shot=zero_shot), task.run, task.tokenizers)
    labels = [("red_dog",), ("ape",), ("cat",), ("ape",)]
    source = pairs(labels, "label", broken=2)
    out = task.evaluate(model, source, "val", None, "cpu")
    names = ["an ape", "cat", "red dog"]
    pictures, texts = task.embed(
        model,
        [task.pipeline(source.splits["train"].read(i), "", None) for i in (0, 1, 3)],
        [t.format(n) for n in names for t in ("a {}.", "{} in it")],
        "cpu",
    )
    classes = F.normalize(texts.view(3, 2, -1).mean(1), dim=-1)
    chances = (pictures @ classes.T / 0.07).softmax(-1)
    right = [2, 0, 0]
    assert out.metrics["accuracy"] == pytest.approx(float((chances.argmax(1) == torch.tensor(right)).float().mean()))
    assert out.metrics["loss"] == pytest.approx(float(-chances[range(3), right].log().mean()), rel=1e-4)
    assert out.predictions[0].choices[0][1] == pytest.approx(float(chances[0].max()), rel=1e-4)
    assert out.confusion is not None
    assert out.confusion.labels == ("ape", "cat", "red_dog")
    assert (out.count, len(out.bad)) == (3, 1)


def test_zero_shot_mistakes(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"task\.zero_shot is for evaluation"):
        prepared({"task.zero_shot.templates": ["{}"]}, pairs([("a",), ("b",)], "label"))
    for templates, said in (([], "is empty"), (["a photo"], "should have one {}")):
        with pytest.raises(ConfigError, match=said):
            load_config("clip-tiny", {"task.zero_shot.templates": templates})
