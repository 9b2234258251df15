"""Visual question answering: a picture and a question in, an answer out: one of those of training, or words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from patchword.config.data import DataConfig
from patchword.config.errors import Problem
from patchword.config.fields import Fields
from patchword.config.model import ModelConfig
from patchword.config.numbers import Positive
from patchword.config.tasks.base import TaskConfig
from patchword.config.tasks.chat import ChatConfig
from patchword.config.tasks.choosing import ChoosingTaskConfig
from patchword.config.tasks.saying import SayingTaskConfig


class QuestionTaskConfig(TaskConfig):
    """A question about a picture is read; what is common to choosing an answer and to saying one."""

    image: str | None = "image"
    """The tower that sees the picture; null: none does."""
    question: str = "question"
    """The tower that reads the question."""
    ask: str | None = None
    """What is asked about every picture ("Which digit is this?"), for data with labels; null: the column `question`."""
    answer: str = "{}"
    """How an answer is put: {} stands for what the data says ("The digit is {}")."""

    @property
    def reads(self) -> Mapping[str, str]:
        """The question."""
        return {self.question: "question"}

    @property
    def fields(self) -> Fields:
        """Questions and their answers, or labels that answer one question."""
        seen = self.image is not None
        if self.ask is not None:
            return Fields(("label",), image=seen)
        return Fields(("question", "answer"), ("question_type",), image=seen)

    def misfits(self, model: ModelConfig, data: DataConfig) -> Iterator[Problem]:
        """Also a way to put answers that has no place for them, or several."""
        yield from super().misfits(model, data)
        if self.answer.count("{}") != 1:
            yield Problem("task.answer", f"should have one {{}}, where the answer stands, got {self.answer!r}")


class VQATaskConfig(QuestionTaskConfig, ChoosingTaskConfig, kind="vqa"):
    """A picture and a question in, one of the answers of training out (Antol et al. 2015)."""

    num_answers: Positive | None = None
    """Most answers that the model can choose from, the most frequent of training; null: all."""

    def misfits(self, model: ModelConfig, data: DataConfig) -> Iterator[Problem]:
        """Also a single answer."""
        yield from super().misfits(model, data)
        if self.num_answers == 1:
            yield Problem("task.num_answers", "1 leaves nothing to choose from")


class GenerativeVQATaskConfig(QuestionTaskConfig, SayingTaskConfig, kind="generative_vqa"):
    """A picture and a question in, an answer in words out, one after another."""

    chat: ChatConfig | None = None
    """How a question is written as a turn of a chat; null: as it is."""

    def misfits(self, model: ModelConfig, data: DataConfig) -> Iterator[Problem]:
        """Also turns whose marks are no tokens."""
        yield from super().misfits(model, data)
        if self.chat is not None:
            yield from self.chat.misfits(data)
