"""Tasks whose answer is one of the classes of the training data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import field

from patchword.config.data import DataConfig
from patchword.config.errors import Problem
from patchword.config.heads import LabelHeadConfig
from patchword.config.model import ModelConfig
from patchword.config.numbers import Dropout, NonNegative, PositiveFloat
from patchword.config.tasks.base import TaskConfig, image_problems, wrong_part
from patchword.config.towers import TextTowerConfig


class ChoosingTaskConfig(TaskConfig):
    """Something is seen or read, one of some classes is said."""

    image: str | None = "image"
    """The tower that sees the picture; null: none does."""
    head: str = "label"
    """The head that scores classes."""
    label_smoothing: Dropout = 0.0
    """Share of the target spread over all classes (Szegedy et al. 2016)."""
    focal: NonNegative = 0.0
    """Power of a wrong answer's probability by which what is told well already counts less in training (Lin et al.
    2017); 0: cross-entropy."""
    class_weights: dict[str, PositiveFloat] = field(default_factory=dict)
    """How much a sample of a class counts in the training loss: {rare: 4.0}; 1 for those that are not named."""
    blank: bool = False
    """Whether the picture is hidden: the baseline that shows what seeing is worth."""

    @property
    def reads(self) -> Mapping[str, str]:
        """The text towers, and the field of a record that each reads."""
        return {}

    def misfits(self, model: ModelConfig, data: DataConfig) -> Iterator[Problem]:
        """A model without towers for what there is or a head that scores classes, pictures of no whole patches."""
        yield from image_problems(self.image, model, data)
        for tower, name in self.reads.items():
            yield from wrong_part(f"task.{name}", "text tower", tower, model.towers, TextTowerConfig)
        yield from wrong_part("task.head", "label head", self.head, model.heads, LabelHeadConfig)
        if self.image is None and not self.reads:
            yield Problem("task.image", f"{self.kind} needs something to look at or to read")
        if self.blank and self.image is None:
            yield Problem("task.blank", "hides the picture, but this task sees none")
