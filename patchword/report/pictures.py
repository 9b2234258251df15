"""Pictures with what was said of them, and where the model looked while it said it."""

from __future__ import annotations

import base64
from collections.abc import Sequence

import numpy as np

from patchword.data.encode import Encoded, encode_for_page, encode_png
from patchword.report.amounts import percent, whole
from patchword.report.content import Shown
from patchword.report.markup import Html, node

_CARD_SIDE = 360
_MAP_SIDE = 224
_LONGEST_TEXT = 500
_PIXELATED_BELOW = 100  # larger pictures are little enlarged, and look better smooth

_HEAT = np.array([[8, 10, 24, 222], [8, 10, 24, 110], [255, 176, 40, 8], [255, 176, 40, 64]], dtype=np.float64)
"""Colour and opacity from cold to hot: what the model did not look at is in the shade, what it looked at most glows.
The picture's own colours stay recognisable, and the map tells in grey and on dark pictures too."""


def cards(pictures: Sequence[Shown]) -> Html:
    """A grid: picture, what was said, whether it is right, what people said."""
    return node("ul", {"class": "cards"}, *(_card(shown) for shown in pictures))


def summary(pictures: Sequence[Shown]) -> str:
    """How many of the pictures were described rightly, in words."""
    judged = [shown.correct for shown in pictures if shown.correct is not None]
    text = f"{whole(len(pictures))} picture{'s' if len(pictures) != 1 else ''}"
    return f"{text}, {whole(sum(judged))} of {whole(len(judged))} right" if judged else text


def _card(shown: Shown) -> Html:
    picture = encode_for_page(shown.image, _CARD_SIDE)
    attributes = {
        "src": _uri(picture.data, picture.mime),
        "alt": f"The picture that was described as: {shortened(shown.prediction)}",
        "width": picture.size.width,
        "height": picture.size.height,
        "class": _sharpness(picture),
    }
    read = node("p", {"dir": "auto"}, shortened(shown.read)) if shown.read is not None else None
    said = node("p", {"class": "said", "dir": "auto"}, shortened(shown.prediction) or "(nothing)")
    return node(
        "li",
        {"class": "card"},
        node("div", {"class": "frame"}, node("img", attributes)),
        node("div", {"class": "text"}, read, _verdict(shown.correct), said, _references(shown.references)),
    )


def _verdict(correct: bool | None) -> Html | None:
    if correct is None:
        return None
    name, mark = ("right", "✓") if correct else ("wrong", "✗")
    return node("span", {"class": f"verdict {name}"}, f"{mark} {name}")


def _references(references: Sequence[str]) -> Html | None:
    """The first in view, the others on demand."""
    if not references:
        return None
    items = [node("p", {"dir": "auto"}, shortened(text)) for text in references]
    more = f"{whole(len(items) - 1)} more reference{'s' if len(items) > 2 else ''}"
    rest = node("details", None, node("summary", None, more), *items[1:]) if items[1:] else None
    return node("div", {"class": "references"}, node("span", {"class": "label"}, "Reference"), items[0], rest)


# ------------------------------------------------------------------ attention


def attention_maps(pictures: Sequence[Shown]) -> list[Html]:
    """For every picture with attention: the picture, and once more for each word, with heat where the model looked."""
    return [_maps(shown, number) for number, shown in enumerate(pictures) if shown.attention]


def _maps(shown: Shown, number: int) -> Html:
    picture = encode_for_page(shown.image, _MAP_SIDE)
    name = f"picture-{number}"
    sides = {"width": picture.size.width, "height": picture.size.height}
    image = node("image", {"id": name, "href": _uri(picture.data, picture.mime), "class": _sharpness(picture), **sides})
    box = {"viewBox": f"0 0 {picture.size.width} {picture.size.height}", "role": "img"}
    whole_picture = node(
        "figure",
        {"class": "map"},
        node("svg", {**box, "aria-label": "The picture itself"}, image),
        node("figcaption", {"class": "unit"}, "the picture"),
    )
    maps = [whole_picture]
    for word, weights in shown.attention or ():
        heat = _clear(weights)
        said = shortened(word.strip()) or "␣"
        where = f"{said}: {_most(heat)}"
        layers = [
            node("title", None, where),
            node("use", {"href": f"#{name}"}),
            node("image", {"href": _uri(encode_png(_heat(heat)), "image/png"), "preserveAspectRatio": "none", **sides}),
        ]
        svg = node("svg", {**box, "aria-label": where}, *layers)
        maps.append(node("figure", {"class": "map"}, svg, node("figcaption", {"dir": "auto"}, said)))
    said = node("p", {"class": "said", "dir": "auto"}, shortened(shown.prediction), " ", _verdict(shown.correct))
    return node("article", {"class": "looked"}, said, node("div", {"class": "maps"}, *maps))


def _clear(weights: np.ndarray) -> np.ndarray:
    """Weights as finite numbers that are not negative, float [rows, columns]."""
    return np.nan_to_num(np.asarray(weights, dtype=np.float64), nan=0.0, posinf=0.0, neginf=0.0).clip(min=0.0)


def _most(heat: np.ndarray) -> str:
    """Where most of the attention is, in words."""
    total = heat.sum()
    if not 0 < total < np.inf:
        return "no attention to the picture"
    row, column = (int(place) for place in np.unravel_index(heat.argmax(), heat.shape))
    rows, columns = heat.shape
    height = ("top", "middle", "bottom")[min(2, 3 * row // rows)]
    side = ("left", "centre", "right")[min(2, 3 * column // columns)]
    return f"most at the {height} {side}, {percent(heat[row, column] / total)} of it in one patch"


def _heat(heat: np.ndarray) -> np.ndarray:
    """What to lay over the picture, uint8 [h, w, 4], for weights scaled to their largest."""
    place = _resized(heat / max(heat.max(), np.finfo(np.float64).tiny)) * (len(_HEAT) - 1)
    lower = np.minimum(place.astype(np.int64), len(_HEAT) - 2)
    part = (place - lower)[..., None]
    return (_HEAT[lower] * (1 - part) + _HEAT[lower + 1] * part).round().astype(np.uint8)


def _resized(grid: np.ndarray, side: int = 32) -> np.ndarray:
    """The grid [rows, columns] at `side` values a side, in straight lines between the middles of its cells."""
    for axis in (0, 1):
        count = grid.shape[axis]
        at = ((np.arange(side) + 0.5) * count / side - 0.5).clip(0, count - 1)
        lower = np.minimum(at.astype(np.int64), max(count - 2, 0))
        upper = np.minimum(lower + 1, count - 1)
        part = np.expand_dims(at - lower, 1 - axis)
        grid = np.take(grid, lower, axis) * (1 - part) + np.take(grid, upper, axis) * part
    return grid


# ------------------------------------------------------------------ both


def _uri(data: bytes, mime: str) -> str:
    return f"data:{mime};base64,{base64.b64encode(data).decode()}"


def _sharpness(picture: Encoded) -> str | None:
    return "pixelated" if max(picture.size) < _PIXELATED_BELOW else None


def shortened(text: str) -> str:
    """A text as long as a page has room for."""
    return text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT].rstrip()} …"
