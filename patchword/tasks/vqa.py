"""Visual question answering: a picture and a question in, one of the answers of training out, or an answer in words."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import groupby
from typing import cast

import numpy as np
from torch import nn

from patchword.config import (
    ChoosingTaskConfig,
    GenerativeVQATaskConfig,
    QuestionTaskConfig,
    SayingTaskConfig,
    UserError,
    VQATaskConfig,
    implements,
)
from patchword.data.base import Record, Source
from patchword.tasks.asked import Asked
from patchword.tasks.base import Prediction, Query
from patchword.tasks.chat import chat_text
from patchword.tasks.choosing import ChoosingTask
from patchword.tasks.metrics import normal_answer, vqa_accuracy
from patchword.tasks.saying import SayingTask

_OPEN = {"what", "which", "how"}
_PLAIN = "who whose whom where when why is are was were does do did has have can could will would"
_OPENINGS = {*_OPEN, *_PLAIN.split(" ")}


@implements(VQATaskConfig)
class VQATask(ChoosingTask):
    """Learns to choose an answer to a question about a picture; knows the answers of the training data."""

    @classmethod
    def asked(cls, config: ChoosingTaskConfig, record: Record) -> list[Asked]:
        """Each question about a picture, with what people answer."""
        return questions(cast(VQATaskConfig, config), record)

    @classmethod
    def most_labels(cls, config: ChoosingTaskConfig) -> int | None:
        """As many answers as the settings allow."""
        return cast(VQATaskConfig, config).num_answers

    def judge(self, scores: np.ndarray, labels: np.ndarray, predictions: Sequence[Prediction]) -> dict[str, float]:
        """VQA accuracy, where questions have several answers."""
        del scores, labels
        return agreement(predictions)


@implements(GenerativeVQATaskConfig)
class GenerativeVQATask(SayingTask):
    """Learns to answer a question about a picture in words."""

    @classmethod
    def asked(cls, config: SayingTaskConfig, record: Record) -> list[Asked]:
        """Each question about a picture, with what people answer; as the turns of a chat, where it is one."""
        own = cast(GenerativeVQATaskConfig, config)
        every = questions(own, record)
        if own.chat is None:
            return every
        turns = [(asked.reads[own.question], asked.answers[0]) for asked in every]
        texts = [
            chat_text(own.chat, question, turns[max(0, n - own.chat.turns) : n])
            for n, (question, _) in enumerate(turns)
        ]
        return [asked._replace(reads={own.question: text}) for asked, text in zip(every, texts, strict=True)]

    def predict(self, model: nn.Module, queries: Sequence[Query], device: str) -> list[Prediction]:
        """What is said to each query: a question, or a chat so far that begins with the user's mark."""
        chat = cast(GenerativeVQATaskConfig, self.config).chat
        if chat is not None:
            queries = [q if q.text is None else q._replace(text=chat_text(chat, q.text)) for q in queries]
        return super().predict(model, queries, device)

    def marked(self, prediction: Prediction, source: Source, split: str, index: int) -> Prediction:
        """Whether it is what most people answer; and its group."""
        counts = Counter(map(normal_answer, prediction.references))
        correct = normal_answer(prediction.text) == counts.most_common(1)[0][0]
        group = prediction.group or source.group(split, index)
        return prediction._replace(correct=correct, group=group)

    def judge(self, predictions: Sequence[Prediction]) -> dict[str, float]:
        """Accuracy, in all and by kind of question; VQA accuracy, where questions have several answers."""
        right: dict[str, list[bool]] = defaultdict(list)
        for prediction in predictions:
            right["accuracy"].append(bool(prediction.correct))
            if prediction.group is not None:
                right[f"accuracy_{prediction.group}"].append(bool(prediction.correct))
        return {name: sum(marks) / len(marks) for name, marks in sorted(right.items())} | agreement(predictions)


def questions(config: QuestionTaskConfig, record: Record) -> list[Asked]:
    """What is asked about a record.

    Answers to one question are in a row: neighbours with the same question are one question that several people
    answered.

    Raises:
        UserError: every picture is asked the same, and this one has several labels.
    """
    tower = config.question
    if config.ask is not None:
        labels = record.texts["label"]
        if len(labels) != 1:
            raise UserError(f"{record.id} has {len(labels)} labels ({', '.join(labels)}): one answers task.ask")
        return [Asked({tower: config.ask}, (_put(config.answer, labels[0]),))]
    asked, answers = record.texts["question"], record.texts["answer"]
    kinds = record.texts.get("question_type") or [""] * len(asked)
    found = []
    for (question, kind), rows in groupby(zip(asked, answers, kinds, strict=True), key=lambda row: (row[0], row[2])):
        said = tuple(_put(config.answer, answer) for _, answer, _ in rows)
        found.append(Asked({tower: question}, said, _name(kind) or kind_of(question)))
    return found


def kind_of(question: str) -> str:
    """What kind of question it is, by how it begins: `what_color` (what is asked of much), `is`, `other`."""
    words = _name(question).split("_")
    if words[0] not in _OPENINGS:
        return "other"
    return "_".join(words[: 2 if words[0] in _OPEN else 1])


def agreement(predictions: Sequence[Prediction]) -> dict[str, float]:
    """VQA accuracy, where any question has several answers."""
    if all(len(prediction.references) == 1 for prediction in predictions):
        return {}
    said, answers = [p.text for p in predictions], [p.references for p in predictions]
    return {"vqa_accuracy": vqa_accuracy(said, answers)}


def _put(template: str, answer: str) -> str:
    return template.replace("{}", answer)


def _name(text: str) -> str:
    """As part of a metric's name."""
    return re.sub(r"\W+", "_", text.lower()).strip("_")
