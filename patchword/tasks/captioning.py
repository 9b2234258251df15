"""Captioning: a picture in, a sentence out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from patchword.config import CaptioningTaskConfig, SayingTaskConfig, implements
from patchword.data.base import Record, Source
from patchword.models.inspect import picture_attention
from patchword.models.model import Model
from patchword.sequence import ImageInput
from patchword.tasks.asked import Asked
from patchword.tasks.base import Prediction
from patchword.tasks.metrics import bleu, cider_d, distinct
from patchword.tasks.saying import SayingTask


@implements(CaptioningTaskConfig)
class CaptioningTask(SayingTask):
    """Learns to say what a picture shows."""

    @classmethod
    def asked(cls, config: SayingTaskConfig, record: Record) -> list[Asked]:
        """What the picture shows: all of its captions are answers."""
        del config
        return [Asked({}, record.texts["caption"])]

    def judge(self, predictions: Sequence[Prediction]) -> dict[str, float]:
        """CIDEr-D, BLEU, how varied captions are; where the source knows its own truth, also `scene_accuracy`."""
        said, references = [p.text for p in predictions], [p.references for p in predictions]
        metrics = {"cider_d": cider_d(said, references).mean, **bleu(said, references), **distinct(said)}
        return metrics | _accuracy(predictions)

    def marked(self, prediction: Prediction, source: Source, split: str, index: int) -> Prediction:
        """Whether a caption is true and complete, where the source knows; and its group."""
        correct = source.describes(split, index, prediction.text)
        return prediction._replace(correct=correct, group=source.group(split, index))

    def attention(self, model: nn.Module, pixels: Tensor, said: str) -> list[tuple[str, np.ndarray]] | None:
        """Where the model looks as it says each word; None: its trunk sees no patches."""
        assert self.config.image is not None
        ids = self.said_ids(said)
        device = next(model.parameters()).device
        inputs: dict[str, Any] = {
            self.config.image: ImageInput(pixels[None].to(device)),
            self.text: torch.tensor([ids[:-1]], device=device),
        }
        found = picture_attention(cast(Model, model), inputs, self.config.image)
        if found is None:
            return None
        maps = found[0].float().cpu().numpy()
        words = [self.tokenizer.decode([i]) for i in ids[1:-1]]
        return list(zip(words, maps[: len(words)], strict=True))


def _accuracy(predictions: Sequence[Prediction]) -> dict[str, float]:
    """Share of true and complete captions, in all and by group."""
    judged = defaultdict(list)
    for p in predictions:
        if p.correct is not None:
            judged["scene_accuracy"].append(p.correct)
            if p.group is not None:
                judged[f"scene_accuracy_{p.group}"].append(p.correct)
    return {name: sum(marks) / len(marks) for name, marks in sorted(judged.items())}
