"""System 003's form of data: pictures in a folder, and JSON lists of {image_path, text, question, answer, caption}."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

COLOURS = {"red": (220, 40, 40), "green": (40, 180, 60), "blue": (40, 60, 220), "yellow": (230, 210, 50)}
SHOWN = [
    ("circle", "red"),
    ("square", "green"),
    ("triangle", "blue"),
    ("cross", "yellow"),
    ("circle", "blue"),
    ("square", "red"),
    ("triangle", "green"),
    ("cross", "blue"),
]
"""Five for training, three for validation, as its sample data has them."""


def write_sample(root: Path) -> list[dict[str, Any]]:
    """`train.json`, `val.json` and eight pictures of 224 x 224 under `root`; what is said of the five for training."""
    (root / "images").mkdir(parents=True)
    said = []
    for i, (shape, colour) in enumerate(SHOWN):
        draw(shape, COLOURS[colour], 224, (50, 50, 170, 170)).save(root / "images" / f"{i}.jpg")
        said.append(
            {
                "image_path": f"images/{i}.jpg",
                "text": f"a {colour} {shape} on white",
                "question": "what shape is this?" if i % 2 else "which colour is it?",
                "answer": shape if i % 2 else colour,
                "caption": f"there is a {colour} {shape} in the middle",
            }
        )
    (root / "train.json").write_text(json.dumps(said[:5]))
    (root / "val.json").write_text(json.dumps(said[5:]))
    return said[:5]


def draw(shape: str, colour: tuple[int, ...], side: int, box: tuple[int, int, int, int]) -> Image.Image:
    """A shape in a box of a square picture, on light grey."""
    picture = Image.new("RGB", (side, side), (240, 240, 240))
    pen, (left, top, right, bottom) = ImageDraw.Draw(picture), box
    across, down = (left + right) // 2, (top + bottom) // 2
    wide = (right - left) // 8
    if shape == "circle":
        pen.ellipse(box, fill=colour)
    elif shape == "square":
        pen.rectangle(box, fill=colour)
    elif shape == "triangle":
        pen.polygon([(across, top), (right, bottom), (left, bottom)], fill=colour)
    else:
        pen.rectangle((across - wide, top, across + wide, bottom), fill=colour)
        pen.rectangle((left, down - wide, right, down + wide), fill=colour)
    return picture
