"""The examples do what they say."""

from __future__ import annotations

import runpy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import patchword
from patchword.config import AttentionConfig
from patchword.testing import Subject, cases, check_refusals, laws_for

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture(scope="module")
def mechanism() -> Iterator[Any]:
    yield runpy.run_path(str(EXAMPLES / "add_a_mechanism.py"))["SigmoidAttentionConfig"]
    del AttentionConfig.kinds["sigmoid"]


def test_a_mechanism_takes_forty_lines(mechanism: Any) -> None:
    assert len((EXAMPLES / "add_a_mechanism.py").read_text().splitlines()) <= 40
    assert check_refusals(mechanism()) == ["dropout"]
    for case in list(cases(mechanism()))[::9]:
        for law in laws_for(case):
            law.holds(Subject(case))


def test_it_is_chosen_by_name(mechanism: Any) -> None:
    settings = {"model.text.vocab_size": 40, "model.image.attention": {"kind": "sigmoid", "sharpness": 2.0}}
    model = patchword.create_model("captioner-tiny", **settings)
    attention = model.towers["image"].stack.blocks[0].self_attn.step
    assert attention.mechanism.config.sharpness == 2.0


@pytest.mark.slow
def test_the_mechanism_passes_its_contract_as_a_script() -> None:
    done = subprocess.run([sys.executable, EXAMPLES / "add_a_mechanism.py"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("The contract holds: ")
    assert "A captioner whose image tower uses it" in done.stdout
