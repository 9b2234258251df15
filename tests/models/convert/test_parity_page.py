"""docs/parity.md says what is measured, and nothing else."""

from __future__ import annotations

import pytest
from parity_table import CASES, PAGE, measured

from patchword.models.presets import PRESETS


def on_the_page() -> dict[str, dict[str, float]]:
    """What it says, by reference and by what was compared."""
    found = {}
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| ") and cells[0] not in ("preset", "---"):
            assert cells[0] == (f"`{CASES[cells[1]].preset}`" if CASES[cells[1]].preset else "")
            pairs = [pair.rsplit(" ", 1) for pair in cells[3].split(", ")]
            found[cells[1]] = {what: float(value) for what, value in pairs}
    return found


@pytest.mark.parametrize("name", CASES)
def test_as_the_page_says(name: str, request: pytest.FixtureRequest) -> None:
    """The page may be of another processor: ten times what it says is still the same."""
    shared = None if CASES[name].library else request.getfixturevalue("shared")
    found = measured(name, shared)
    said = on_the_page()[name]
    assert list(said) == list(found)
    assert all(value <= max(10 * said[what], 1e-14) for what, value in found.items()), (found, said)


def test_the_page_says_nothing_else() -> None:
    assert set(on_the_page()) <= set(CASES)
    assert len(on_the_page()) > 30


def test_presets_on_the_page_are_there_and_each_published_one_is_on_it() -> None:
    """Systems 000 and 003 are compared part by part; model 4 as its code is has a test of its own."""
    named = {case.preset for case in CASES.values() if case.preset}
    assert named <= set(PRESETS)
    apart = ("ref/000", "ref/003")
    rest = {name for name in PRESETS if name.startswith("ref/") and not name.startswith(apart)}
    assert rest - named == {"ref/001-m4", "ref/002"}
