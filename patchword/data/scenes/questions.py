"""What is asked about a scene: questions of five kinds, each with its one right answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import permutations, product
from typing import TypeVar

import numpy as np

from patchword.data.scenes.language import NUMBERS, PLURALS
from patchword.data.scenes.objects import COLOURS, HELD_OUT, SHAPES, SIZES, Kind, Question, Scene

QUESTION_KINDS = ("count", "colour", "shape", "yes/no", "relation")
ANSWERS = (*NUMBERS, *COLOURS, *SHAPES, "yes", "no")
"""Every answer there is."""

ATTRIBUTES = {"size": SIZES, "colour": COLOURS, "shape": SHAPES}

T = TypeVar("T")


def pick(generator: np.random.Generator, choices: Sequence[T]) -> T:
    """One of the choices, each as likely."""
    return choices[int(generator.random() * len(choices))]


def sayable(scene: Scene, shape: str, colour: str) -> bool:
    """Whether text may say this pair: outside `novel` a held-out one would be learnt as always false."""
    return scene.split == "novel" or (shape, colour) not in HELD_OUT


def altered(scene: Scene, kind: Kind, attribute: str) -> list[Kind]:
    """The kinds that differ from `kind` in this attribute alone, as far as they may be said."""
    others = (kind._replace(**{attribute: value}) for value in ATTRIBUTES[attribute])
    return [other for other in others if other != kind and sayable(scene, other.shape, other.colour)]


def ask(scene: Scene, generator: np.random.Generator) -> list[Question]:
    """All the questions; those answered by yes or no come in pairs, one of each answer, in random order.

    A scene with no two objects that can be told apart by kind has none of the kind `relation`.
    """
    return [question for asker in _ASKERS for question in asker(scene, generator)]


def _ask_count(scene: Scene, generator: np.random.Generator) -> list[Question]:
    objects = scene.objects
    # Half of the time about something that is there: otherwise nearly every answer would be zero.
    shape = pick(generator, (pick(generator, objects).shape, pick(generator, SHAPES)))
    colour = pick(generator, (pick(generator, objects).colour, pick(generator, COLOURS)))
    counts = {
        "objects": len(objects),
        PLURALS[shape]: sum(item.shape == shape for item in objects),
        f"{colour} objects": sum(item.colour == colour for item in objects),
    }
    return [Question(f"how many {name} are there?", NUMBERS[count], "count") for name, count in counts.items()]


def _ask_colour(scene: Scene, generator: np.random.Generator) -> list[Question]:
    item = pick(generator, scene.objects)
    names = [f"object in the {item.place}"]
    if sum(other.shape == item.shape for other in scene.objects) == 1:
        names.append(item.shape)
    if sum((other.size, other.shape) == (item.size, item.shape) for other in scene.objects) == 1:
        names.append(f"{item.size} {item.shape}")
    return [Question(f"what colour is the {pick(generator, names)}?", item.colour, "colour")]


def _ask_shape(scene: Scene, generator: np.random.Generator) -> list[Question]:
    item = pick(generator, scene.objects)
    names = [f"object in the {item.place}"]
    if sum(other.colour == item.colour for other in scene.objects) == 1:
        names.append(f"{item.colour} object")
    if sum((other.size, other.colour) == (item.size, item.colour) for other in scene.objects) == 1:
        names.append(f"{item.size} {item.colour} object")
    return [Question(f"what shape is the {pick(generator, names)}?", item.shape, "shape")]


def _ask_whether(scene: Scene, generator: np.random.Generator) -> list[Question]:
    present = pick(generator, scene.objects).kind
    there = {item.kind for item in scene.objects}
    # What is asked for in vain nearly is there: one attribute away.
    near = pick(generator, scene.objects).kind
    missing = [[kind for kind in altered(scene, near, name) if kind not in there] for name in ATTRIBUTES]
    absent = pick(generator, pick(generator, [kinds for kinds in missing if kinds]))
    text = "is there a {} {} {}?"
    return _shuffled_pair(generator, text.format(*present), text.format(*absent), "yes/no")


_RELATIONS: dict[str, Callable[[int, int], bool]] = {
    "to the left of": lambda one, other: one % 3 < other % 3,
    "to the right of": lambda one, other: one % 3 > other % 3,
    "above": lambda one, other: one // 3 < other // 3,
    "below": lambda one, other: one // 3 > other // 3,
}
"""By the columns and rows of the cells, so that no answer hangs on a pixel."""


def _ask_relation(scene: Scene, generator: np.random.Generator) -> list[Question]:
    kinds = [item.kind for item in scene.objects]
    unique = [item for item in scene.objects if kinds.count(item.kind) == 1]
    texts: dict[bool, list[str]] = {True: [], False: []}
    for (one, other), (name, holds) in product(permutations(unique, 2), _RELATIONS.items()):
        text = f"is the {' '.join(one.kind)} {name} the {' '.join(other.kind)}?"
        texts[holds(one.cell, other.cell)].append(text)
    if len(unique) < 2:
        return []
    return _shuffled_pair(generator, pick(generator, texts[True]), pick(generator, texts[False]), "relation")


_ASKERS = (_ask_count, _ask_colour, _ask_shape, _ask_whether, _ask_relation)


def _shuffled_pair(generator: np.random.Generator, yes: str, no: str, kind: str) -> list[Question]:
    pair = [Question(yes, "yes", kind), Question(no, "no", kind)]
    return pair if generator.random() < 0.5 else pair[::-1]
