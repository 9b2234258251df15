"""Text from a model, one token after another: greedy, sampling, beam search; batched, with caches.

B samples, K beams, V vocabulary. The kind of `DecodeConfig` chooses the search. Every search stops a row at `eos_id`
and all rows at `max_len`; padding and `<bos>` are never said.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from patchword.config import (
    BeamDecodeConfig,
    DecodeConfig,
    GreedyDecodeConfig,
    SampleDecodeConfig,
    UserError,
    implements,
)
from patchword.config.speaking import said_tower, speaking_problems
from patchword.models.model import Model
from patchword.nn.twin import twin
from patchword.sequence import has_no_values


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


class Generated(NamedTuple):
    """What was said."""

    ids: list[list[int]]
    """Token ids of each row, without `<bos>` and `<eos>`."""
    log_probs: list[float]
    """Log-probability of each row in nats, its `<eos>` included where it was said."""


class Searched(NamedTuple):
    """What a search found."""

    ids: Tensor
    """int [B, n], n at most `max_len`; of each row, what comes after `<eos>` was not said."""
    log_probs: Tensor
    """[B], in nats."""


@torch.inference_mode()
def generate(
    model: Model,
    inputs: Mapping[str, Any],
    config: DecodeConfig,
    vocabulary: Vocabulary,
    head: str = "text",
    prompt: Tensor | None = None,
) -> Generated:
    """Continue `prompt` (ids [B, T]; None: `<bos>`) for each sample of `inputs`.

    The model is used in the mode it is in; call `model.eval()` first. For many batches, give what `prepared` returns.

    Args:
        model: one whose `head` can say one word after another.
        inputs: what else is read, by tower; none where `head` reads its text tower alone: then `prompt` is needed.
        config: how the next words are chosen.
        vocabulary: ids that mean more than a word.
        head: the language head that speaks.
        prompt: what each text begins with.

    Raises:
        UserError: the model cannot say one word after another, or `max_len` and the prompt together exceed what the
            text tower can place.
        ValueError: neither inputs nor a prompt, or a prompt without any token.
    """
    if prompt is None and not inputs:
        raise ValueError("nothing to go by: give inputs, or a prompt (ids [B, T], T at least 1)")
    rows = prompt if prompt is not None else next(iter(inputs.values()))
    batch = len(rows if isinstance(rows, Tensor) else rows[0])
    if batch == 0:
        return Generated([], [])
    if prompt is None:
        if vocabulary.bos_id is None:
            raise ValueError("a vocabulary without a token that begins texts needs a prompt")
        device = next(model.parameters()).device
        prompt = torch.full((batch, 1), vocabulary.bos_id, dtype=torch.long, device=device)
    if not prompt.shape[1]:
        raise ValueError("an empty prompt: a text begins with at least one token")
    _check_length(model, head, prompt.shape[1], config.max_len)
    found = searched(twin(model), inputs, config, vocabulary, head, prompt)
    return Generated([_until(row, vocabulary.end) for row in found.ids.tolist()], found.log_probs.tolist())


def searched(
    model: Model, inputs: Mapping[str, Any], config: DecodeConfig, vocabulary: Vocabulary, head: str, prompt: Tensor
) -> Searched:
    """As `generate`, in tensors and with the model as it is; a model without values goes on to the end."""
    return config.build().search(_Decoding(model, inputs, config, vocabulary, head, prompt))


def prepared(model: Model) -> Model:
    """What to call `generate` with for many batches: it says the same in less time.

    On a CPU it holds the model's matrices a second time, as they are now: prepare again when they have changed.
    """
    return twin(model, relayout=True)


def _check_length(model: Model, head: str, prompt: int, max_len: int) -> None:
    for problem in speaking_problems(model.config, head):
        raise UserError(f"model.{problem.path}: {problem.message}")
    limit = getattr(model.config.towers[said_tower(model.config, head)], "max_len", None)
    if limit is not None and prompt + max_len - 1 > limit:
        raise UserError(
            f"decode.max_len {max_len} after a prompt of {prompt} exceeds the text tower's max_len {limit}: "
            f"set decode.max_len to at most {limit - prompt + 1}"
        )


class _Decoding:
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
    def search(self, decoding: _Decoding) -> Searched:
        """Run a decoding to its end."""


class _OneByOne(Search):
    """One token a row and step."""

    def search(self, decoding: _Decoding) -> Searched:
        """Run a decoding to its end."""
        eos = decoding.vocabulary.end
        scores = decoding.first()
        going = torch.ones(decoding.batch, dtype=torch.bool, device=decoding.device)
        said, gained, counts = [], [], []
        while True:
            ids = self.choose(scores)
            said.append(ids)
            gained.append(scores.gather(1, ids[:, None])[:, 0] - scores.logsumexp(-1))
            counts.append(going)  # a row that has ended goes on unheard until all have
            going = going & (ids != eos)
            if len(said) == decoding.max_len or not (has_no_values(going) or going.any()):
                break
            scores = decoding.next(ids)
        total = torch.where(torch.stack(counts), torch.stack(gained), 0.0).sum(0)
        return Searched(torch.stack(said, 1), total)

    @abstractmethod
    def choose(self, scores: Tensor) -> Tensor:
        """The next token of each row; [B, V] -> int [B]."""


@implements(GreedyDecodeConfig)
class GreedySearch(_OneByOne):
    """The likeliest token at each step."""

    def __init__(self, config: GreedyDecodeConfig) -> None:
        self.config = config

    def choose(self, scores: Tensor) -> Tensor:
        """[B, V] -> int [B]."""
        return scores.argmax(-1)


@implements(SampleDecodeConfig)
class SampleSearch(_OneByOne):
    """A random token at each step; each row has its own generator, so that it does not depend on its neighbours."""

    def __init__(self, config: SampleDecodeConfig) -> None:
        self.config = config
        self.generators: list[torch.Generator] = []

    def choose(self, scores: Tensor) -> Tensor:
        """[B, V] -> int [B]."""
        chances = narrow(scores / self.config.temperature, self.config).softmax(-1).cpu()
        while len(self.generators) < len(chances):
            self.generators.append(torch.Generator().manual_seed(_seed(self.config.seed, len(self.generators))))
        waits = torch.stack(
            [torch.empty_like(c).exponential_(generator=g) for c, g in zip(chances, self.generators, strict=True)]
        )
        return (chances / waits).argmax(-1).to(scores.device)  # the shortest wait at rate p falls on i with chance p_i


def _seed(seed: int, row: int) -> int:
    """Unrelated seeds for unrelated rows: torch's CPU generator looks at 32 bits only, so these are mixed into them."""
    return int.from_bytes(hashlib.blake2b(f"{seed}/{row}".encode(), digest_size=4).digest())


def narrow(scores: Tensor, config: SampleDecodeConfig) -> Tensor:
    """Scores with all but the likely tokens at -inf: top-k, then top-p, then min-p; [B, V] -> [B, V].

    The likeliest token always stays.
    """
    if config.top_k is not None and config.top_k < scores.shape[-1]:
        least = scores.topk(config.top_k, -1).values[:, -1:]
        scores = scores.masked_fill(scores < least, float("-inf"))
    if config.top_p < 1.0:
        ordered, index = scores.sort(-1, descending=True)
        chances = ordered.softmax(-1)
        before = chances.cumsum(-1) - chances  # a token stays while those likelier than it add up to less than p
        ordered = ordered.masked_fill(before >= config.top_p, float("-inf"))
        scores = torch.empty_like(scores).scatter_(-1, index, ordered)
    if config.min_p > 0.0:
        chances = scores.softmax(-1)
        scores = scores.masked_fill(chances < config.min_p * chances.amax(-1, keepdim=True), float("-inf"))
    return scores


class _Finished:
    """The best ended texts of each sample, at most K."""

    def __init__(self, batch: int, beams: int, max_len: int, device: torch.device) -> None:
        self.rank = torch.full((batch, beams), float("-inf"), device=device)
        self.total = torch.full((batch, beams), float("-inf"), device=device)
        self.ids = torch.zeros(batch, beams, max_len, dtype=torch.long, device=device)
        self.count = torch.zeros(batch, dtype=torch.long, device=device)

    def are_full(self) -> bool:
        """Whether no sample needs any more."""
        full = (self.count >= self.rank.shape[1]).all()
        return not has_no_values(full) and bool(full)

    def add(self, rank: Tensor, total: Tensor, ids: Tensor) -> None:
        """Take in candidates [B, n] with texts [B, n, max_len]; a rank of -inf is none. Full samples stay."""
        beams = self.rank.shape[1]
        rank = rank.masked_fill((self.count >= beams)[:, None], float("-inf"))
        self.count = self.count + rank.isfinite().sum(-1)
        self.rank, best = torch.cat([self.rank, rank], 1).topk(beams, 1)
        self.total = torch.cat([self.total, total], 1).gather(1, best)
        self.ids = torch.cat([self.ids, ids], 1).gather(1, best[..., None].expand(-1, -1, ids.shape[2]))


@implements(BeamDecodeConfig)
class BeamSearch(Search):
    """The best of K texts kept side by side; a sample is done when K of its texts have ended.

    Texts are compared by log-probability / length ** length_penalty (length counts `<eos>`). One beam is greedy.
    """

    def __init__(self, config: BeamDecodeConfig) -> None:
        self.config = config

    def search(self, decoding: _Decoding) -> Searched:
        """Run a decoding to its end."""
        batch, beams, device = decoding.batch, self.config.num_beams, decoding.device
        eos, max_len = decoding.vocabulary.end, decoding.max_len
        finished = _Finished(batch, beams, max_len, device)
        ids = torch.full((batch, 1, max_len), eos, dtype=torch.long, device=device)
        total = torch.zeros(batch, 1, device=device)
        scores = decoding.first()
        for length in range(1, max_len + 1):
            vocab = scores.shape[-1]
            each = scores.add_((total.flatten() - scores.logsumexp(-1))[:, None]).view(batch, -1)
            wanted = min(2 * beams, each.shape[1])  # so that K go on even if K of them end
            best, flat = each.topk(wanted, 1)
            beam, token = flat // vocab, flat % vocab
            texts = ids.gather(1, beam[..., None].expand(-1, -1, max_len)).clone()
            texts[..., length - 1] = token
            ends = (token == eos) if length < max_len else torch.ones_like(token, dtype=torch.bool)
            leading = torch.arange(wanted, device=device) < beams
            rank = (best / length**self.config.length_penalty).masked_fill(~(ends & leading), float("-inf"))
            finished.add(rank, best, texts)
            if length == max_len or finished.are_full():
                break
            total, keep = best.masked_fill(ends, float("-inf")).topk(min(beams, wanted), 1)
            ids = texts.gather(1, keep[..., None].expand(-1, -1, max_len))
            rows = torch.arange(batch, device=device)[:, None] * (len(scores) // batch) + beam.gather(1, keep)
            decoding.select(rows.flatten())
            scores = decoding.next(token.gather(1, keep).flatten())
        return Searched(finished.ids[:, 0], finished.total[:, 0])


def _until(row: Sequence[int], eos: int) -> list[int]:
    ids = list(row)
    return ids[: ids.index(eos)] if eos in ids else ids
