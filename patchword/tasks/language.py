"""Language modelling: running text, each next token out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Self, cast

import numpy as np
import torch
from torch import Tensor, nn

from patchword.config import (
    DecodeConfig,
    LanguageTaskConfig,
    ModelConfig,
    RunConfig,
    TextTowerConfig,
    TokenHeadConfig,
    UserError,
    implements,
)
from patchword.config.speaking import said_tower
from patchword.data.base import Source, Split
from patchword.data.batch import Batch
from patchword.data.text import Tokenizer
from patchword.data.token_bins import TokenSource
from patchword.models.decoding import Vocabulary
from patchword.models.generate import searched
from patchword.models.model import Model
from patchword.sequence import TextInput, Tokens
from patchword.tasks.base import Evaluation, LossOutput, Prediction, Query, Task
from patchword.tasks.continuing import continued
from patchword.tasks.gathered import of_all_ranks, own_share
from patchword.tasks.losses import said_loss
from patchword.tasks.metrics import perplexity
from patchword.tasks.streams import Stream, Windows, covering, documents, stream_of, windows_batch
from patchword.tasks.tokenizers import tokenizer_for

_EVAL_TOKENS = 8192  # scored together
_TOKENIZER = "tokenizer.json"


@implements(LanguageTaskConfig)
class LanguageTask(Task):
    """Learns to say what comes next in running text.

    Args:
        config: its settings.
        run: the whole run's.
        tokenizer: what token ids mean; None: token ids whose meaning nobody told.
    """

    def __init__(self, config: LanguageTaskConfig, run: RunConfig, tokenizer: Tokenizer | None) -> None:
        self.config, self.run, self.tokenizer = config, run, tokenizer
        self.text = said_tower(run.model, config.head)
        tower = cast(TextTowerConfig, run.model.towers[self.text])
        self.window = tower.max_len
        size = tokenizer.vocab_size if tokenizer is not None else 0
        if tower.vocab_size is None and tokenizer is None:
            raise UserError(
                f"nothing says what the token ids mean: set model.{self.text}.vocab_size, or put a tokenizer.json or "
                "a meta.json (nanoGPT's meta.pkl as JSON) beside them"
            )
        if tower.vocab_size is not None and tower.vocab_size < size:
            raise UserError(
                f"model.towers.{self.text}.vocab_size {tower.vocab_size} is less than the tokenizer's {size}: "
                "leave it null, or lower data.tokenizer.vocab_size"
            )
        self.vocab_size = tower.vocab_size or size
        self._streams: dict[str, tuple[Split, Stream]] = {}

    # -------------------------------------------------------------- what it knows of the data

    @classmethod
    def prepare(cls, run: RunConfig, source: Source) -> Self:
        """With a tokenizer trained on the texts of the training split, or that of the token ids."""
        if isinstance(source, TokenSource):
            return cls(cast(LanguageTaskConfig, run.task), run, source.tokenizer)
        config = cast(LanguageTaskConfig, run.task)
        texts = documents(source.splits["train"], run.data.tokenizer.special_tokens)
        return cls(config, run, tokenizer_for(run, said_tower(run.model, config.head), texts))

    @classmethod
    def load(cls, run: RunConfig, folder: Path) -> Self:
        """With the tokenizer in `folder`, where there was one."""
        path = folder / _TOKENIZER
        tokenizer = Tokenizer.load(path, special_tokens=None) if path.exists() else None
        return cls(cast(LanguageTaskConfig, run.task), run, tokenizer)

    def save(self, folder: Path) -> None:
        """Write `tokenizer.json`, where there is one."""
        if self.tokenizer is not None:
            self.tokenizer.save(folder / _TOKENIZER)

    def model_config(self) -> ModelConfig:
        """The run's model with the size of the vocabulary filled in."""
        towers = dict(self.run.model.towers)
        towers[self.text] = cast(TextTowerConfig, towers[self.text]).replace(vocab_size=self.vocab_size)
        return self.run.model.replace(towers=towers)

    def stream(self, split: Split) -> Stream:
        """A split as one stream of tokens; kept, for it is asked for at every evaluation."""
        kept = self._streams.get(split.name)
        if kept is None or kept[0] is not split:
            kept = self._streams[split.name] = (split, stream_of(split, self.tokenizer, self.vocab_size))
        return kept[1]

    # -------------------------------------------------------------- learning

    def examples(self, split: Split, train: bool) -> Windows:
        """Windows over the split's text."""
        del train
        return Windows(self.stream(split), self.window, self.text, self.run.train.seed)

    def loss(self, model: nn.Module, batch: Batch) -> LossOutput:
        """Cross-entropy of each next token, summed."""
        target = batch.targets["said"].flatten()
        total = _summed_loss(self.config, self.text, model, batch, target)
        return LossOutput(total, torch.tensor(len(target), device=target.device))

    @classmethod
    def full_batch(cls, run: RunConfig, size: int) -> Batch:
        """`size` windows."""
        tower = said_tower(run.model, cast(LanguageTaskConfig, run.task).head)
        length = cast(TextTowerConfig, run.model.towers[tower]).max_len
        return windows_batch(np.zeros((size, length + 1), dtype=np.int64), tower)

    @classmethod
    def rehearse(cls, run: RunConfig, model: nn.Module, batch: Batch) -> Tensor:
        """As `loss`."""
        config = cast(LanguageTaskConfig, run.task)
        target = batch.targets["said"].flatten()
        return _summed_loss(config, said_tower(run.model, config.head), model, batch, target) / len(target)

    @classmethod
    def rehearse_generation(cls, run: RunConfig, model: nn.Module, batch: Batch) -> object:
        """Say a window of every sample, from its first token on."""
        config = cast(LanguageTaskConfig, run.task)
        tower = said_tower(run.model, config.head)
        limit = cast(TextTowerConfig, run.model.towers[tower]).max_len
        decode = config.decode.replace(max_len=min(config.decode.max_len, limit))
        prompt = cast(TextInput, batch.inputs[tower]).ids[:, :1]
        return searched(cast(Model, model), {}, decode, Vocabulary(None, None, None), config.head, prompt)

    # -------------------------------------------------------------- evaluation and prediction

    def evaluate(self, model: nn.Module, source: Source, split: str, limit: int | None, device: str) -> Evaluation:
        """Loss of every token of the first `limit` windows, all that came before in its window known.

        `bits_per_byte` is given where the tokens give the text back exactly, and of the whole split only.
        """
        stream = self.stream(source.splits[split])
        total, tokens, windows = self._loss_of(model, stream, limit, device)
        metrics = {"loss": total / max(tokens, 1), "perplexity": perplexity(total, tokens)}
        if stream.num_bytes and tokens == len(stream.ids) - 1:
            metrics["bits_per_byte"] = total / math.log(2) / stream.num_bytes
        return Evaluation(metrics, windows, self._continuations(cast(Model, model), stream))

    @torch.inference_mode()
    def _loss_of(self, model: nn.Module, stream: Stream, limit: int | None, device: str) -> tuple[float, int, int]:
        total, tokens, done = 0.0, 0, 0
        together = max(1, _EVAL_TOKENS // self.window)
        every = range(0, max(len(stream.ids) - 1, 0), self.window)
        share = own_share(len(every) if limit is None else min(limit, len(every)))
        windows = islice(covering(stream, self.window), share.start, share.stop)
        while rows := list(islice(windows, together)):
            whole = [row for row in rows if len(row) == len(rows[0])]
            for part in (whole, rows[len(whole) :]):  # the last window of all may be shorter
                if part:
                    loss = self.loss(model, windows_batch(np.stack(part), self.text).to(device))
                    total, tokens = total + float(loss.total), tokens + int(loss.count)
            done += len(rows)
        totals, counts, windows_done = zip(*of_all_ranks([(total, tokens, done)]), strict=True)
        return sum(totals), sum(counts), sum(windows_done)

    def _continuations(self, model: Model, stream: Stream) -> list[Prediction]:
        """Beginnings of half a window, spread over the split: how the model goes on, and how the text does."""
        count, half = self.config.continuations, self.window // 2
        if self.tokenizer is None or not count or not half or len(stream.ids) < 2 * half:
            return []
        room = len(stream.ids) - 2 * half
        starts = sorted({room * k // count for k in range(count)})
        begun = [stream.ids[at : at + half].tolist() for at in starts]
        decode = self.config.decode.replace(max_len=min(half, self.config.decode.max_len))
        said = self._say(model, begun, decode)
        found = []
        for at, start, (ids, score) in zip(starts, begun, said, strict=True):
            follows = self.tokenizer.decode(stream.ids[at : at + 2 * half].tolist())
            found.append(Prediction(f"token {at}", self.tokenizer.decode([*start, *ids]), (follows,), score=score))
        return found

    def predict(self, model: nn.Module, queries: Sequence[Query], device: str) -> list[Prediction]:
        """Each query's text, continued."""
        del device  # the model's own
        if any(query.picture is not None for query in queries):
            raise UserError("this model reads no pictures, only text")
        if self.tokenizer is None:
            raise UserError("nothing says what the token ids of this model's data mean: it can say no text")
        prompts = [self._prompt(query.text or "") for query in queries]
        said = self._say(cast(Model, model), prompts, self.config.decode)
        skip = 1 if self.tokenizer.eos_id >= 0 else 0
        return [
            Prediction(query.id, self.tokenizer.decode([*prompts[row][skip:], *said[row][0]]), score=said[row][1])
            for row, query in enumerate(queries)
        ]

    def _prompt(self, text: str) -> list[int]:
        assert self.tokenizer is not None
        ids = self.tokenizer.encode_stream(text)
        if self.tokenizer.eos_id >= 0:
            if self.tokenizer.unk_id in ids:
                lacking = [w for w in text.split() if self.tokenizer.unk_id in self.tokenizer.encode_stream(w)]
                raise UserError(f"the text to begin with holds what the model has no token for: {', '.join(lacking)}")
            return [self.tokenizer.eos_id, *ids]
        if not ids:
            raise UserError("say how the text begins: --text TEXT (this vocabulary has no token that begins texts)")
        return ids

    def _say(
        self, model: Model, prompts: Sequence[Sequence[int]], decode: DecodeConfig
    ) -> list[tuple[list[int], float]]:
        """What follows prompts of any lengths."""
        specials = self.tokenizer if self.tokenizer is not None and self.tokenizer.special_tokens else None
        vocabulary = Vocabulary(None, None, None)
        if specials is not None:
            vocabulary = Vocabulary(specials.bos_id, specials.eos_id, specials.pad_id, specials.unk_id)
        said: dict[int, tuple[list[int], float]] = {}
        for length in dict.fromkeys(map(len, prompts)):
            rows = [row for row, prompt in enumerate(prompts) if len(prompt) == length]
            own = [prompts[row] for row in rows]
            said |= dict(
                zip(rows, continued(model, own, decode, vocabulary, self.config.head, self.window), strict=True)
            )
        return [said[row] for row in range(len(prompts))]


def _summed_loss(config: LanguageTaskConfig, tower: str, model: nn.Module, batch: Batch, target: Tensor) -> Tensor:
    """Cross-entropy of every token's successor, int [B * T], summed."""
    own = cast(Model, model)
    head = cast(TokenHeadConfig, own.config.heads[config.head])
    out = own(batch.inputs, heads=())
    tokens = cast(Tokens, out.trunk) if head.source == "trunk" else out.towers[tower]
    smoothing = config.label_smoothing if model.training else 0.0
    return said_loss(own.heads[config.head], tokens.x.flatten(0, 1), target, smoothing, config.loss_chunk)
