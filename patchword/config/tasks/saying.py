"""Tasks that read something and say a text, one word after another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from patchword.config.data import DataConfig
from patchword.config.decoding import DecodeConfig, GreedyDecodeConfig
from patchword.config.errors import Problem
from patchword.config.fusion import under
from patchword.config.heads import LanguageHeadConfig
from patchword.config.model import ModelConfig
from patchword.config.numbers import Dropout, Positive
from patchword.config.speaking import speaking_problems
from patchword.config.tasks.base import TaskConfig, image_problems, wrong_part
from patchword.config.towers import TextTowerConfig


class SayingTaskConfig(TaskConfig):
    """Something is read, a text is said."""

    image: str | None = None
    """The tower that sees the picture; null: none does."""
    head: str = "text"
    """The head that says what comes next."""
    label_smoothing: Dropout = 0.0
    """Share of the target spread over all tokens (Szegedy et al. 2016)."""
    loss_chunk: Positive = 1024
    """Tokens whose scores over the vocabulary exist at one time in the loss."""
    blank: bool = False
    """Whether the picture is hidden: the baseline that shows what seeing is worth."""
    decode: DecodeConfig = GreedyDecodeConfig()
    """How texts are generated."""

    @property
    def reads(self) -> Mapping[str, str]:
        """The text towers that read something before anything is said, and the field of a record that each gets."""
        return {}

    def misfits(self, model: ModelConfig, data: DataConfig) -> Iterator[Problem]:
        """A model that cannot say one word after another, towers that it lacks, pictures of no whole patches."""
        yield from image_problems(self.image, model, data)
        for tower, field in self.reads.items():
            yield from wrong_part(f"task.{field}", "text tower", tower, model.towers, TextTowerConfig)
        yield from wrong_part("task.head", "language head", self.head, model.heads, LanguageHeadConfig)
        if self.blank and self.image is None:
            yield Problem("task.blank", "hides the picture, but this task sees none")
        head = model.heads.get(self.head)
        if isinstance(head, LanguageHeadConfig):
            yield from under("model", speaking_problems(model, self.head))
            if head.source != "trunk":
                what = f"{self.kind} says what it has seen or read: only a trunk knows of that, {head.source} does not"
                yield Problem(f"model.heads.{self.head}.source", what)
