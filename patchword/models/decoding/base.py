"""One decoding under way, and what a search does with it. B samples, V vocabulary."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from patchword.config import DecodeConfig
from patchword.models.model import Model


class Vocabulary(NamedTuple):
    """The special ids that decoding must know; None: the vocabulary has none such."""

    bos_id: int | None
    eos_id: int | None
    pad_id: int | None
    unk_id: int | None = None
    """Never said where it is given here."""

    @property
    def end(self) -> int:
        """The id that ends a text; -1, which no token has, where none does."""
        return -1 if self.eos_id is None else self.eos_id

    def banned(self) -> list[int]:
        """Ids that are never said."""
        return [i for i in (self.pad_id, self.bos_id, self.unk_id) if i is not None]


class Searched(NamedTuple):
    """What a search found."""

    ids: Tensor
    """int [B, n], n at most `max_len`; of each row, what comes after `<eos>` was not said."""
    log_probs: Tensor
    """[B], in nats."""


class Decoding:
    """One decoding under way: scores for the next token, with what may not be said taken out."""

    def __init__(
        self,
        model: Model,
        inputs: Mapping[str, Any],
        config: DecodeConfig,
        vocabulary: Vocabulary,
        head: str,
        prompt: Tensor,
    ) -> None:
        self.model, self.head, self.vocabulary = model, head, vocabulary
        self.max_len, self.penalty = config.max_len, config.repetition_penalty
        self.state = model.begin(inputs, prompt.shape[1] + config.max_len - 1, head=head, rows=len(prompt))
        self.prompt, self.batch, self.device = prompt, len(prompt), prompt.device
        self.banned = torch.tensor(vocabulary.banned(), dtype=torch.long, device=prompt.device)
        self.said: Tensor | None = None  # bool [rows, V], only kept where saying again is penalised

    def first(self) -> Tensor:
        """Scores after the prompt; [B, V]."""
        scores = self._allowed(self.model.step(self.prompt, self.state, self.head))
        if self.penalty != 1.0:
            self.said = torch.zeros_like(scores, dtype=torch.bool)
        return scores

    def next(self, ids: Tensor) -> Tensor:
        """Scores after one more token in each row; ids [rows] -> [rows, V]."""
        if self.said is not None:
            self.said.scatter_(1, ids[:, None], True)
        return self._allowed(self.model.step(ids[:, None], self.state, self.head))

    def select(self, rows: Tensor) -> None:
        """Go on with these rows only; int [new rows]."""
        self.state.select(rows)
        if self.said is not None:
            self.said = self.said.index_select(0, rows)

    def _allowed(self, scores: Tensor) -> Tensor:
        scores = scores.float()
        if self.said is not None:
            scores = torch.where(
                self.said, torch.where(scores > 0, scores / self.penalty, scores * self.penalty), scores
            )
        return scores.index_fill_(1, self.banned, float("-inf"))


class Search(ABC):
    """How the next tokens are chosen."""

    @abstractmethod
    def search(self, decoding: Decoding) -> Searched:
        """Run a decoding to its end."""
