"""Fusions in which the trunk continues one tower's tokens, and reads the others."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from patchword.config import (
    CrossFusionConfig,
    JointFusionConfig,
    PrefixFusionConfig,
    ReaderFusionConfig,
    implements,
)
from patchword.nn.fusion.base import Fused, Fusion
from patchword.sequence import SequenceInfo, Tokens, concat


class ReaderFusion(Fusion):
    """The trunk continues the reader's tokens, which keep their width."""

    def __init__(self, config: ReaderFusionConfig, dims: Mapping[str, int], dim: int) -> None:
        super().__init__(config, dims, dim, keep=config.reader)
        self.reader = config.reader

    def beside(self, parts: Mapping[str, Tokens]) -> list[Tokens]:
        """The others' tokens, one row for each of the reader's: several texts of one sample repeat them."""
        rows = parts[self.reader].x.shape[0]
        return [_repeat(tokens, rows) for tokens in self.project(parts)]

    def following(self, tokens: Tokens) -> Tokens:
        """The reader's next tokens in a decoding that has begun; [B, T, D] -> same."""
        return Tokens(tokens.x, SequenceInfo(valid=tokens.info.valid))


def _repeat(tokens: Tokens, rows: int) -> Tokens:
    batch = tokens.x.shape[0]
    if batch == rows:
        return tokens
    if not batch or rows % batch:
        raise ValueError(f"{rows} texts do not go evenly with {batch} samples")
    times = rows // batch
    facts = [None if fact is None else fact.repeat_interleave(times, 0) for fact in tokens.info]
    return Tokens(tokens.x.repeat_interleave(times, 0), SequenceInfo(*facts))


@implements(CrossFusionConfig)
class CrossFusion(ReaderFusion):
    """The trunk continues the reader's tokens and looks at all others as one memory."""

    def forward(self, parts: Mapping[str, Tokens]) -> Fused:
        """Tokens of every tower -> the reader's, with a memory."""
        others = self.project(parts)
        memory = concat(others) if others else None
        return Fused(parts[self.reader], memory)


class _Sequence(ReaderFusion):
    """One sequence of all, the reader's tokens last."""

    def following(self, tokens: Tokens) -> Tokens:
        """The reader's next tokens, marked as its own."""
        return self.marked(self.reader, tokens)

    def forward(self, parts: Mapping[str, Tokens]) -> Fused:
        """Tokens of every tower -> one sequence."""
        others = self.beside(parts)
        tokens = concat([*others, self.marked(self.reader, parts[self.reader])])
        return Fused(tokens, None, sum(t.x.shape[1] for t in others))


@implements(PrefixFusionConfig)
class PrefixFusion(_Sequence):
    """The others' tokens before the reader's, all with one order: they see one another also in a causal trunk."""

    def forward(self, parts: Mapping[str, Tokens]) -> Fused:
        """Tokens of every tower -> one sequence."""
        fused = super().forward(parts)
        tokens, length = fused.tokens, fused.start
        if length:
            places = torch.arange(tokens.x.shape[1], device=tokens.x.device)
            order = torch.where(places < length, length - 1, places).expand(tokens.x.shape[0], -1)
            tokens = Tokens(tokens.x, tokens.info._replace(order=order))
        return fused._replace(tokens=tokens)


@implements(JointFusionConfig)
class JointFusion(_Sequence):
    """All tokens in one sequence, the reader's last; a causal trunk reads the others one by one, too."""
