"""Translators have exactly the parameters that were published, at any vocabularies."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from patchword.models.create import create_model
from patchword.models.model import count_parameters
from patchword.models.presets import PRESETS, preset
from patchword.models.presets.tutorials import Sizes, ajhalthor, article, evans, hkproj
from patchword.nn import Stack

BARE = {"m1": 44_103_680, "m2": 44_138_496, "m3": 44_140_544, "m5": 44_140_544}
"""Without tables and scores: 512 V1 + 1,025 V2 come on top."""


def count(name: str, **changes: Any) -> int:
    with torch.device("meta"):
        return count_parameters(create_model(name, **changes))


@pytest.mark.parametrize("name", BARE)
@pytest.mark.parametrize(("source", "target"), [(500, 500), (30_000, 20_001)])
def test_numbers_at_two_vocabularies(name: str, source: int, target: int) -> None:
    vocabularies = {"model.source.vocab_size": source, "model.target.vocab_size": target}
    assert count(f"ref/001-{name}", **vocabularies) == BARE[name] + 512 * source + 1025 * target


def test_numbers_as_published() -> None:
    at = {"model.source.vocab_size": 500, "model.target.vocab_size": 500}
    assert count("ref/001-m1", **at) == 44_872_180
    assert count("ref/001-m1", **{"data.tokenizer.vocab_size": 30_000}) == 90_213_680
    assert count("ref/001-m2") == 51_823_496  # words as published, 5,000 of each
    assert count("ref/001-m3", **at) == 44_909_044
    assert count("ref/001-m6") == 7_520_893
    assert count("t5-small") == 60_506_624


@pytest.mark.parametrize(
    ("build", "sizes", "want"),
    [
        (hkproj, Sizes(256, 3, 4, 1024, 350, 500, 500), 5_905_908),
        (article, Sizes(256, 3, 4, 1024, 80, 500, 500), 5_914_100),
        (evans, Sizes(256, 3, 4, 2048, 80, 500, 500), 9_066_996),
        (ajhalthor, Sizes(256, 3, 8, 1024, 200, 71, 125), 5_611_901),
    ],
)
def test_numbers_of_the_runs_that_were_kept(build: Any, sizes: Sizes, want: int) -> None:
    with torch.device("meta"):
        assert count_parameters(build(sizes).build()) == want


def test_the_bare_core_is_torchs_own() -> None:
    """Both stacks with their last norms are nn.Transformer, parameter by parameter."""
    model = preset("ref/001-m5").model
    with torch.device("meta"):
        theirs = torch.nn.Transformer(batch_first=True)
        ours = [Stack(stack) for stack in (model.towers["source"], model.trunk) if stack is not None]
    assert sum(map(count_parameters, ours)) == count_parameters(theirs) == BARE["m5"]


def test_all_say_where_they_come_from() -> None:
    names = [name for name in PRESETS if preset(name).task.kind == "translation"]
    assert len(names) == 9
    assert all(preset(name).task.decode.max_len <= preset(name).model.towers["target"].max_len for name in names)  # pyright: ignore
