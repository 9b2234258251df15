"""Captions that match a scene or differ from it in exactly one thing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import product

import numpy as np

from patchword.data.scenes.language import grammar
from patchword.data.scenes.objects import COLOURS, PLACES, SHAPES, SIZES, Scene, SceneObject
from patchword.data.scenes.questions import ATTRIBUTES, altered, pick, sayable

Objects = list[SceneObject]


def match(scene: Scene, max_objects: int, generator: np.random.Generator) -> tuple[str, bool]:
    """An English caption in a random phrasing, and whether it is true: half of the time one thing is wrong.

    Wrong is one attribute of one object (its place too, where told), or one object too few or too many.
    Neither the phrasing nor the number of objects gives away which it is.
    """
    english = grammar("en")
    template = pick(generator, english.templates)
    objects = list(scene.objects)
    matches = bool(generator.random() < 0.5)
    if not matches:
        faults = (*_FAULTS, _misplace) if template.placed else _FAULTS
        objects = pick(generator, faults)(scene, max_objects, generator)
    return english.caption(sorted(objects, key=lambda item: item.cell), template), matches


def _misname(scene: Scene, _max_objects: int, generator: np.random.Generator) -> Objects:
    objects = list(scene.objects)
    which = int(generator.random() * len(objects))
    changes = [altered(scene, objects[which].kind, name) for name in ATTRIBUTES]
    size, colour, shape = pick(generator, pick(generator, changes))
    objects[which] = replace(objects[which], size=size, colour=colour, shape=shape)
    return objects


def _leave_out(scene: Scene, max_objects: int, generator: np.random.Generator) -> Objects:
    if len(scene.objects) == 1:
        return _misname(scene, max_objects, generator)
    objects = list(scene.objects)
    del objects[int(generator.random() * len(objects))]
    return objects


def _make_up(scene: Scene, max_objects: int, generator: np.random.Generator) -> Objects:
    # Where nothing can be left out or added, an attribute is wrong instead: the numbers of objects
    # then are as evenly spread in wrong captions as in true ones.
    if len(scene.objects) == max_objects:
        return _misname(scene, max_objects, generator)
    model, place = pick(generator, scene.objects), _free_place(scene, generator)
    shape, colour = pick(generator, [pair for pair in product(SHAPES, COLOURS) if sayable(scene, *pair)])
    size = pick(generator, SIZES)
    return [*scene.objects, replace(model, size=size, colour=colour, shape=shape, place=place)]


def _misplace(scene: Scene, max_objects: int, generator: np.random.Generator) -> Objects:
    if len(scene.objects) == len(PLACES):
        return _misname(scene, max_objects, generator)
    objects = list(scene.objects)
    which = int(generator.random() * len(objects))
    objects[which] = replace(objects[which], place=_free_place(scene, generator))
    return objects


def _free_place(scene: Scene, generator: np.random.Generator) -> str:
    taken = {item.place for item in scene.objects}
    return pick(generator, [place for place in PLACES if place not in taken])


_FAULTS: tuple[Callable[[Scene, int, np.random.Generator], Objects], ...] = (
    _misname,
    _misname,
    _leave_out,
    _make_up,
)
