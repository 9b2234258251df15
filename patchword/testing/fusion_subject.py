"""What the laws of fusions are tried on: three towers of unequal widths, and a model around the fusion."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from patchword.config import (
    FusionConfig,
    HeadConfig,
    ImageTowerConfig,
    LabelHeadConfig,
    LanguageHeadConfig,
    ModelConfig,
    ReaderFusionConfig,
    SoftmaxAttentionConfig,
    StackConfig,
    TextTowerConfig,
)
from patchword.models.model import Model
from patchword.nn.fusion import Fused, Fusion
from patchword.nn.fusion.base import spread_tokens
from patchword.sequence import SequenceInfo, Tokens, real
from patchword.testing.subject import randomise

DIM, VOCAB = 16, 11
LENGTHS = {"image": 5, "other": 3, "third": 3}


class FusionSubject:
    """A fusion with random weights, and random tokens for it.

    Args:
        config: its settings.
        widths: of the towers, by name; None: three, all of another width but for the one that the trunk continues.
    """

    def __init__(self, config: FusionConfig, widths: Mapping[str, int] | None = None) -> None:
        self.config = config
        self.reader = config.reader if isinstance(config, ReaderFusionConfig) else None
        self.text = self.reader or "text"
        first, last = [name for name in LENGTHS if name != self.text][:2]
        self.widths = dict(widths or {first: 12, self.text: DIM, last: 20})
        self.generator = torch.Generator().manual_seed(0)
        self.fusion: Fusion = config.build(self.widths, DIM)
        randomise(self.fusion, self.generator)
        self.fusion.double().eval()

    # ------------------------------------------------------------------ input

    def tokens(self, name: str, batch: int, length: int | None = None) -> Tokens:
        """Random tokens of a tower, all real; [B, T, D']."""
        length = (4 if name == self.text else LENGTHS[name]) if length is None else length
        x = torch.randn(batch, length, self.widths[name], generator=self.generator, dtype=torch.float64)
        pos = torch.randint(0, 4, (1, length, 2), generator=self.generator) if name != self.text else None
        return Tokens(x, SequenceInfo(pos=pos))

    def parts(self, batch: int) -> dict[str, Tokens]:
        """The same of every tower."""
        return {name: self.tokens(name, batch) for name in self.widths}

    def chance(self, *shape: int) -> Tensor:
        """True in half of the places; bool."""
        return torch.rand(shape, generator=self.generator) < 0.5

    # ------------------------------------------------------------------ output

    def contents(self, parts: Mapping[str, Tokens]) -> list[list[Tensor]]:
        """What each row of the trunk's sequence and of its memory holds, without padding; [tokens, memory] a row."""
        fused = self.fusion(parts)
        rows = len(fused.tokens.x)
        held = [fused.tokens] if fused.memory is None else [fused.tokens, spread_tokens(fused.memory, rows)]
        return [[tokens.x[i][real(tokens)[i]] for tokens in held] for i in range(rows)]

    def same(self, got: list[list[Tensor]], want: list[list[Tensor]], what: str) -> None:
        """Fail unless each row holds the same; a memory without tokens is as good as none."""
        for i, (mine, theirs) in enumerate(zip(got, want, strict=True)):
            torch.testing.assert_close(
                _filled(mine), _filled(theirs), atol=1e-9, rtol=1e-9, msg=lambda text, i=i: f"{what}, row {i}: {text}"
            )

    # ------------------------------------------------------------------ a model around it

    def model(self) -> Model:
        """A small model: pictures beside a text, and heads for both uses."""
        causal = SoftmaxAttentionConfig(num_heads=4, causal=True)
        plain = causal.replace(causal=False)
        towers: dict[str, Any] = {
            name: TextTowerConfig(dim=width, depth=1, vocab_size=VOCAB, max_len=12, attention=causal)
            if name == self.text
            else ImageTowerConfig(dim=width, depth=1, image_size=(8, 8), patch_size=(4, 4), attention=plain)
            for name, width in self.widths.items()
        }
        heads: dict[str, HeadConfig] = {"label": LabelHeadConfig(num_classes=3)}
        if self.config.continues:
            heads["words"] = LanguageHeadConfig(text=self.text)
        config = ModelConfig(
            towers=towers,
            fusion=self.config,
            trunk=StackConfig(
                dim=DIM,
                depth=2,
                attention=causal if self.config.continues else plain,
                cross_attention=plain if self.config.gives_memory else None,
            ),
            heads=heads,
        )
        model = config.build()
        randomise(model, self.generator)
        return model.double().eval()

    def inputs(self, batch: int, length: int = 6) -> dict[str, Any]:
        """Random pictures and texts for it."""
        made: dict[str, Any] = {
            name: torch.rand(batch, 3, 8, 8, generator=self.generator, dtype=torch.float64)
            for name in self.widths
            if name != self.text
        }
        return made | {self.text: torch.randint(0, VOCAB, (batch, length), generator=self.generator)}


def _filled(row: list[Tensor]) -> list[Tensor]:
    return [held for i, held in enumerate(row) if i == 0 or len(held)]


def everything(fused: Fused) -> Tensor:
    """All real numbers of a result in one row, so that gradients can be taken."""
    held = [fused.tokens] if fused.memory is None else [fused.tokens, fused.memory]
    return torch.cat([(tokens.x * real(tokens)[..., None]).flatten() for tokens in held])
