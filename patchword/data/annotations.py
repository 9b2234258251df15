"""VQA's own files: questions in one, what people answered in another (Antol et al. 2015; Goyal et al. 2017)."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Sequence

from patchword.config import UserError
from patchword.data.json_layouts import answered
from patchword.data.tables import ObjectsTable, Table

_FORMS = re.compile("OpenEnded_|MultipleChoice_")

Named = tuple[str, Table]


def with_annotations(tables: Sequence[Named]) -> list[Named]:
    """Tables by name; a file of questions and its file of annotations become one.

    `v2_OpenEnded_mscoco_val2014_questions.json` and `v2_mscoco_val2014_annotations.json` belong together, as do
    `val_questions.json` and `val_annotations.json`.

    Raises:
        UserError: annotations have no questions, or a question has no annotation.
    """
    answers = {_key(name, "annotations"): (name, table) for name, table in tables if _is(table, "annotations")}
    made = []
    for name, table in tables:
        if _is(table, "annotations"):
            continue
        found = answers.pop(_key(name, "questions"), None) if _is(table, "questions") else None
        made.append((name, table if found is None else _joined(table, found[1])))
    for name, _ in answers.values():
        raise UserError(f"{name}: no file of the questions that these are annotations of (..._questions.json)")
    return made


def without_annotations(names: Sequence[str]) -> list[str]:
    """Names of tables, without those that are called the annotations of another one."""
    questions = {_key(name, "questions") for name in names if _called(name, "questions")}
    return [n for n in names if not (_called(n, "annotations") and _key(n, "annotations") in questions)]


def _stem(name: str) -> str:
    return posixpath.splitext(name)[0]


def _is(table: Table, what: str) -> bool:
    whose = "question_id" in table.columns and ("question" in table.columns) == (what == "questions")
    return whose and _called(table.name, what)


def _called(name: str, what: str) -> bool:
    return _stem(name).lower().endswith(what)


def _key(name: str, what: str) -> str:
    return _FORMS.sub("", _stem(name)[: -len(what)])


def _joined(questions: Table, annotations: Table) -> Table:
    both = [
        [dict(zip(table.columns, row.cells, strict=True)) for row in table.rows(table.columns)]
        for table in (questions, annotations)
    ]
    rows = answered(f"{questions.name} and {posixpath.basename(annotations.name)}", *both)
    return ObjectsTable(questions.name, "entry", list(enumerate(rows, 1)))
