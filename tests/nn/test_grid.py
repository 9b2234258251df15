"""Every combination of kind, position, roles and groups: built where the mechanism can do it, refused where not."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import pytest

from patchword.config import AttentionConfig, ConfigError
from patchword.testing import Subject, laws_for
from patchword.testing.grid import SMALL, Combination, combinations, spread
from patchword.testing.tables import contract, with_table

DOCS = Path(__file__).parents[2] / "docs" / "mechanisms"
KINDS = pytest.mark.parametrize("config", SMALL, ids=lambda config: config.kind)


def test_every_kind_is_met() -> None:
    ours = {k for k, c in AttentionConfig.kinds.items() if c.__module__.startswith("patchword.")}
    assert {config.kind for config in SMALL} == ours


@KINDS
def test_outcomes(config: AttentionConfig) -> None:
    for combination in combinations(config):
        missing = combination.missing
        if not missing:
            assert combination.case().name == combination.name
            continue
        with pytest.raises(ConfigError) as refused:
            combination.case()
        told = re.findall(rf"{config.kind} attention cannot do: ([a-z, ]+)", str(refused.value))
        named = {what for several in told for what in several.split(", ")}
        assert named <= set(missing)  # a mechanism that is refused alone is not asked what the stack needs beside
        assert named


def obeys(combination: Combination) -> None:
    case = combination.case()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="linformer")  # pooling to more rows than there are keys: tiny inputs
        for law in laws_for(case):
            try:
                law.holds(Subject(case))
            except AssertionError as error:
                raise AssertionError(f"{law.name} does not hold for {case.name}: {error}") from error


@pytest.mark.parametrize("combination", [c for k in SMALL for c in spread(k, 31)], ids=lambda c: c.name)
def test_a_sample_obeys_every_law(combination: Combination) -> None:
    obeys(combination)


@pytest.mark.slow
@KINDS
def test_all_obey_every_law(config: AttentionConfig) -> None:
    for combination in combinations(config):
        if not combination.missing:
            obeys(combination)


def test_the_pages_are_those_of_the_code() -> None:
    readme = (DOCS / "README.md").read_text(encoding="utf-8")
    assert with_table(readme) == readme, "run `python -m patchword.testing.tables`"
    assert (DOCS / "contract.md").read_text(encoding="utf-8") == contract(), "run `python -m patchword.testing.tables`"


def test_every_kind_has_its_page() -> None:
    for config in SMALL:
        page = (DOCS / f"{config.kind}.md").read_text(encoding="utf-8")
        for part in ("cost", "cannot", "choose"):
            assert part in page.lower(), f"{config.kind}.md says nothing of {part!r}"
