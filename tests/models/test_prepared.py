"""A prepared model, and a model that cannot be prepared, say what the model says."""

from __future__ import annotations

from typing import Any

import pytest
from toy_models import CAPTIONERS, build, image_names, pictures

from patchword.config import BeamDecodeConfig, DecodeConfig, GreedyDecodeConfig
from patchword.models import generate as generating
from patchword.models.decoding import Vocabulary
from patchword.models.generate import generate, prepared
from patchword.nn.twin import Twin

SPECIAL = Vocabulary(bos_id=1, eos_id=2, pad_id=0)
SEARCHES: tuple[DecodeConfig, ...] = (GreedyDecodeConfig(max_len=6), BeamDecodeConfig(max_len=6, num_beams=3))


@pytest.mark.parametrize("name", CAPTIONERS)
def test_every_captioner_says_the_same_prepared(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = build(CAPTIONERS[name])
    inputs: dict[str, Any] = {image: pictures((16, 16), (8, 4), (0, 0)) for image in image_names(CAPTIONERS[name])}
    ready = prepared(model)
    assert isinstance(ready, Twin)
    assert prepared(ready) is ready
    quick = [[generate(one, inputs, search, SPECIAL) for search in SEARCHES] for one in (ready, model)]
    monkeypatch.setattr(generating, "twin", lambda module: module)
    slow = [generate(model, inputs, search, SPECIAL) for search in SEARCHES]
    for said in quick:
        for got, want in zip(said, slow, strict=True):
            assert got.ids == want.ids
            assert got.log_probs == pytest.approx(want.log_probs, abs=1e-5)


def test_hooks_are_called_while_generating() -> None:
    model, calls = build(CAPTIONERS["captioner-tiny"]), []
    inputs = {"image": pictures((16, 16))}
    want = generate(model, inputs, SEARCHES[0], SPECIAL)
    model.get_submodule("trunk.blocks.0.ffn").register_forward_hook(lambda *_: calls.append("ffn"))
    assert generate(model, inputs, SEARCHES[0], SPECIAL) == want
    assert len(calls) == min(6, len(want.ids[0]) + 1)
