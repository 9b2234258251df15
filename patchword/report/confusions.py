"""Which classes were taken for which, as a section of the page."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from patchword.report.amounts import percent, whole
from patchword.report.content import Report
from patchword.report.markup import Html, node
from patchword.report.pieces import Section, heading, row, table
from patchword.tasks.metrics import Confusion

_MOST_COLUMNS, _MOST_PAIRS = 20, 30


def confusions(report: Report) -> Iterator[Section]:
    """The first split's confusion matrix; with many classes, the commonest mistakes."""
    for result in report.results[:1]:
        if result.confusion is None or not result.confusion.counts.any():
            continue
        many = len(result.confusion.labels) > _MOST_COLUMNS
        content = _pairs(result.confusion) if many else _matrix(result.confusion)
        lead = f"Of {result.split}: rows are what is true, columns what the model said."
        if many:
            lead = f"Of {result.split}: the commonest mistakes."
        yield Section("confusion", "What was taken for what", [content], lead)


def _matrix(found: Confusion) -> Html:
    head = [heading("True"), *(heading(label, "number") for label in found.labels), heading("Right", "number")]
    rows = []
    for place, (truth, counts) in enumerate(zip(found.truths, found.counts, strict=True)):
        unseen = place >= len(found.labels)
        right = 0 if unseen else int(counts[place])
        share = percent(right / counts.sum()) if counts.sum() else ""
        rows.append(row(truth, "never seen in training" if unseen else "", [*map(whole, counts.tolist()), share]))
    return table([node("tr", None, *head)], rows)


def _pairs(found: Confusion) -> Html:
    wrong = found.counts.copy()
    np.fill_diagonal(wrong, 0)  # of the rows that have a column; those of unseen classes come below
    order = np.argsort(-wrong, axis=None, kind="stable")[:_MOST_PAIRS]
    places = [(int(i) // wrong.shape[1], int(i) % wrong.shape[1]) for i in order]
    head = [heading("True"), heading("Said", "number"), heading("Samples", "number"), heading("Of all", "number")]
    rows = [
        row(
            found.truths[i],
            "",
            [found.labels[j], whole(int(wrong[i, j])), percent(wrong[i, j] / found.counts[i].sum())],
        )
        for i, j in places
        if wrong[i, j]
    ]
    return table([node("tr", None, *head)], rows)
