"""Questions, labels and matching captions of the embedded scenes."""

from __future__ import annotations

import random
import re
from collections import Counter
from dataclasses import replace

import pytest

from patchword.data.scenes import (
    ANSWERS,
    COLOURS,
    HELD_OUT,
    PLACES,
    QUESTION_KINDS,
    SHAPES,
    SPLITS,
    Scene,
    SceneObject,
    SceneWorld,
    parse_caption,
)

CHOICE = random.Random(21)
WORLD = SceneWorld(11)
SCENES = [WORLD.scene(CHOICE.choice(SPLITS), index) for index in range(400)]


def scene_of(*objects: str) -> Scene:
    """A scene of objects such as "small red circle top left"."""
    items = []
    for words in objects:
        size, colour, shape, place = words.split(" ", 3)
        items.append(replace(SCENES[0].objects[0], size=size, colour=colour, shape=shape, place=place))
    return replace(SCENES[0], objects=tuple(items))


THREE = scene_of("small red circle top left", "large white diamond centre", "small red circle bottom right")
TWO = scene_of("large green square top centre", "small orange star bottom left")


def named(scene: Scene, name: str) -> list[SceneObject]:
    """The objects that a name such as "small circle", "red objects" or "object in the centre" fits."""
    name, _, place = name.partition(" in the ")
    found = [item for item in scene.objects if place in ("", item.place)]
    for word in name.split():
        if word in ("object", "objects"):
            continue
        singular = word if word in SHAPES else word.removesuffix("es" if word == "crosses" else "s")
        found = [o for o in found if word in (o.size, o.colour) or singular == o.shape]
    return found


def answers(scene: Scene, text: str) -> set[str]:
    """Every right answer, worked out anew from the text and the exact positions."""
    if asked := re.fullmatch(r"how many (.+) are there\?", text):
        return {["zero", "one", "two", "three", "four"][len(named(scene, asked[1]))]}
    if asked := re.fullmatch(r"what (colour|shape) is the (.+)\?", text):
        return {getattr(item, asked[1]) for item in named(scene, asked[2])}
    if asked := re.fullmatch(r"is there a (.+)\?", text):
        return {"yes" if named(scene, asked[1]) else "no"}
    asked = re.fullmatch(r"is the (\w+ \w+ \w+) (to the left of|to the right of|above|below) the (.+)\?", text)
    assert asked, text
    (one,), (other,) = named(scene, asked[1]), named(scene, asked[3])
    gap = {
        "to the left of": other.x - one.x,
        "to the right of": one.x - other.x,
        "above": other.y - one.y,
        "below": one.y - other.y,
    }[asked[2]]
    return {"yes" if gap > 1 / 6 else "no"}  # within a cell it is less, between neighbours more


def test_answers_are_the_ones_worked_out_by_brute_force():
    counts: dict[str, Counter[str]] = {kind: Counter() for kind in QUESTION_KINDS}
    for scene in SCENES:
        questions = WORLD.questions(scene)
        assert len({question.text for question in questions}) == len(questions)
        for question in questions:
            assert answers(scene, question.text) == {question.answer}, (question, scene)
            counts[question.kind][question.answer] += 1
        expected = set(QUESTION_KINDS) if len(scene.objects) > 1 else set(QUESTION_KINDS) - {"relation"}
        kinds = Counter(o.kind for o in scene.objects)
        if list(kinds.values()).count(1) < 2:
            expected.discard("relation")
        assert {question.kind for question in questions} == expected
    assert {answer for found in counts.values() for answer in found} <= set(ANSWERS)
    assert set(counts["colour"]) == set(COLOURS)
    assert set(counts["shape"]) == set(SHAPES)
    assert set(counts["count"]) == {"zero", "one", "two", "three", "four"}
    for kind in ("yes/no", "relation"):
        assert counts[kind]["yes"] == counts[kind]["no"] > 100
    first = Counter(next(q.answer for q in WORLD.questions(s) if q.kind == "yes/no") for s in SCENES)
    assert min(first["yes"], first["no"]) > 150


def test_the_label_is_the_shape_of_the_first_large_object():
    assert WORLD.label(THREE) == "diamond"
    assert WORLD.label(TWO) == "square"
    assert WORLD.label(scene_of("small red star top left", "small red cross centre")) == "star"
    counts = Counter(WORLD.label(scene) for scene in SCENES)
    assert set(counts) == set(SHAPES)


def test_a_matching_caption_matches_and_another_differs_in_one_thing():
    flags, sizes = Counter(), Counter()
    for index in range(4000):
        scene = WORLD.scene(SPLITS[index // 4 % len(SPLITS)], index)
        caption, flag = WORLD.matching(scene)
        assert flag == WORLD.describes(scene, caption)
        description = parse_caption(caption)
        assert description is not None
        flags[flag] += 1
        sizes[description.objects.total(), flag] += 1
        there = Counter(o.kind for o in scene.objects)
        extra, lacking = description.objects - there, there - description.objects
        assert extra.total() <= 1
        assert lacking.total() <= 1
        if extra and lacking:
            (said,), (real,) = extra, lacking
            assert sum(one != other for one, other in zip(said, real)) == 1
        elif not extra and not lacking and not flag:
            places = Counter((o.kind, o.place) for o in scene.objects)
            assert (description.placed - places).total() == 1
        if description.placed:
            cells = [PLACES.index(place) for _, place in description.placed]
            assert cells == sorted(set(cells))
            assert len(cells) == description.objects.total()
    assert 1900 < flags[True] < 2100
    for count in range(1, 5):  # the number of objects said gives nothing away
        assert 0.85 < sizes[count, True] / sizes[count, False] < 1.18


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_held_out_pairs_are_not_even_mentioned(split):
    pattern = re.compile("|".join(rf"{colour} {shape}" for shape, colour in HELD_OUT))
    for index in range(800):
        scene = WORLD.scene(split, index)
        texts = [WORLD.matching(scene)[0], *WORLD.captions(scene)]
        texts += [question.text for question in WORLD.questions(scene)]
        assert not any(pattern.search(text) for text in texts)
