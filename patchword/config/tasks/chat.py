"""How the turns of a chat are written as one text."""

from __future__ import annotations

from collections.abc import Iterator

from patchword.config.core import Config
from patchword.config.data import DataConfig
from patchword.config.errors import Problem
from patchword.config.numbers import Count


class ChatConfig(Config):
    """What is asked and answered as the turns of a chat, each after its mark (`data.tokenizer.marks`)."""

    user: str = "<user>"
    """Stands before what the user says."""
    assistant: str = "<assistant>"
    """Stands before what the model says."""
    system: str | None = None
    """What stands before the first turn; null: nothing."""
    turns: Count = 0
    """Earlier questions about the same picture, with their answers, that stand before a question."""

    def misfits(self, data: DataConfig) -> Iterator[Problem]:
        """Marks that the tokenizer would take apart."""
        for name in ("user", "assistant"):
            mark = getattr(self, name)
            if mark not in data.tokenizer.marks:
                yield Problem(f"task.chat.{name}", f"{mark!r} is none of data.tokenizer.marks {data.tokenizer.marks}")
        if self.user == self.assistant:
            yield Problem("task.chat.assistant", f"both sides speak after {self.user!r}")
