"""Fusions in which the trunk continues one tower's tokens, and reads the others."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from patchword.config import (
    CrossFusionConfig,
    JointFusionConfig,
    LookingFusionConfig,
    PrefixFusionConfig,
    ReaderFusionConfig,
    implements,
)
from patchword.nn.fusion.base import Fused, MappedFusion, spread_tokens
from patchword.nn.pooling import Summary
from patchword.sequence import SequenceInfo, Tokens, concat, real


class ReaderFusion(MappedFusion):
    """The trunk continues the reader's tokens, which keep their width."""

    shows_tokens = True
    """Whether the trunk looks at the others' tokens themselves, rather than at what was made of them."""

    def __init__(self, config: ReaderFusionConfig, dims: Mapping[str, int], dim: int) -> None:
        super().__init__(config, dims, dim, keep=config.reader, as_is=config.as_is)
        self.reader = config.reader

    def following(self, tokens: Tokens, kept: Tensor | None) -> Tokens:
        """The reader's next tokens in a decoding that has begun; [B, T, D] -> same. `kept` is that of its `Fused`."""
        return Tokens(tokens.x, SequenceInfo(valid=tokens.info.valid))

    def length_before(self, parts: Mapping[str, Tokens]) -> int:
        """How many tokens will stand before the reader's."""
        return 0


class LookingFusion(ReaderFusion):
    """The trunk looks at the others' tokens, or at a summary of them."""

    def __init__(self, config: LookingFusionConfig, dims: Mapping[str, int], dim: int) -> None:
        super().__init__(config, dims, dim)
        self.shows_tokens = config.summary is None
        named = {} if config.summary is None else {name: Summary(config.summary, dim) for name in self.mapped}
        self.summaries = nn.ModuleDict(named)

    def others(self, parts: Mapping[str, Tokens]) -> list[Tokens]:
        """What the trunk sees of every tower but the reader, [B', S, D] each."""
        made = self.project(parts)
        if not self.summaries:
            return made
        return [self.marked(name, self.summaries[name](tokens)) for name, tokens in zip(self.mapped, made, strict=True)]


@implements(CrossFusionConfig)
class CrossFusion(LookingFusion):
    """The trunk continues the reader's tokens and looks at all others as one memory."""

    def forward(self, parts: Mapping[str, Tokens]) -> Fused:
        """Tokens of every tower -> the reader's, with a memory."""
        others = self.others(parts)
        if not others:
            return Fused(parts[self.reader])
        rows = max(tokens.x.shape[0] for tokens in others)  # several questions of one picture each look at it, too
        return Fused(parts[self.reader], concat([spread_tokens(tokens, rows) for tokens in others]))


class _Sequence(LookingFusion):
    """One sequence of all, the reader's tokens last."""

    def following(self, tokens: Tokens, kept: Tensor | None) -> Tokens:
        """The reader's next tokens, marked as its own."""
        return self.marked(self.reader, tokens)

    def length_before(self, parts: Mapping[str, Tokens]) -> int:
        """How many tokens will stand before the reader's."""
        if self.summaries:
            return sum(summary.num_queries for summary in self.summaries.values())  # pyright: ignore
        return sum(parts[name].x.shape[1] for name in self.mapped)

    def forward(self, parts: Mapping[str, Tokens]) -> Fused:
        """Tokens of every tower -> one sequence; several texts of one sample each have its other tokens."""
        rows = parts[self.reader].x.shape[0]
        others = [spread_tokens(tokens, rows) for tokens in self.others(parts)]
        tokens = concat([*others, self.marked(self.reader, parts[self.reader])])
        return Fused(tokens, None, sum(t.x.shape[1] for t in others))


@implements(PrefixFusionConfig)
class PrefixFusion(_Sequence):
    """The others' tokens before the reader's, all with one order: they see one another also in a causal trunk."""

    def __init__(self, config: PrefixFusionConfig, dims: Mapping[str, int], dim: int) -> None:
        super().__init__(config, dims, dim)
        self.opens = config.opens

    def forward(self, parts: Mapping[str, Tokens]) -> Fused:
        """Tokens of every tower -> one sequence."""
        fused = super().forward(parts)
        tokens, length = fused.tokens, fused.start
        if length:
            places = torch.arange(tokens.x.shape[1], device=tokens.x.device)
            prefix = (places < length)[None]
            if self.opens:
                own = real(Tokens(tokens.x[:, length:], parts[self.reader].info))
                prefix = prefix | F.pad(own & (own.cumsum(-1) == 1), (length, 0))
            order = torch.where(prefix, length - 1, places).expand(tokens.x.shape[0], -1)
            tokens = Tokens(tokens.x, tokens.info._replace(order=order))
        return fused._replace(tokens=tokens)


@implements(JointFusionConfig)
class JointFusion(_Sequence):
    """All tokens in one sequence, the reader's last; a causal trunk reads the others one by one, too."""
