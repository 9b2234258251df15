"""A data set of eight small pictures, settings of a toy model that learns it, and what a command did."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

TOY = [
    "model.image.dim=32",
    "model.image.depth=1",
    "model.image.stem=[8]",
    "model.text.dim=32",
    "model.trunk.dim=32",
    "model.trunk.depth=1",
    "model.image.image_size=[32,32]",
    "data.image.height=32",
    "data.image.width=32",
    "data.batch.size=4",
    "data.splits.val=0.25",
    "train.steps=4",
    "train.log_every=2",
    "train.schedule.warmup=1",
    "train.threads=1",
]


def toy(*words: str) -> list[str]:
    """The toy's settings with some replaced: the command line takes each key once."""
    settings = {w.partition("=")[0]: w for w in [*TOY, *words]}
    return list(settings.values())


class Called(NamedTuple):
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output as the one JSON object that it must be."""
        return json.loads(self.out)


def photos(folder: Path, count: int = 8) -> Path:
    """A folder of random JPEGs and a table that describes them."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(1)
    with (folder / "captions.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["image", "caption"])
        for i in range(count):
            pixels = random.integers(0, 256, (20, 24, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{i}.jpg")
            table.writerow([f"{i}.jpg", f"a {['red', 'blue'][i % 2]} dog number {i}"])
    return folder
