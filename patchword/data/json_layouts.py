"""What JSON files of well-known data sets hold, as rows: COCO's captions, VQA's questions, easy-VQA's triples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from patchword.config import UserError
from patchword.data.json_text import as_object

Rows = Sequence[Mapping[str, Any]]


def rows_of(name: str, content: Any) -> list[Any]:
    """The rows in what a JSON file holds: a list of them, or one of the layouts above.

    Raises:
        UserError: it is none of these; the message says where.
    """
    if isinstance(content, dict):
        for keys, reader in _LAYOUTS.items():
            if set(keys) <= content.keys():
                return reader(name, *(_listed(name, key, content[key]) for key in keys))
    if not isinstance(content, list):
        raise UserError(
            f'{name}: should be a list of objects, {{"images": [...], "annotations": [...]}} or {{"questions": [...]}}'
        )
    if content and all(_is_triple(item) for item in content):
        return [dict(zip(("question", "answer", "image_id"), item, strict=True)) for item in content]
    return content


def _is_triple(item: Any) -> bool:
    """Whether it is easy-VQA's [question, answer, image]."""
    return isinstance(item, list) and [type(cell) for cell in item] in ([str, str, int], [str, str, str])


def answered(name: str, questions: Rows, annotations: Rows) -> Rows:
    """One row a question, with the fields of its annotation (VQA's layout: Antol et al. 2015).

    Raises:
        UserError: a question has no annotation, or one of them has no `question_id`.
    """
    by_id = _by_id(f"{name}, annotation", annotations, "question_id")
    rows = []
    for number, question in enumerate(questions, 1):
        place = f"{name}, question {number}"
        key = _key(place, as_object(place, question), "question_id")
        if key not in by_id:
            raise UserError(f"{name}: question {key} has no annotation")
        rows.append({**by_id[key], **question})
    return rows


def _described(name: str, images: list[Any], annotations: list[Any]) -> Rows:
    """One row an annotation, with the fields of its image (COCO's layout: Lin et al. 2014)."""
    by_id = _by_id(f"{name}, image", images, "id")
    rows = []
    for number, item in enumerate(annotations, 1):
        place = f"{name}, annotation {number}"
        annotation = as_object(place, item)
        image = by_id.get(_key(place, annotation, "image_id"))
        if image is None:
            raise UserError(f"{place}: no image has the id {annotation['image_id']!r}")
        rows.append({**image, **annotation})
    return rows


_LAYOUTS: dict[tuple[str, ...], Any] = {
    ("images", "annotations"): _described,
    ("questions", "annotations"): answered,
    ("questions",): lambda _, questions: questions,
    ("annotations",): lambda _, annotations: annotations,
}
"""By what a file's object holds: COCO's, VQA's questions and annotations in one file or in two."""


def _by_id(place: str, items: Sequence[Any], field: str) -> dict[int | str, Mapping[str, Any]]:
    return {_key(f"{place} {n}", as_object(f"{place} {n}", item), field): item for n, item in enumerate(items, 1)}


def _listed(name: str, key: str, value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise UserError(f"{name}: {key!r} should be a list")
    return value


def _key(place: str, item: Mapping[str, Any], field: str) -> int | str:
    value = item.get(field)
    if not isinstance(value, int | str):
        raise UserError(f"{place}: {field!r} should be a number or text, got {value!r}")
    return value
