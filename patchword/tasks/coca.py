"""CoCa: captions and one space for pictures and texts, learnt in one pass (Yu et al. 2022).

The text tower is causal: its last token has read the whole caption and stands for it, and all of its tokens go on to
the trunk, which looks at the picture and says the next one.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import cast

import torch
from torch import Tensor, nn

from patchword.config import CocaTaskConfig, RunConfig, TextTowerConfig, implements
from patchword.data.base import Source, Split
from patchword.data.batch import BadSample, Batch
from patchword.data.image import ImagePipeline
from patchword.models.model import Model
from patchword.nn.heads import SimilarityHead
from patchword.sequence import TextInput
from patchword.tasks.base import Evaluation, LossOutput
from patchword.tasks.captioning import CaptioningTask
from patchword.tasks.contrast import contrastive_loss
from patchword.tasks.embedding import Embedder
from patchword.tasks.metrics.retrieval import both_ways
from patchword.tasks.pictures import FirstRecords
from patchword.tasks.retrieval import mean_contrast, sides_of
from patchword.tasks.say_examples import Example, SayExamples
from patchword.tasks.saying import summed_loss


class CocaExamples(SayExamples):
    """As captioning has them, but the text tower reads each caption to its end."""

    def collate(self, examples: Sequence[Example | BadSample]) -> Batch:
        """B pictures, B x `together` whole captions, and numbers of pictures that are those of their names."""
        batch = super().collate(examples)
        start, begun = cast(TextInput, batch.inputs[self.text])
        assert begun is not None
        ids = torch.cat([start[:, :1], batch.targets["said"]], 1)
        valid = torch.cat([begun[:, :1], batch.targets["predicted"]], 1)  # whoever has a first token has a second
        pictures = torch.tensor([_number(name) for name in batch.ids], dtype=torch.long)
        inputs = {**batch.inputs, self.text: TextInput(ids, valid)}
        targets = batch.targets | {"pictures": pictures, "texts": pictures.repeat_interleave(self.together)}
        return batch._replace(inputs=inputs, targets=targets)


def _number(name: str) -> int:
    """Of a picture; the same on every rank."""
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), signed=True)


@implements(CocaTaskConfig)
class CocaTask(CaptioningTask):
    """Learns to say what a picture shows, and which caption belongs to which picture."""

    config: CocaTaskConfig

    @property
    def max_tokens(self) -> int:
        """Most tokens of a caption, `<bos>` and `<eos>` included: what the text tower can place."""
        return cast(TextTowerConfig, self.run.model.towers[self.text]).max_len

    def said_ids(self, text: str) -> list[int]:
        """Token ids of a caption, `<bos>` and `<eos>` included, cut to what the text tower can place."""
        return self.tokenizers.ids(self.text, text)

    # -------------------------------------------------------------- learning

    def examples(self, split: Split, train: bool) -> CocaExamples:
        """The pictures of a split, each with `data.batch.captions` of its captions at a time."""
        return CocaExamples(split, self, train, self.run.data.batch.captions)

    def loss(self, model: nn.Module, batch: Batch) -> LossOutput:
        """Both losses, weighted; the count is that of right pairs.

        What is minimised over batches is the mean over pairs of the contrast and of the mean loss of a token in the
        batch: both weigh the same in every batch, however long its captions are.
        """
        keep = batch.targets["predicted"]
        return _loss(self.config, model, batch, keep, keep.any(1))

    @classmethod
    def full_batch(cls, run: RunConfig, size: int) -> Batch:
        """`size` pictures, each with as many captions as are learnt together, all as long as can be."""
        batch = super().full_batch(run, size)
        (text,) = (name for name, own in batch.inputs.items() if isinstance(own, TextInput))
        ids, valid = cast(TextInput, batch.inputs[text])
        assert valid is not None
        pictures = torch.arange(size)
        targets = {
            "said": ids[:, 1:],
            "predicted": valid[:, 1:],
            "pictures": pictures,
            "texts": pictures.repeat_interleave(run.data.batch.captions),
        }
        return batch._replace(inputs={**batch.inputs, text: TextInput(ids, valid)}, targets=targets)

    @classmethod
    def rehearse(cls, run: RunConfig, model: nn.Module, batch: Batch) -> Tensor:
        """As `loss`, all tokens at once: none of a full batch is padding."""
        found = _loss(cast(CocaTaskConfig, run.task), model, batch, None, None)
        return found.total / found.count

    # -------------------------------------------------------------- evaluation and vectors

    def evaluate(self, model: nn.Module, source: Source, split: str, limit: int | None, device: str) -> Evaluation:
        """What captioning measures, and recalls and ranks both ways; the loss is the weighted one.

        Its contrast is that of batches of `data.batch.size` pictures in their order, each with all of its captions.
        """
        said = super().evaluate(model, source, split, limit, device)
        pipeline = ImagePipeline(self.run.data.image, self.run.train.seed)
        found = self._embedder(model, device).split(FirstRecords(source.splits[split], limit), pipeline)
        head = cast(SimilarityHead, cast(Model, model).heads[self.config.similarity])
        contrast = mean_contrast(self.config.contrast.build(), head, found, self.run.data.batch.size)
        loss = self.config.caption_weight * said.metrics["loss"] + self.config.contrast_weight * contrast
        return said._replace(metrics=said.metrics | {"loss": loss} | both_ways(*found[:4]))

    def _embedder(self, model: nn.Module, device: str) -> Embedder:
        return Embedder(model, sides_of(self.run.model, self.config.similarity), self.tokenizers, device)

    def embed(
        self, model: nn.Module, pictures: Sequence[Tensor], texts: Sequence[str], device: str
    ) -> tuple[Tensor, Tensor]:
        """Vectors of pictures (uint8 [3, h, w]) and of texts, float32 [n, D] each, in one space."""
        embedder = self._embedder(model, device)
        return embedder.pictures(pictures), embedder.texts(texts)


def _loss(
    config: CocaTaskConfig, model: nn.Module, batch: Batch, predicted: Tensor | None, there: Tensor | None
) -> LossOutput:
    """Both losses of one pass; of all tokens and captions where none is padding.

    Args:
        config: the task.
        model: towers, trunk and heads.
        batch: as `CocaExamples` makes it.
        predicted: bool [B x captions, T - 1], which tokens have a next one; None: all.
        there: bool [B x captions], which captions there are; None: all.
    """
    head = cast(SimilarityHead, cast(Model, model).heads[config.similarity])
    rows, columns = head.config.rows, head.config.columns
    out = model(batch.inputs, heads=(rows, columns))
    tokens, target = out.trunk.x[:, :-1], batch.targets["said"]
    texts, of_texts = out.heads[columns], batch.targets["texts"]
    if predicted is None or there is None:
        tokens, target = tokens.flatten(0, 1), target.flatten()
    else:
        tokens, target, texts, of_texts = tokens[predicted], target[predicted], texts[there], of_texts[there]
    said = summed_loss(config, model, tokens, target) / max(len(target), 1)
    paired = contrastive_loss(
        config.contrast.build(), head, out.heads[rows], texts, batch.targets["pictures"], of_texts
    )
    total = config.contrast_weight * paired.total + config.caption_weight * said * paired.count
    return LossOutput(total, paired.count)
