"""Our models against other programs', read through the key maps."""

from __future__ import annotations

import pytest
from parity_table import CASES, allowed, measured


@pytest.mark.parametrize("name", CASES)
def test_equal(name: str, request: pytest.FixtureRequest) -> None:
    shared = None if CASES[name].library else request.getfixturevalue("shared")
    found = measured(name, shared)
    assert found
    assert not {what: value for what, value in found.items() if not value <= allowed(what)}
