"""Translation: a text in, a text of another language out; with a picture where the model has a tower that sees it."""

from __future__ import annotations

from collections.abc import Mapping

from patchword.config.fields import Fields
from patchword.config.tasks.saying import SayingTaskConfig


class TranslationTaskConfig(SayingTaskConfig, kind="translation"):
    """A text in, a text of another language out."""

    source: str = "source"
    """The tower that reads the text to translate."""

    @property
    def reads(self) -> Mapping[str, str]:
        """The text to translate."""
        return {self.source: "source"}

    @property
    def fields(self) -> Fields:
        """Pairs of texts, and pictures where a tower sees them."""
        return Fields(("source", "target"), image=self.image is not None)
