"""What every task's settings have: what it reads, and what of a run it cannot work with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar

from patchword.config.core import Config
from patchword.config.data import DataConfig
from patchword.config.errors import Problem, unknown
from patchword.config.fields import Fields
from patchword.config.model import ModelConfig
from patchword.config.towers import ImageTowerConfig


class TaskConfig(Config, family="task"):
    """What is learnt from what."""

    needs_special_tokens: ClassVar[bool] = True
    """Whether texts are padded, begun and ended by tokens of their own."""

    @property
    def fields(self) -> Fields:
        """What it reads of a record."""
        raise NotImplementedError

    @property
    def runs_again(self) -> bool:
        """Whether its loss runs parts of the model again in the backward pass, which compiled blocks cannot."""
        return False

    def misfits(self, model: ModelConfig, data: DataConfig) -> Iterator[Problem]:
        """What of a run's model and data cannot do this task; paths are those of the run."""
        yield from ()


def wrong_part(path: str, what: str, name: str, parts: Mapping[str, Config], wanted: type[Config]) -> Iterator[Problem]:
    """A name that should be that of a part of some class, and is not."""
    if not isinstance(parts.get(name), wanted):
        yield Problem(path, unknown(what, name, [n for n, part in parts.items() if isinstance(part, wanted)]))


def image_problems(name: str | None, model: ModelConfig, data: DataConfig) -> Iterator[Problem]:
    """A tower `task.image` that sees no pictures, or not those of the data; None: none is needed."""
    if name is not None:
        yield from wrong_part("task.image", "image tower", name, model.towers, ImageTowerConfig)
        yield from patch_problems(name, model, data)


def patch_problems(name: str, model: ModelConfig, data: DataConfig) -> Iterator[Problem]:
    """Pictures that are not a whole number of the patches of image tower `name`."""
    tower, image = model.towers.get(name), data.image
    if not isinstance(tower, ImageTowerConfig):
        return
    # with fit, every side of every picture is a number of multiples
    sides = ("multiple", "multiple") if image.resize == "fit" else ("height", "width")
    for side, patch in dict.fromkeys(zip(sides, tower.patch_size, strict=True)):
        pixels = getattr(image, side)
        if pixels % patch:
            yield Problem(
                f"data.image.{side}",
                f"{pixels} is not a whole number of patches of {patch} pixels (model.towers.{name}.patch_size)",
            )
