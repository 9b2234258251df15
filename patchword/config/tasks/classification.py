"""Classification: a picture, a text, or both in, one of some classes out."""

from __future__ import annotations

from collections.abc import Mapping

from patchword.config.fields import Fields
from patchword.config.tasks.choosing import ChoosingTaskConfig


class ClassificationTaskConfig(ChoosingTaskConfig, kind="classification"):
    """A picture, a text, or both in, one of some classes out."""

    caption: str | None = None
    """The tower that reads the text beside the picture (column `caption`); null: none does."""

    @property
    def reads(self) -> Mapping[str, str]:
        """The caption, where a tower reads it."""
        return {} if self.caption is None else {self.caption: "caption"}

    @property
    def fields(self) -> Fields:
        """A class, and what it is told from."""
        texts = ("label",) if self.caption is None else ("caption", "label")
        return Fields(texts, image=self.image is not None)
