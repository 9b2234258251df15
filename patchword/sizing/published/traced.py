"""Traces of published models: the real arithmetic and memory that figures are compared with."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from patchword.config import ModelConfig
from patchword.models.model import Model
from patchword.nn.mechanisms.linformer import LinformerCostWarning
from patchword.sequence import Tokens
from patchword.sizing.size import Sizing, summarise
from patchword.sizing.tracing.record import Record
from patchword.sizing.tracing.rehearsal import Rehearsal


def language_step(config: ModelConfig, batch: int, length: int) -> tuple[nn.Module, Sizing]:
    """A step of training in fp32 with AdamW: ids [B, S], the scores of all places at once, cross-entropy."""

    def loss(model: nn.Module) -> Tensor:
        ids = torch.zeros(batch, length, dtype=torch.long)
        scores = cast(Model, model)({"text": ids}).heads["text"]
        return F.cross_entropy(scores.flatten(0, 1), ids.flatten())

    return _trained(config, loss, batch)


def label_step(config: ModelConfig, batch: int, side: tuple[int, int]) -> tuple[nn.Module, Sizing]:
    """A step of training in fp32 with AdamW: pictures [B, 3, *side], cross-entropy over classes."""

    def loss(model: nn.Module) -> Tensor:
        scores = cast(Model, model)({"image": torch.zeros(batch, 3, *side)}).heads["label"]
        return F.cross_entropy(scores, torch.zeros(batch, dtype=torch.long))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LinformerCostWarning)  # said in the comparison's notes
        return _trained(config, loss, batch)


def _trained(config: ModelConfig, loss: Callable[[nn.Module], Tensor], batch: int) -> tuple[nn.Module, Sizing]:
    rehearsal = Rehearsal(config.build, loss)
    record = rehearsal.training(lambda model: torch.optim.AdamW(model.parameters()), clip=False)
    return rehearsal.model, summarise(rehearsal.model, record, "train", batch)


def look_everywhere(config: ModelConfig, batch: int, side: tuple[int, int], words: int) -> tuple[nn.Module, Record]:
    """A forward pass of pictures [B, 3, *side] and `words` words in one sequence, with scores at each of its places."""

    def scores(model: nn.Module) -> Tensor:
        whole: Any = model
        ids = torch.zeros(batch, words, dtype=torch.long)
        fused = whole.fusion(whole.encode({"image": torch.zeros(batch, 3, *side), "text": ids}))
        return whole.heads["text"](Tokens(whole.trunk(fused.tokens)))

    rehearsal = Rehearsal(config.build, scores)
    return rehearsal.model, rehearsal.inference()
