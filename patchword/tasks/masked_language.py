"""Masked language modelling: hidden tokens are predicted from both sides; pretraining for text towers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Self, TypeVar, cast

import torch
from torch import Tensor, nn

from patchword.config import (
    LanguageHeadConfig,
    MaskedLanguageTaskConfig,
    ModelConfig,
    RunConfig,
    TextTowerConfig,
    UserError,
    implements,
)
from patchword.data.base import Source, Split
from patchword.data.batch import Batch
from patchword.data.text import Tokenizer
from patchword.models.model import Model
from patchword.sequence import TextInput
from patchword.tasks.base import Evaluation, LossOutput, Prediction, Query, Task
from patchword.tasks.gathered import of_all_ranks, own_share
from patchword.tasks.losses import said_loss
from patchword.tasks.masked_texts import SPECIALS, Example, MaskedTexts
from patchword.tasks.metrics import perplexity
from patchword.tasks.pictures import FirstRecords
from patchword.tasks.tokenizers import Tokenizers

T = TypeVar("T")

GAP = "___"
"""What stands for a hidden word in a text that a model is asked about."""
_EVAL_ROWS = 100  # texts


@implements(MaskedLanguageTaskConfig)
class MaskedLanguageTask(Task):
    """Learns which word is hidden; knows the tokenizer."""

    def __init__(self, config: MaskedLanguageTaskConfig, run: RunConfig, tokenizers: Tokenizers) -> None:
        self.config, self.run, self.tokenizers = config, run, tokenizers
        self.text = _text(run)
        self.tokenizer: Tokenizer = tokenizers[self.text]

    @classmethod
    def prepare(cls, run: RunConfig, source: Source) -> Self:
        """With a tokenizer trained on the texts of the training split."""
        config, split = cast(MaskedLanguageTaskConfig, run.task), source.splits["train"]

        def texts(_: str) -> Iterator[str]:
            return (text for i in range(len(split)) for text in split.record(i).texts[config.field])

        return cls(config, run, Tokenizers.train(run, [_text(run)], texts))

    @classmethod
    def load(cls, run: RunConfig, folder: Path) -> Self:
        """With the tokenizer in `folder`."""
        return cls(cast(MaskedLanguageTaskConfig, run.task), run, Tokenizers.load(run, [_text(run)], folder))

    def save(self, folder: Path) -> None:
        """Write the tokenizer."""
        self.tokenizers.save(folder)

    def model_config(self) -> ModelConfig:
        """The run's model with the size of the vocabulary filled in."""
        return self.tokenizers.model_config()

    def pieces(self, text: str) -> Iterator[list[int]]:
        """Token ids of a text, in pieces that the tower can place, `<bos>` and `<eos>` around each; nothing of a text
        without a token that could be hidden."""
        room = cast(TextTowerConfig, self.run.model.towers[self.text]).max_len - 2
        for piece in _in_batches(self.tokenizer.encode_stream(text), max(room, 1)):
            if any(token >= SPECIALS for token in piece):
                yield [self.tokenizer.bos_id, *piece, self.tokenizer.eos_id]

    # -------------------------------------------------------------- learning

    def examples(self, split: Split, train: bool) -> MaskedTexts:
        """The texts of a split with hidden tokens."""
        return MaskedTexts(split, self, train)

    def loss(self, model: nn.Module, batch: Batch) -> LossOutput:
        """Cross-entropy of the chosen tokens, summed."""
        chosen = batch.targets["chosen"]
        tokens = self._tokens(model, batch)[chosen]
        return LossOutput(_summed(self.config, model, tokens, batch.targets["true"][chosen]), chosen.sum())

    def _tokens(self, model: nn.Module, batch: Batch) -> Tensor:
        return model(batch.inputs, heads=()).towers[self.text].x

    @classmethod
    def full_batch(cls, run: RunConfig, size: int) -> Batch:
        """`size` texts as long as can be."""
        length = cast(TextTowerConfig, run.model.towers[_text(run)]).max_len
        ids, most = torch.zeros(size, length, dtype=torch.long), _most(run)
        chosen = torch.zeros(size, length, dtype=torch.bool)
        chosen[:, :most] = True
        inputs = {_text(run): TextInput(ids, torch.ones(size, length, dtype=torch.bool))}
        return Batch(inputs, {"true": ids.clone(), "chosen": chosen}, ())

    @classmethod
    def rehearse(cls, run: RunConfig, model: nn.Module, batch: Batch) -> Tensor:
        """As `loss`."""
        most = _most(run)
        tokens = model(batch.inputs, heads=()).towers[_text(run)].x[:, :most].flatten(0, 1)
        target = batch.targets["true"][:, :most].flatten()
        return _summed(cast(MaskedLanguageTaskConfig, run.task), model, tokens, target) / len(target)

    @classmethod
    def rehearse_generation(cls, run: RunConfig, model: nn.Module, batch: Batch) -> object:
        """Nothing is generated."""
        del run, model, batch
        raise UserError("masked_language says nothing token by token: size it in training or inference")

    # -------------------------------------------------------------- evaluation and prediction

    @torch.inference_mode()
    def evaluate(self, model: nn.Module, source: Source, split: str, limit: int | None, device: str) -> Evaluation:
        """Of one mask of each text, always the same: `loss` and `masked_accuracy`. Of each token hidden alone:
        `pseudo_perplexity` (Salazar et al. 2020), exact, at the cost of a forward pass a token."""
        examples = self.examples(FirstRecords(source.splits[split], limit), train=False)
        total, right, count = 0.0, 0, 0
        share = own_share(len(examples))
        for rows in _in_batches(share, _EVAL_ROWS):
            batch = examples.collate([examples[0, i] for i in rows]).to(device)
            loss, items, hits = self._judged(model, batch)
            total, count, right = total + loss, count + items, right + hits
        alone = (one for i in share for one in self._each_alone(examples.pieces[i]))
        sums, tokens = 0.0, 0
        for rows in _in_batches(alone, _EVAL_ROWS):
            loss, items, _ = self._judged(model, examples.collate(rows).to(device))
            sums, tokens = sums + loss, tokens + items
        found = of_all_ranks([(total, count, right, sums, tokens)])
        total, count, right, sums, tokens = map(sum, zip(*found, strict=True))
        metrics = {"loss": total / max(count, 1), "masked_accuracy": right / max(count, 1)}
        metrics["pseudo_perplexity"] = perplexity(sums, tokens)
        return Evaluation(metrics, len(examples), [])

    def _judged(self, model: nn.Module, batch: Batch) -> tuple[float, int, int]:
        """Summed loss of the chosen tokens, their number, and how many the likeliest token is."""
        chosen = batch.targets["chosen"]
        tokens, true = self._tokens(model, batch)[chosen], batch.targets["true"][chosen]
        loss = _summed(self.config, model, tokens, true)
        return float(loss), len(true), int((self._said(model, tokens) == true).sum())

    def _each_alone(self, piece: list[int]) -> Iterator[Example]:
        for place, token in enumerate(piece):
            if token >= SPECIALS:
                shown = [*piece[:place], self.tokenizer.unk_id, *piece[place + 1 :]]
                yield Example("", shown, piece, [place])

    def _said(self, model: nn.Module, tokens: Tensor) -> Tensor:
        """The likeliest text token at each of tokens [n, D]."""
        head = cast(Model, model).heads[self.config.head]
        scores = head.proj(head.given(tokens))  # pyright: ignore[reportCallIssue, reportOptionalMemberAccess]
        return scores[:, SPECIALS : len(self.tokenizer)].argmax(-1) + SPECIALS

    @torch.inference_mode()
    def predict(self, model: nn.Module, queries: Sequence[Query], device: str) -> list[Prediction]:
        """Each text with its gaps filled: each `___` is one hidden token, all are filled at once.

        Raises:
            UserError: a picture, no text, no gap, or a text longer than the model can place.
        """
        found = []
        for query in queries:
            if query.picture is not None:
                raise UserError("this model sees no pictures: leave them out (--image)")
            if GAP not in (query.text or ""):
                raise UserError(f"say a text with a gap: --text 'a red {GAP}'")
            ids = [self.tokenizer.bos_id]
            for number, part in enumerate((query.text or "").split(GAP)):
                ids += [self.tokenizer.unk_id] * bool(number) + self.tokenizer.encode_stream(part.strip())
            ids.append(self.tokenizer.eos_id)
            most = cast(TextTowerConfig, self.run.model.towers[self.text]).max_len
            if len(ids) > most:
                raise UserError(f"the text has {len(ids)} tokens, the model has places for {most}")
            gaps = [place for place, token in enumerate(ids) if token == self.tokenizer.unk_id]
            batch = Batch({self.text: TextInput(torch.tensor([ids]))}, {}, ()).to(device)
            said = self._said(model, self._tokens(model, batch)[0, gaps]).tolist()
            for place, token in zip(gaps, said, strict=True):
                ids[place] = token
            found.append(Prediction(query.id, self.tokenizer.decode(ids[1:])))
        return found


def _in_batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """So many at a time."""
    every = iter(items)
    while batch := list(islice(every, size)):
        yield batch


def _text(run: RunConfig) -> str:
    """The text tower that is learnt."""
    head = run.model.heads[cast(MaskedLanguageTaskConfig, run.task).head]
    return cast(LanguageHeadConfig, head).text


def _most(run: RunConfig) -> int:
    """Most tokens of a text that are chosen."""
    length = cast(TextTowerConfig, run.model.towers[_text(run)]).max_len
    return max(1, round(cast(MaskedLanguageTaskConfig, run.task).share * (length - 2)))


def _summed(config: MaskedLanguageTaskConfig, model: nn.Module, tokens: Tensor, true: Tensor) -> Tensor:
    return said_loss(cast(Model, model).heads[config.head], tokens, true, 0.0, config.loss_chunk)
