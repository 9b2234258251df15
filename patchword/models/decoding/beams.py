"""Beam search: several texts side by side. B samples, K beams, V vocabulary."""

from __future__ import annotations

import torch
from torch import Tensor

from patchword.config import BeamDecodeConfig, implements
from patchword.models.decoding.base import Decoding, Search, Searched
from patchword.sequence import has_no_values


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

    def search(self, decoding: Decoding) -> Searched:
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
