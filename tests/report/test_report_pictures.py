from __future__ import annotations

import base64

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from patchword.data.decode import decode
from patchword.report import Shown
from patchword.report.pictures import attention_maps, cards, summary

RANDOM = np.random.default_rng(11)


def picture(*sides: int) -> np.ndarray:
    return RANDOM.integers(0, 256, (*(sides or (24, 32)), 3), dtype=np.uint8)


def pixels(uri: str | None) -> np.ndarray:
    assert uri is not None
    head, data = uri.split(",")
    assert head in ("data:image/png;base64", "data:image/jpeg;base64")
    return decode(base64.b64decode(data, validate=True), 10**7)


def heat_over(parse, weights: np.ndarray) -> np.ndarray:
    """How bright a white picture is under a word's map, float [h, w]."""
    text = attention_maps([Shown(picture(), "x", attention=[("x", weights)])])[0]
    return pixels(parse(text).all("image")[1]["href"]).astype(float).mean(-1)


def test_a_card_holds_the_picture_itself(parse) -> None:
    image = picture()
    page = parse(cards([Shown(image, "two dogs", ("a dog", "dogs", "some dogs"), True)]))
    shown = page.all("img")[0]
    np.testing.assert_array_equal(pixels(shown["src"]), image)
    assert (shown["width"], shown["height"], shown["class"]) == ("32", "24", "pixelated")
    assert shown["alt"] == "The picture that was described as: two dogs"
    assert page.text("p") == "two dogsa dogdogssome dogs"
    assert page.text("summary") == "2 more references"
    assert page.classed("right")
    assert not page.classed("wrong")


def test_large_pictures_are_smooth(parse) -> None:
    shown = parse(cards([Shown(picture(500, 400), "a")])).all("img")[0]
    assert "class" not in shown
    assert (shown["height"], shown["width"]) == ("360", "288")


@pytest.mark.parametrize(("correct", "right", "wrong"), [(True, 1, 0), (False, 0, 1), (None, 0, 0)])
def test_marks_are_not_colour_alone(parse, correct, right, wrong) -> None:
    page = parse(cards([Shown(picture(), "a", correct=correct)]))
    assert (len(page.classed("right")), len(page.classed("wrong"))) == (right, wrong)
    assert ("✓ right" in page.text("span"), "✗ wrong" in page.text("span")) == (bool(right), bool(wrong))


def test_a_card_without_words(parse) -> None:
    page = parse(cards([Shown(picture(), "")]))
    assert page.text("p") == "(nothing)"
    assert not page.classed("references")


def test_long_texts_are_cut_visibly(parse) -> None:
    text = parse(cards([Shown(picture(), "long " * 40_000)])).text("p")
    assert len(text) < 600
    assert text.endswith("…")


@pytest.mark.parametrize(
    ("marks", "text"),
    [
        ([], "0 pictures"),
        ([None], "1 picture"),
        ([True, False, None], "3 pictures, 1 of 2 right"),
        ([False], "1 picture, 0 of 1 right"),
    ],
)
def test_summary(marks, text) -> None:
    assert summary([Shown(picture(), "a", correct=mark) for mark in marks]) == text


# ------------------------------------------------------------------ attention


def test_there_is_a_map_for_every_word(parse) -> None:
    words = [(word, RANDOM.random((6, 8))) for word in ("two", " dogs", "")]
    made = attention_maps([Shown(picture(), "a"), Shown(picture(), "two dogs", attention=words)])
    assert len(made) == 1
    page = parse(made[0])
    assert page.text("figcaption") == "the picturetwodogs␣"
    assert [use["href"] for use in page.all("use")] == ["#picture-1"] * 3
    assert [image["id"] for image in page.all("image") if "id" in image] == ["picture-1"]
    assert all(image["preserveaspectratio"] == "none" for image in page.all("image")[1:])


@pytest.mark.parametrize("place", [(0, 0), (0, 7), (5, 0), (5, 7), (2, 3)])
def test_the_brightest_place_is_where_the_weight_is(parse, place) -> None:
    weights = RANDOM.random((6, 8)) * 0.2
    weights[place] = 3.0
    bright = heat_over(parse, weights)
    row, column = np.unravel_index(bright.argmax(), bright.shape)
    assert abs((row + 0.5) / bright.shape[0] - (place[0] + 0.5) / 6) < 1 / 6
    assert abs((column + 0.5) / bright.shape[1] - (place[1] + 0.5) / 8) < 1 / 8
    assert bright.max() > bright.min() + 80


def test_between_patches_heat_changes_evenly(parse) -> None:
    for weights in (np.linspace(0, 1, 5)[None], np.linspace(0, 1, 5)[:, None]):
        bright = heat_over(parse, weights).mean(int(np.argmin(weights.shape)))
        assert bright[-1] > bright[0] + 80
        assert np.abs(np.diff(bright)).max() < 20  # each of the five patches is six wide: a jump would be larger


def test_even_attention_is_even_and_none_is_dark(parse) -> None:
    even, none = heat_over(parse, np.full((4, 4), 1 / 16)), heat_over(parse, np.zeros((4, 4)))
    assert even.max() - even.min() < 2
    assert none.max() < even.min() - 80


def test_where_it_looked_is_said_in_words(parse) -> None:
    weights = np.full((6, 6), 0.01)
    weights[0, 5] = 0.65
    page = parse(attention_maps([Shown(picture(), "a", attention=[("dog", weights)])])[0])
    assert page.all("svg")[1]["aria-label"] == "dog: most at the top right, 65.0\N{NO-BREAK SPACE}% of it in one patch"


@given(arrays(np.float32, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.floats(width=32)))
def test_any_weights_give_a_map(parse, weights) -> None:
    bright = heat_over(parse, weights)
    assert bright.shape == (32, 32)


@pytest.mark.parametrize("shape", [(4,), (0, 4), (2, 3, 4)])
def test_wrong_shapes_are_named(shape) -> None:
    with pytest.raises(ValueError, match=r"attention of 'dog' should be \[rows, columns\], got"):
        Shown(picture(), "a dog", attention=[("dog", np.zeros(shape))])
