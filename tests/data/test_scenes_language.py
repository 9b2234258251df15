"""Captions of the embedded scenes: written, read and judged, in two languages."""

from __future__ import annotations

import random
import re
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from patchword.config import UserError
from patchword.data.scenes import (
    COLOURS,
    LANGUAGES,
    PLACES,
    SHAPES,
    SIZES,
    SPLITS,
    Scene,
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


@pytest.mark.parametrize(
    ("scene", "language", "captions"),
    [
        (
            THREE,
            "en",
            [
                "a small red circle, a large white diamond and a small red circle",
                "there is a small red circle, a large white diamond and a small red circle",
                "a small red circle in the top left, a large white diamond in the centre"
                " and a small red circle in the bottom right",
                "the picture shows two small red circles and a large white diamond",
                "a picture of a small red circle, a large white diamond and a small red circle",
            ],
        ),
        (
            THREE,
            "de",
            [
                "ein kleiner roter Kreis, eine große weiße Raute und ein kleiner roter Kreis",
                "es gibt einen kleinen roten Kreis, eine große weiße Raute und einen kleinen roten Kreis",
                "ein kleiner roter Kreis oben links, eine große weiße Raute in der Mitte"
                " und ein kleiner roter Kreis unten rechts",
                "das Bild zeigt zwei kleine rote Kreise und eine große weiße Raute",
                "ein Bild mit einem kleinen roten Kreis, einer großen weißen Raute und einem kleinen roten Kreis",
            ],
        ),
        (
            TWO,
            "de",
            [
                "ein großes grünes Quadrat und ein kleiner orangefarbener Stern",
                "es gibt ein großes grünes Quadrat und einen kleinen orangefarbenen Stern",
                "ein großes grünes Quadrat oben in der Mitte und ein kleiner orangefarbener Stern unten links",
                "das Bild zeigt ein großes grünes Quadrat und einen kleinen orangefarbenen Stern",
                "ein Bild mit einem großen grünen Quadrat und einem kleinen orangefarbenen Stern",
            ],
        ),
    ],
)
def test_captions_word_for_word(scene, language, captions):
    assert WORLD.captions(scene, language) == captions


@pytest.mark.parametrize(
    ("caption", "language"),
    [
        ("a large white diamond and two small red circles", "en"),
        ("there are two small red circles and one large white diamond", "en"),
        ("A small red circle and a large white diamond and a small red circle.", "en"),
        ("a small red circle , one small red circle , and a large white diamond in the centre .", "en"),
        ("a small red circle in the bottom right, a small red circle and a large white diamond", "en"),
        ("zwei kleine rote Kreise und eine große weiße Raute in der Mitte", "de"),
        ("ein bild mit zwei kleinen roten kreisen und einer großen weißen raute", "de"),
        ("Es gibt eine große weiße Raute und zwei kleine rote Kreise.", "de"),
    ],
)
def test_other_true_phrasings_are_understood(caption, language):
    assert WORLD.describes(THREE, caption, language)


@pytest.mark.parametrize(
    ("caption", "language"),
    [
        ("", "en"),
        (" . ", "en"),
        (",", "en"),
        ("there is", "en"),
        ("a small red circle, a large white diamond", "en"),
        ("two small red circles in the top left and a large white diamond", "en"),
        ("a small red circle in the top left, a small red circle in the top left and a large white diamond", "en"),
        ("a small red circle in the centre, a large white diamond and a small red circle", "en"),
        ("three small red circles and a large white diamond", "en"),
        ("two small red circle and a large white diamond", "en"),
        ("two small red circles and a large white diamond and", "en"),
        ("two small red circles and a large white diamond and a dog", "en"),
        ("two red small circles and a large white diamond", "en"),
        ("two small red circles, , a large white diamond", "en"),
        ("zwei kleine rote Kreise und eine große weiße Raute", "en"),
        ("two small red circles and a large white diamond", "de"),
        ("zwei kleine rote Kreise und ein großer weißer Raute", "de"),
        ("es gibt zwei kleine rote Kreise und einer großen weißen Raute", "de"),
        ("ein Bild mit zwei kleine rote Kreise und einer großen weißen Raute", "de"),
        ("zwei kleine rote Kreise und eine grosse weisse Raute", "de"),
    ],
)
def test_what_is_wrong_is_rejected(caption, language):
    assert not WORLD.describes(THREE, caption, language)


@pytest.mark.parametrize("language", LANGUAGES)
def test_all_captions_are_true_distinct_and_made_of_few_words(language):
    words = set()
    for scene in SCENES:
        captions = WORLD.captions(scene, language)
        assert len(set(captions)) == 5
        for caption in captions:
            assert WORLD.describes(scene, caption, language)
            description = parse_caption(caption, language)
            assert description is not None
            assert description.objects == Counter((o.size, o.colour, o.shape) for o in scene.objects)
            words |= set(caption.replace(",", "").split())
    assert len(words) < 100


def altered_scenes(scene: Scene) -> list[Scene]:
    """Every scene with one attribute or place changed, one object less, or one more."""
    changed = []
    for at, item in enumerate(scene.objects):
        rest = (scene.objects[:at], scene.objects[at + 1 :])
        others = [
            replace(item, **{name: value})
            for name, values in (("size", SIZES), ("colour", COLOURS), ("shape", SHAPES))
            for value in values
            if value != getattr(item, name)
        ]
        changed += [(*rest[0], other, *rest[1]) for other in others]
        changed += [(*rest[0], *rest[1]), (*rest[0], item, item, *rest[1])]
    return [replace(scene, objects=objects) for objects in changed if objects]


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_single_change_is_rejected(language):
    for scene in SCENES[:40]:
        for other in altered_scenes(scene):
            for caption in WORLD.captions(other, language):
                assert not WORLD.describes(scene, caption, language)
        for at, item in enumerate(scene.objects):
            for place in PLACES:
                moved = (*scene.objects[:at], replace(item, place=place), *scene.objects[at + 1 :])
                caption = WORLD.captions(replace(scene, objects=moved), language)[2]
                assert WORLD.describes(scene, caption, language) == (place == item.place)


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_wrong_word_is_rejected(language):
    vocabulary = {word for s in SCENES for c in WORLD.captions(s, language) for word in re.findall(r"\w+", c)}
    same = {frozenset(("a", "one")), frozenset(("is", "are"))}
    for scene in SCENES[:12]:
        for caption in WORLD.captions(scene, language):
            words = re.findall(r"\w+|,", caption)
            for at, word in enumerate(words):
                if word == ",":
                    continue
                for other in (*(vocabulary - {word}), "", f"{word} {word}"):
                    text = " ".join([*words[:at], other, *words[at + 1 :]])
                    accepted = WORLD.describes(scene, text, language)
                    assert accepted == (frozenset((word, other)) in same), text


PIECES = ["a", "two", "small", "red", "circle", "circles", "and", ",", ".", "in the", "centre"]


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(st.text(max_size=50) | st.lists(st.sampled_from(PIECES), max_size=12).map(" ".join))
def test_any_text_can_be_read(text):
    for language in LANGUAGES:
        description = parse_caption(text, language)
        assert description is None or description.objects.total() > 0


def test_a_huge_text_is_read_in_passing():
    description = parse_caption(" and ".join(["two small red circles"] * 50_000))
    assert description is not None
    assert description.objects == {("small", "red", "circle"): 100_000}
    assert parse_caption(" " * 10**6 + "," * 10**6) is None


def test_an_unknown_language_is_named():
    with pytest.raises(UserError, match="'fr'"):
        WORLD.captions(SCENES[0], "fr")
    with pytest.raises(UserError, match="'EN'"):
        parse_caption("a small red circle", "EN")
