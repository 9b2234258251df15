"""docs/acceptance.md: every check has a line, and the tests that it names exist."""

from __future__ import annotations

import re

import pytest
from pointers import ROOT, exists

PAGE = (ROOT / "docs" / "acceptance.md").read_text(encoding="utf-8")
CHECKS = {
    "000": "12345",
    "001": "plmtds",
    "002": "12345",
    "003": "cnrtjkl",
    "004": "123456",
}


def test_every_check_has_a_line() -> None:
    told = re.findall(r"^\| (A\d{3}-\w) \|", PAGE, re.MULTILINE)
    assert told == [f"A{system}-{check}" for system, checks in CHECKS.items() for check in checks]


@pytest.mark.parametrize("line", [line for line in PAGE.splitlines() if re.match(r"\| A\d{3}-", line)])
def test_a_check_names_its_tests(line: str) -> None:
    assert re.search(r"`[\w/]+\.py::\w+`", line)


@pytest.mark.parametrize("test", sorted(set(re.findall(r"`([\w/]+\.py::\w+)`", PAGE))))
def test_a_named_test_exists(test: str) -> None:
    assert exists(f"tests/{test}")
