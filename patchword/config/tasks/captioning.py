"""Captioning: a picture in, a sentence out."""

from __future__ import annotations

from patchword.config.fields import Fields
from patchword.config.tasks.saying import SayingTaskConfig


class CaptioningTaskConfig(SayingTaskConfig, kind="captioning"):
    """A picture in, a sentence out."""

    image: str = "image"
    """The tower that sees the picture."""

    @property
    def fields(self) -> Fields:
        """A picture and its captions."""
        return Fields(("caption",))
