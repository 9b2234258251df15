"""Retrieval: pictures and texts in one space, each found by the other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import field

from patchword.config.contrast import ContrastConfig, InfoNCEContrastConfig, TripletContrastConfig
from patchword.config.core import Config
from patchword.config.data import DataConfig
from patchword.config.errors import Problem
from patchword.config.fields import Fields
from patchword.config.heads import SimilarityHeadConfig, TokenHeadConfig
from patchword.config.model import ModelConfig
from patchword.config.numbers import Positive
from patchword.config.tasks.base import TaskConfig, patch_problems, wrong_part
from patchword.config.towers import ImageTowerConfig, TextTowerConfig, TowerConfig


class ZeroShotConfig(Config):
    """Classes as texts, so that pictures are told apart that training had no classes of (Radford et al. 2021)."""

    templates: tuple[str, ...] = ("a photo of a {}.",)
    """Texts with {} for a class's name; the mean of their vectors stands for it."""
    names: dict[str, str] = field(default_factory=dict)
    """What to say for a class of the data: {cat: tabby cat}; classes that are not named are said as they are called."""

    def problems(self) -> Iterator[Problem]:
        """No template, and templates without a place for the name."""
        if not self.templates:
            yield Problem("templates", "is empty: give at least one, such as 'a photo of a {}.'")
        for template in self.templates:
            if template.count("{}") != 1:
                yield Problem("templates", f"{template!r} should have one {{}} for the class's name")


class RetrievalTaskConfig(TaskConfig, kind="retrieval"):
    """Pictures and texts in one space, each found by the other."""

    head: str = "similarity"
    """The head that compares a picture's vectors (its rows) with a text's (its columns)."""
    contrast: ContrastConfig = InfoNCEContrastConfig()
    """How scores of pairs become a loss."""
    chunk: Positive | None = None
    """Most pictures, and most texts, whose activations exist at one time (gradient caching, Gao et al. 2021): each
    such part is run again in the backward pass. Null: those of the whole batch."""
    zero_shot: ZeroShotConfig | None = None
    """For evaluation: the data has classes (column `label`), which texts stand for; null: it has captions."""

    @property
    def fields(self) -> Fields:
        """A picture with captions, or with a class."""
        return Fields(("caption",)) if self.zero_shot is None else Fields(("label",))

    @property
    def runs_again(self) -> bool:
        """In chunks."""
        return self.chunk is not None

    def misfits(self, model: ModelConfig, data: DataConfig) -> Iterator[Problem]:
        """A model that is no pair of towers, each read off into one space, or that the loss does not go with."""
        if model.fusion is not None:
            yield Problem("model.fusion", "retrieval compares towers that never meet: set it to null")
        yield from contrast_problems("task.head", self.head, self.contrast, model, data)


def contrast_problems(
    path: str, name: str, contrast: ContrastConfig, model: ModelConfig, data: DataConfig
) -> Iterator[Problem]:
    """What keeps a similarity head from comparing pictures with texts by such a loss."""
    head = model.heads.get(name)
    yield from wrong_part(path, "similarity head", name, model.heads, SimilarityHeadConfig)
    if not isinstance(head, SimilarityHeadConfig):
        return
    yield from _side_problems("rows", head.rows, "picture's", model, ImageTowerConfig)
    yield from _side_problems("columns", head.columns, "text's", model, TextTowerConfig)
    if isinstance(contrast, TripletContrastConfig) and (head.temperature is not None or head.bias is not None):
        yield Problem(
            f"model.heads.{name}.temperature",
            "the margin of triplets is one of cosines, which a learned scale would widen: set temperature and bias to "
            "null",
        )
    source = side_tower(model, head.rows)
    if source is not None:
        yield from patch_problems(source, model, data)


def _side_problems(side: str, name: str, what: str, model: ModelConfig, wanted: type[TowerConfig]) -> Iterator[Problem]:
    tower = side_tower(model, name)
    if tower is None or not isinstance(model.towers[tower], wanted):
        able = [n for n, t in model.towers.items() if isinstance(t, wanted)]
        yield Problem(
            f"model.heads.{name}.source",
            f"the {side} of the similarity head are to be of a {what} tower ({', '.join(able) or 'there is none'})",
        )


def side_tower(model: ModelConfig, head: str) -> str | None:
    """The tower that an embedding head reads; None: it reads the trunk."""
    own = model.heads[head]
    return own.source if isinstance(own, TokenHeadConfig) and own.source in model.towers else None
