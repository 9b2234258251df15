"""One token a row and step: the likeliest, or a random one."""

from __future__ import annotations

import hashlib
from abc import abstractmethod

import torch
from torch import Tensor

from patchword.config import GreedyDecodeConfig, SampleDecodeConfig, implements
from patchword.models.decoding.base import Decoding, Search, Searched
from patchword.sequence import has_no_values


class _OneByOne(Search):
    """One token a row and step."""

    def search(self, decoding: Decoding) -> Searched:
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
