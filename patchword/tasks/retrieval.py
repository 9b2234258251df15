"""Retrieval: pictures and texts in one space, each found by the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self, cast

import torch
from torch import Tensor, nn

from patchword.config import (
    ModelConfig,
    RetrievalTaskConfig,
    RunConfig,
    SimilarityHeadConfig,
    TextTowerConfig,
    TokenHeadConfig,
    UserError,
    implements,
)
from patchword.data.base import Source, Split
from patchword.data.batch import Batch
from patchword.data.image import ImagePipeline
from patchword.models.model import Model
from patchword.nn.heads import SimilarityHead
from patchword.sequence import ImageInput, TextInput
from patchword.tasks.base import Evaluation, LossOutput, Prediction, Query, Task
from patchword.tasks.contrast import Contrast, contrastive_loss
from patchword.tasks.embedding import Embedder, Found, batch_vectors
from patchword.tasks.gathered import of_all_ranks, own_share
from patchword.tasks.metrics.retrieval import both_ways, likest, ranks
from patchword.tasks.pairs import PairExamples, Sides
from patchword.tasks.pictures import FirstRecords, needed_pictures
from patchword.tasks.tokenizers import Tokenizers
from patchword.tasks.zero_shot import evaluate_zero_shot


def sides_of(model: ModelConfig, head: str) -> Sides:
    """The towers and heads that a similarity head compares."""
    own = cast(SimilarityHeadConfig, model.heads[head])
    image, text = (cast(TokenHeadConfig, model.heads[name]).source for name in (own.rows, own.columns))
    return Sides(image, text, own.rows, own.columns)


@implements(RetrievalTaskConfig)
class RetrievalTask(Task):
    """Learns which picture and which text belong together; knows the tokenizer."""

    def __init__(self, config: RetrievalTaskConfig, run: RunConfig, tokenizers: Tokenizers) -> None:
        self.config, self.run, self.tokenizers = config, run, tokenizers
        self.sides = sides_of(run.model, config.head)
        self.pipeline = ImagePipeline(run.data.image, run.train.seed)

    # -------------------------------------------------------------- what it knows of the data

    @classmethod
    def prepare(cls, run: RunConfig, source: Source) -> Self:
        """With a tokenizer trained on the captions of the training split."""
        config = cast(RetrievalTaskConfig, run.task)
        if config.zero_shot is not None:
            raise UserError("task.zero_shot is for evaluation: there are no classes to learn from, leave it null")
        split = source.splits["train"]

        def captions(_: str) -> Iterator[str]:
            for index in range(len(split)):
                yield from split.record(index).texts["caption"]

        return cls(config, run, Tokenizers.train(run, [sides_of(run.model, config.head).text], captions))

    @classmethod
    def load(cls, run: RunConfig, folder: Path) -> Self:
        """With the tokenizer in `folder`."""
        config = cast(RetrievalTaskConfig, run.task)
        return cls(config, run, Tokenizers.load(run, [sides_of(run.model, config.head).text], folder))

    def save(self, folder: Path) -> None:
        """Write `tokenizer.json`."""
        self.tokenizers.save(folder)

    def model_config(self) -> ModelConfig:
        """The run's model with the size of the vocabulary filled in."""
        return self.tokenizers.model_config()

    # -------------------------------------------------------------- learning

    def examples(self, split: Split, train: bool) -> PairExamples:
        """The pictures of a split, each with `data.batch.captions` of its captions at a time."""
        return PairExamples(split, self.run, self.sides, self.tokenizers, train, self.run.data.batch.captions)

    def loss(self, model: nn.Module, batch: Batch) -> LossOutput:
        """The contrast of all pairs of the batch, on all ranks; its count is that of right pairs."""
        return _loss(self.config, self.sides, model, batch)

    @classmethod
    def full_batch(cls, run: RunConfig, size: int) -> Batch:
        """`size` pictures of the configured size, each with as many captions, all as long as can be."""
        sides, image = sides_of(run.model, cast(RetrievalTaskConfig, run.task).head), run.data.image
        length = cast(TextTowerConfig, run.model.towers[sides.text]).max_len
        texts = size * run.data.batch.captions
        ids, valid = torch.zeros(texts, length, dtype=torch.long), torch.ones(texts, length, dtype=torch.bool)
        pixels = torch.zeros(size, 3, image.height, image.width, dtype=torch.uint8)
        of = torch.arange(size)
        targets = {"pictures": of, "texts": of.repeat_interleave(run.data.batch.captions)}
        return Batch({sides.image: ImageInput(pixels), sides.text: TextInput(ids, valid)}, targets, ())

    @classmethod
    def rehearse(cls, run: RunConfig, model: nn.Module, batch: Batch) -> Tensor:
        """As `loss`."""
        config = cast(RetrievalTaskConfig, run.task)
        found = _loss(config, sides_of(run.model, config.head), model, batch)
        return found.total / found.count

    @classmethod
    def rehearse_generation(cls, run: RunConfig, model: nn.Module, batch: Batch) -> object:
        """Nothing is generated."""
        del run, model, batch
        raise UserError("retrieval says nothing token by token: size it in training or inference")

    # -------------------------------------------------------------- evaluation and prediction

    def evaluate(self, model: nn.Module, source: Source, split: str, limit: int | None, device: str) -> Evaluation:
        """Recalls and ranks both ways over all pictures and captions, and the loss; or the accuracy of zero-shot.

        The loss is that of batches of `data.batch.size` pictures in their order, each with all of its captions.
        """
        embedder, head = self._embedder(model, device), self._head(model)
        if self.config.zero_shot is not None:
            return evaluate_zero_shot(embedder, head, self.config.zero_shot, source, split, limit, self.pipeline)
        part = FirstRecords(source.splits[split], limit)
        found = embedder.split(part, self.pipeline)
        loss = mean_contrast(self.config.contrast.build(), head, found, self.run.data.batch.size)
        metrics = {"loss": loss, **both_ways(*found[:4])}
        return Evaluation(metrics, len(found.pictures), _best_texts(source, part, found), found.bad)

    def _embedder(self, model: nn.Module, device: str) -> Embedder:
        return Embedder(model, self.sides, self.tokenizers, device)

    def _head(self, model: nn.Module) -> SimilarityHead:
        return cast(SimilarityHead, cast(Model, model).heads[self.config.head])

    def predict(self, model: nn.Module, queries: Sequence[Query], device: str) -> list[Prediction]:
        """How alike each query's picture and text are: the cosine of their vectors, from -1 to 1."""
        texts = [query.text for query in queries if query.text is not None]
        if len(texts) < len(queries):
            raise UserError("say what to compare the picture with: --text TEXT")
        pictures, texts = self.embed(model, needed_pictures(queries), texts, device)
        alike = torch.cosine_similarity(pictures, texts, dim=-1).tolist()
        return [Prediction(q.id, f"{a:.3f} {q.text}", score=a) for q, a in zip(queries, alike, strict=True)]

    def embed(
        self, model: nn.Module, pictures: Sequence[Tensor], texts: Sequence[str], device: str
    ) -> tuple[Tensor, Tensor]:
        """Vectors of pictures (uint8 [3, h, w]) and of texts, float32 [n, D] each, in one space."""
        embedder = self._embedder(model, device)
        return embedder.pictures(pictures), embedder.texts(texts)


def _loss(config: RetrievalTaskConfig, sides: Sides, model: nn.Module, batch: Batch) -> LossOutput:
    pictures, texts = batch_vectors(model, batch.inputs, sides, config.chunk)
    head = cast(SimilarityHead, cast(Model, model).heads[config.head])
    contrast: Contrast = config.contrast.build()
    return contrastive_loss(contrast, head, pictures, texts, batch.targets["pictures"], batch.targets["texts"])


@torch.inference_mode()
def mean_contrast(contrast: Contrast, head: SimilarityHead, found: Found, size: int) -> float:
    """The mean loss of a right pair in batches of `size` pictures in their order; infinite where there is none."""
    total, count = 0.0, 0.0
    device = next(head.parameters(), found.pictures).device
    for start in range(0, len(found.pictures), size):
        share = own_share(min(size, len(found.pictures) - start))  # the loss sees the pairs of all ranks
        rows = slice(start + share.start, start + share.stop)
        of = found.of_pictures[rows]
        columns = torch.isin(found.of_texts, of)
        given = (found.pictures[rows], found.texts[columns], of, found.of_texts[columns])
        loss = contrastive_loss(contrast, head, *(t.to(device) for t in given))
        total, count = total + float(loss.total), count + float(loss.count)
    total, count = map(sum, zip(*of_all_ranks([(total, count)]), strict=True))
    return total / count if count else float("inf")


def _best_texts(source: Source, split: Split, found: Found) -> list[Prediction]:
    """The text of the split that is most like each picture; right where no wrong one is as alike as one of its own."""
    places = ranks(found.pictures, found.texts, found.of_pictures, found.of_texts)
    best, alike = likest(found.pictures, found.texts)
    starts = torch.searchsorted(found.of_texts, found.of_texts)  # of each text, the first of its picture
    said = []
    for row, record in enumerate(found.of_pictures.tolist()):
        own, text = split.record(record), int(best[row])
        other = split.record(int(found.of_texts[text])).texts["caption"][text - int(starts[text])]
        right, group = bool(places[row] == 1), source.group(split.name, record)
        said.append(Prediction(own.id, other, own.texts["caption"], right, float(alike[row]), group))
    return said
