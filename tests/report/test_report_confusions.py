"""The section of a page that says which classes were taken for which."""

from __future__ import annotations

import numpy as np
import pytest

from patchword.report.content import Report, Result
from patchword.report.page import render
from patchword.tasks.metrics import Confusion, confusion_of


def page_of(confusion: Confusion | None, parse):
    return parse(render(Report(title="x", results=[Result("val", {"accuracy": 0.5}, 4, confusion)])))


def test_a_matrix_with_a_row_for_what_was_never_seen(parse) -> None:
    page = page_of(confusion_of(["cat", "dog", "cat", "cat"], ["cat", "dog", "dog", "<eel>"], ["cat", "dog"]), parse)
    text = page.text("table")
    assert "<eel>" in text
    assert "never seen in training" in text
    assert "What was taken for what" in page.text("h2")
    assert "rows are what is true" in page.text("p")


def test_of_many_classes_the_commonest_mistakes(parse) -> None:
    names = [f"class {i}" for i in range(30)]
    counts = np.eye(30, dtype=np.int64) * 9
    counts[3, 7], counts[5, 2] = 4, 1
    page = page_of(Confusion(tuple(names), tuple(names), counts), parse)
    text = page.text("tbody")
    assert text.index("class 3") < text.index("class 5")
    assert "class 7" in text
    assert "class 11" not in text
    assert "the commonest mistakes" in page.text("p")


@pytest.mark.parametrize("confusion", [None, confusion_of([], [], ["a", "b"])])
def test_nothing_to_say_is_left_out(confusion: Confusion | None, parse) -> None:
    assert "taken for what" not in page_of(confusion, parse).text()
