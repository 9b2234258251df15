"""Towers that talk only through a few shared tokens."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from patchword.config import BottleneckFusionConfig, implements
from patchword.nn.fusion.base import Fused
from patchword.nn.fusion.layered import StreamsFusion
from patchword.sequence import SequenceInfo, Tokens, real


class Exchange(nn.Module):
    """What the towers of a layer left in the shared tokens becomes what they all find there in the next: the mean."""

    def forward(self, left: list[Tensor], there: Tensor, before: Tensor) -> Tensor:
        """[B, K, D] of each tower -> [B, K, D].

        Args:
            left: in the order of the towers.
            there: which towers a row has, bool [B, M]; those absent say nothing.
            before: what was in the tokens before the layer, [B, K, D]; it stays where a row has no tower at all.
        """
        weight = there.to(before.dtype)
        total = (torch.stack(left, 1) * weight[:, :, None, None]).sum(1)
        count = weight.sum(1)[:, None, None]
        return torch.where(count > 0, total / count.clamp_min(1), before)


@implements(BottleneckFusionConfig)
class BottleneckFusion(StreamsFusion):
    """Each tower's layers read its own tokens and the shared ones, and see no other's (Nagrani et al. 2021, MBT).

    Between two layers the shared tokens become the mean of what the towers made of them; the trunk reads the towers'
    tokens alone. Late fusion is then a matter of the towers' own depth.
    """

    def __init__(self, config: BottleneckFusionConfig, dims: Mapping[str, int], dim: int) -> None:
        super().__init__(config, dims, dim, looks=False)
        self.tokens = nn.Parameter(torch.empty(config.num_tokens, dim))
        self.exchange = Exchange()
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Small random tokens."""
        nn.init.normal_(self.tokens, std=0.02)

    def forward(self, parts: Mapping[str, Tokens]) -> Fused:
        """Tokens of every tower -> one sequence, in the order of the towers."""
        towers = self.aligned(parts)
        x = {name: tokens.x for name, tokens in towers.items()}
        shared = self.tokens.expand(next(iter(x.values())).shape[0], -1, -1)
        own = {name: self.stream(name).view(_with(tokens, shared)) for name, tokens in towers.items()}
        there = torch.stack([real(tokens).any(-1) for tokens in towers.values()], 1)
        for i in range(self.depth):
            out = {name: self.layer(name, i)(torch.cat([y, shared], 1), own[name]) for name, y in x.items()}
            x = {name: y[:, : towers[name].x.shape[1]] for name, y in out.items()}
            if i < self.depth - 1:
                left = [y[:, towers[name].x.shape[1] :] for name, y in out.items()]
                shared = self.exchange(left, there, shared)
        return self.joined(x, towers)


def _with(tokens: Tokens, shared: Tensor) -> Tokens:
    """A tower's tokens and the shared ones after them, of which all are real."""
    valid = tokens.info.valid
    if valid is not None:
        valid = torch.cat([valid, valid.new_ones(shared.shape[:2])], 1)
    return Tokens(torch.cat([tokens.x, shared], 1), SequenceInfo(valid=valid))
