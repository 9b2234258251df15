"""The mistakes that `mutants.py` makes can all still be made: none has gone stale. Running them takes minutes."""

from __future__ import annotations

import ast

import pytest
from mutants import ALL, ROOT, main
from mutations import Mutant


@pytest.mark.parametrize("mutant", ALL, ids=lambda mutant: mutant.name)
def test_mutant_can_be_made(mutant: Mutant) -> None:
    text = (ROOT / "patchword" / mutant.file).read_text(encoding="utf-8")
    assert text.count(mutant.right) == 1
    ast.parse(text.replace(mutant.right, mutant.wrong))
    assert all((ROOT / test).exists() for test in mutant.tests)


def test_names_tell_mutants_apart() -> None:
    assert len({mutant.name for mutant in ALL}) == len(ALL)


def test_the_readme_counts_them() -> None:
    assert f"{len(ALL)} mistakes" in (ROOT / "tests" / "README.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_every_mutant_is_caught() -> None:
    assert main([]) == 0
