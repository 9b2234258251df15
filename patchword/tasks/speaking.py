"""Tasks whose model says a text of what it sees and reads: what they know of the data, and how it is asked to speak."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Self, cast

import torch
from torch import Tensor, nn

from patchword.config import ModelConfig, RunConfig, SayingTaskConfig, TextTowerConfig, UserError
from patchword.config.speaking import said_tower
from patchword.data.base import Record, Source
from patchword.data.batch import Batch
from patchword.models.decoding import Vocabulary
from patchword.models.generate import generate
from patchword.models.model import Model
from patchword.tasks.asked import Asked
from patchword.tasks.base import Prediction, Query, Task
from patchword.tasks.shown import Shown
from patchword.tasks.tokenizers import Tokenizers


class SpeakingTask(Task):
    """Knows the tokenizers, and lets a model say a text.

    A subclass says what is asked about a record.
    """

    def __init__(self, config: SayingTaskConfig, run: RunConfig, tokenizers: Tokenizers) -> None:
        self.config, self.run, self.tokenizers = config, run, tokenizers
        self.text = said_tower(run.model, config.head)
        self.tokenizer = tokenizers[self.text]
        self.vocabulary = Vocabulary(self.tokenizer.bos_id, self.tokenizer.eos_id, self.tokenizer.pad_id)
        self.shown = Shown(config.image, config.reads, tokenizers, config.blank)

    @classmethod
    @abstractmethod
    def asked(cls, config: SayingTaskConfig, record: Record) -> Sequence[Asked]:
        """What a model is asked about a record, and what people say."""

    # -------------------------------------------------------------- what it knows of the data

    @classmethod
    def prepare(cls, run: RunConfig, source: Source) -> Self:
        """With tokenizers trained on what is read and said in the training split."""
        config = cast(SayingTaskConfig, run.task)
        split, said = source.splits["train"], said_tower(run.model, config.head)

        def texts(tower: str) -> Iterator[str]:
            for index in range(len(split)):
                for asked in cls.asked(config, split.record(index)):
                    yield from asked.answers if tower == said else (asked.reads[tower],)

        return cls(config, run, Tokenizers.train(run, [*config.reads, said], texts))

    @classmethod
    def load(cls, run: RunConfig, folder: Path) -> Self:
        """With the tokenizers in `folder`."""
        config = cast(SayingTaskConfig, run.task)
        towers = [*config.reads, said_tower(run.model, config.head)]
        return cls(config, run, Tokenizers.load(run, towers, folder))

    def save(self, folder: Path) -> None:
        """Write the tokenizers."""
        self.tokenizers.save(folder)

    def model_config(self) -> ModelConfig:
        """The run's model with the sizes of the vocabularies filled in.

        Raises:
            UserError: a vocabulary has no room for its tokenizer's entries.
        """
        return self.tokenizers.model_config()

    @property
    def max_tokens(self) -> int:
        """Most tokens of a text, `<bos>` and `<eos>` included: what the text tower can place, and one to predict."""
        return cast(TextTowerConfig, self.run.model.towers[self.text]).max_len + 1

    def said_ids(self, text: str) -> list[int]:
        """Token ids of what is said, `<bos>` and `<eos>` included, cut to what the model can place."""
        return self.tokenizers.ids(self.text, text, extra=1)

    # -------------------------------------------------------------- prediction

    def predict(self, model: nn.Module, queries: Sequence[Query], device: str) -> list[Prediction]:
        """What is said to each query. Its text is what is read; where nothing is, what is said begins with it."""
        if not queries:
            return []
        pictures, reads = self.shown.of_queries(queries)
        prompts = [None if self.shown.reads else query.text for query in queries]
        said: dict[int, tuple[str, float]] = {}
        for prompt in dict.fromkeys(prompts):
            rows = [row for row, own in enumerate(prompts) if own == prompt]
            seen = [pictures[row] for row in rows] if pictures else []
            texts = self.say(cast(Model, model), seen, [reads[row] for row in rows], device, prompt)
            said |= dict(zip(rows, texts, strict=True))
        return [Prediction(query.id, said[row][0], score=said[row][1]) for row, query in enumerate(queries)]

    def say(
        self,
        model: Model,
        pictures: Sequence[Tensor],
        reads: Sequence[Mapping[str, list[int]]],
        device: str,
        prompt: str | None = None,
    ) -> list[tuple[str, float]]:
        """A text of each sample that begins with `prompt`, and its log-probability in nats.

        Args:
            model: in eval mode.
            pictures: uint8 [3, h, w] each; none where the task sees none.
            reads: what each sample's reading towers get.
            device: where the model is.
            prompt: how every text begins; None: freely.

        Raises:
            UserError: the prompt holds words that the vocabulary lacks, or is too long.
        """
        if not reads:
            return []
        lacking = [word for word in (prompt or "").split() if self.tokenizer.unk_id in self.tokenizer.encode(word)]
        if lacking:
            raise UserError(f"the text to begin with holds what the model has no word for: {', '.join(lacking)}")
        batch = Batch(self.shown.inputs(pictures, reads), {}, ()).to(device)
        start = self.tokenizer.encode(prompt or "")[:-1]
        prompts = torch.tensor(start, device=device).expand(len(reads), -1)
        # the whole text has to find a place in the model
        most = max(1, min(self.config.decode.max_len, self.max_tokens - len(start)))
        decode = self.config.decode.replace(max_len=most)
        out = generate(model, batch.inputs, decode, self.vocabulary, self.config.head, prompts)
        texts = [self.tokenizer.decode([*start, *ids]) for ids in out.ids]
        return list(zip(texts, out.log_probs, strict=True))
