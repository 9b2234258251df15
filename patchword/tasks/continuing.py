"""Text that goes on for longer than a model can look back."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from patchword.config import DecodeConfig, SampleDecodeConfig
from patchword.models.decoding import Vocabulary
from patchword.models.generate import generate
from patchword.models.model import Model


class Continued:
    """One text under way."""

    def __init__(self, prompt: Sequence[int]) -> None:
        self.seen, self.said, self.score, self.ended = list(prompt), list[int](), 0.0, False


def continued(
    model: nn.Module,
    prompts: Sequence[Sequence[int]],
    decode: DecodeConfig,
    vocabulary: Vocabulary,
    head: str,
    window: int,
) -> list[tuple[list[int], float]]:
    """What follows prompts of one length, `decode.max_len` tokens at most, and its log-probability in nats.

    A text that outgrows the window goes on from the second half of it, again and again.
    """
    assert isinstance(model, Model)
    texts = [Continued(prompt) for prompt in prompts]
    device, piece = next(model.parameters()).device, 0
    while going := [t for t in texts if not t.ended and len(t.said) < decode.max_len]:
        context = len(going[0].seen)
        if context > window or piece:
            context = max(1, window // 2)
        count = min(decode.max_len - len(going[0].said), window - context + 1)
        own = decode.replace(max_len=count)
        if isinstance(own, SampleDecodeConfig):  # else each piece would draw the same chances
            own = own.replace(seed=own.seed + piece)
        prompt = torch.tensor([t.seen[-context:] for t in going], device=device)
        out = generate(model, {}, own, vocabulary, head, prompt)
        for text, ids, score in zip(going, out.ids, out.log_probs, strict=True):
            text.seen += ids
            text.said += ids
            text.score += score
            text.ended = len(ids) < count
        piece += 1
    return [(text.said, text.score) for text in texts]
