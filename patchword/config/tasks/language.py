"""Language modelling: running text, each next token out."""

from __future__ import annotations

from collections.abc import Iterator

from patchword.config.data import DataConfig
from patchword.config.decoding import DecodeConfig, SampleDecodeConfig
from patchword.config.errors import Problem
from patchword.config.fields import Fields
from patchword.config.fusion import under
from patchword.config.model import ModelConfig
from patchword.config.numbers import Count, Dropout, Positive
from patchword.config.speaking import speaking_problems
from patchword.config.tasks.base import TaskConfig


class LanguageTaskConfig(TaskConfig, kind="language"):
    """Running text in windows as long as the text tower can read; what comes next is said at every token."""

    needs_special_tokens = False

    head: str = "text"
    """The head that says what comes next."""
    label_smoothing: Dropout = 0.0
    """Share of the target spread over all tokens (Szegedy et al. 2016)."""
    loss_chunk: Positive = 1024
    """Tokens whose scores over the vocabulary exist at one time in the loss."""
    decode: DecodeConfig = SampleDecodeConfig()
    """How texts are continued."""
    continuations: Count = 4
    """Beginnings from the split that an evaluation also continues, to be read in its report."""

    @property
    def fields(self) -> Fields:
        """Running text."""
        return Fields(("text",), image=False)

    def misfits(self, model: ModelConfig, data: DataConfig) -> Iterator[Problem]:
        """A model that cannot say one word after another."""
        yield from under("model", speaking_problems(model, self.head))
