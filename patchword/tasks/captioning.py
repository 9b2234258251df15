"""Captioning: a picture in, a sentence out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Self, cast

import numpy as np
import torch
from torch import Tensor, nn

from patchword.config import (
    CaptioningTaskConfig,
    ImageTowerConfig,
    ModelConfig,
    RunConfig,
    TextTowerConfig,
    UserError,
    implements,
)
from patchword.data.base import Source, Split
from patchword.data.batch import BadSample, Batch
from patchword.data.image import BadImage, ImagePipeline
from patchword.data.text import Tokenizer
from patchword.models.generate import Vocabulary, generate
from patchword.models.model import Model
from patchword.sequence import ImageInput, TextInput
from patchword.tasks.base import Evaluation, LossOutput, Prediction, Task
from patchword.tasks.losses import chunked_cross_entropy
from patchword.tasks.metrics import bleu, cider_d, distinct, perplexity

_TOKENIZER_TEXTS = 100_000  # captions that a tokenizer is trained on; more change little and cost minutes
_EVAL_BATCH = 50


class Example(NamedTuple):
    """One picture with one caption."""

    id: str
    pixels: Tensor
    """uint8 [3, height, width]."""
    ids: list[int]
    """Token ids, `<bos>` and `<eos>` included."""


class CaptionExamples:
    """Every (picture, caption) pair of a split; goes to worker processes."""

    def __init__(self, split: Split, task: CaptioningTask, train: bool) -> None:
        self.split, self.train = split, train
        self.image, self.text, self.blank = task.config.image, task.config.text, task.config.blank
        self.pipeline = ImagePipeline(task.run.data.image, task.run.train.seed)
        self.pad_id = task.tokenizer.pad_id
        owners, ids = [], []
        for index in range(len(split)):
            captions = split.record(index).captions
            owners += [index] * len(captions)
            ids += task.tokenizer.encode_batch(captions)
        limit = task.max_tokens
        self.cut = sum(len(i) > limit for i in ids)
        self.owners = np.array(owners, dtype=np.int64)
        self.ids = [i if len(i) <= limit else [*i[: limit - 1], i[-1]] for i in ids]
        self.lengths = np.array([len(i) for i in self.ids], dtype=np.int64)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, key: tuple[int, int]) -> Example | BadSample:
        """Pair `key[1]` as epoch `key[0]` sees it."""
        index = int(self.owners[key[1]])
        name = self.split.record(index).id
        try:
            pixels = self.pipeline(self.split.read(index), name, key if self.train else None)
        except BadImage as error:
            return BadSample(name, error.reason, error.message)
        return Example(name, torch.zeros_like(pixels) if self.blank else pixels, self.ids[key[1]])

    def collate(self, examples: Sequence[Example | BadSample]) -> Batch:
        """Pictures on one canvas, captions padded on the right."""
        good = [e for e in examples if isinstance(e, Example)]
        bad = tuple(e for e in examples if isinstance(e, BadSample))
        length = max((len(e.ids) for e in good), default=1)
        ids = torch.full((len(good), length), self.pad_id, dtype=torch.long)
        for row, example in zip(ids, good, strict=True):
            row[: len(example.ids)] = torch.tensor(example.ids)
        lengths = torch.tensor([len(e.ids) for e in good], dtype=torch.long)
        valid = torch.arange(length) < lengths[:, None]
        inputs = {
            self.image: on_canvas([e.pixels for e in good]),
            self.text: TextInput(ids[:, :-1], valid[:, 1:]),  # the last real token has nothing to predict
        }
        targets = {self.text: ids[:, 1:], "real": valid[:, 1:]}
        return Batch(inputs, targets, tuple(e.id for e in good), bad)


def on_canvas(pictures: Sequence[Tensor]) -> ImageInput:
    """Pictures uint8 [3, h, w] side by side; sizes are given only where they differ."""
    if not pictures:
        return ImageInput(torch.zeros(0, 3, 0, 0, dtype=torch.uint8), torch.zeros(0, 2, dtype=torch.long))
    if all(p.shape == pictures[0].shape for p in pictures):
        return ImageInput(torch.stack(list(pictures)))
    size = torch.tensor([p.shape[1:] for p in pictures])
    pixels = torch.zeros(len(pictures), 3, *size.amax(0).tolist(), dtype=torch.uint8)
    for canvas, picture in zip(pixels, pictures, strict=True):
        canvas[:, : picture.shape[1], : picture.shape[2]] = picture
    return ImageInput(pixels, size)


@implements(CaptioningTaskConfig)
class CaptioningTask(Task):
    """Learns to say what a picture shows; knows the tokenizer."""

    def __init__(self, config: CaptioningTaskConfig, run: RunConfig, tokenizer: Tokenizer) -> None:
        self.config, self.run, self.tokenizer = config, run, tokenizer
        self.vocabulary = Vocabulary(tokenizer.bos_id, tokenizer.eos_id, tokenizer.pad_id)

    @classmethod
    def prepare(cls, run: RunConfig, source: Source) -> Self:
        """With a tokenizer trained on the captions of the training split."""
        split = source.splits["train"]

        def captions() -> Iterator[str]:
            count = 0
            for index in range(len(split)):
                for caption in split.record(index).captions:
                    yield caption
                    count += 1
                if count >= _TOKENIZER_TEXTS:
                    return

        return cls(cast(CaptioningTaskConfig, run.task), run, Tokenizer.train(run.data.tokenizer, captions()))

    @classmethod
    def load(cls, run: RunConfig, folder: Path) -> Self:
        """With the tokenizer in `folder`."""
        return cls(cast(CaptioningTaskConfig, run.task), run, Tokenizer.load(folder / "tokenizer.json"))

    def save(self, folder: Path) -> None:
        """Write `tokenizer.json`."""
        self.tokenizer.save(folder / "tokenizer.json")

    @property
    def max_tokens(self) -> int:
        """Most tokens of a caption, `<bos>` and `<eos>` included: what the text tower can place, and one to predict."""
        return cast(TextTowerConfig, self.run.model.towers[self.config.text]).max_len + 1

    def model_config(self) -> ModelConfig:
        """The run's model with the size of the vocabulary filled in."""
        towers = dict(self.run.model.towers)
        text = cast(TextTowerConfig, towers[self.config.text])
        size = self.tokenizer.vocab_size
        if text.vocab_size is not None and text.vocab_size < size:
            raise UserError(
                f"model.towers.{self.config.text}.vocab_size {text.vocab_size} is less than the tokenizer's {size}: "
                "leave it null, or lower data.tokenizer.vocab_size"
            )
        towers[self.config.text] = text.replace(vocab_size=text.vocab_size or size)
        return self.run.model.replace(towers=towers)

    def examples(self, split: Split, train: bool) -> CaptionExamples:
        """Every (picture, caption) pair of a split."""
        return CaptionExamples(split, self, train)

    def loss(self, model: nn.Module, batch: Batch) -> LossOutput:
        """Cross-entropy of each next token, summed; pictures that are missing have no part."""
        target, keep = batch.targets[self.config.text], batch.targets["real"]
        out = model(batch.inputs, heads=())
        head = cast(Model, model).heads[self.config.text].proj  # pyright: ignore[reportAttributeAccessIssue]
        tokens = out.trunk.x[keep]
        smoothing = self.config.label_smoothing if model.training else 0.0
        total = chunked_cross_entropy(
            tokens, head.weight, head.bias, target[keep], smoothing, self.config.loss_chunk
        )
        return LossOutput(total, keep.sum())

    # -------------------------------------------------------------- evaluation and prediction

    def evaluate(self, model: nn.Module, source: Source, split: str, limit: int | None, device: str) -> Evaluation:
        """Loss and perplexity over all captions, and the metrics of what the model itself says of each picture.

        A source that knows its own truth also gives `scene_accuracy`, in all and by number of objects.
        """
        part = _First(source.splits[split], limit)
        total, count = self._caption_loss(model, part, device)
        predictions, bad = self._say_all(cast(Model, model), source, part, device)
        metrics = {"loss": total / max(count, 1), "perplexity": perplexity(total, count)}
        if predictions:
            said, references = [p.text for p in predictions], [p.references for p in predictions]
            metrics |= {"cider_d": cider_d(said, references).mean, **bleu(said, references), **distinct(said)}
            metrics |= _accuracy(predictions)
        return Evaluation(metrics, len(predictions), predictions, bad)

    @torch.inference_mode()
    def _caption_loss(self, model: nn.Module, split: Split, device: str) -> tuple[float, int]:
        examples = self.examples(split, train=False)
        total, count = 0.0, 0
        by_length = np.argsort(examples.lengths, kind="stable")
        for start in range(0, len(by_length), 4 * _EVAL_BATCH):
            batch = examples.collate([examples[0, int(i)] for i in by_length[start : start + 4 * _EVAL_BATCH]])
            if batch.ids:
                loss = self.loss(model, batch.to(device))
                total, count = total + float(loss.total), count + int(loss.count)
        return total, count

    def _say_all(
        self, model: Model, source: Source, split: Split, device: str
    ) -> tuple[list[Prediction], tuple[BadSample, ...]]:
        pipeline = ImagePipeline(self.run.data.image, self.run.train.seed)
        predictions, bad = [], []
        for start in range(0, len(split), _EVAL_BATCH):
            records, pictures = [], []
            for index in range(start, min(start + _EVAL_BATCH, len(split))):
                record = split.record(index)
                try:
                    pictures.append(pipeline(split.read(index), record.id, None))
                    records.append((index, record))
                except BadImage as error:
                    bad.append(BadSample(record.id, error.reason, error.message))
            for (index, record), (text, score) in zip(records, self.say(model, pictures, device), strict=True):
                correct = source.describes(split.name, index, text)
                predictions.append(Prediction(record.id, text, record.captions, correct, score))
        return predictions, tuple(bad)

    def say(self, model: Model, pictures: Sequence[Tensor], device: str) -> list[tuple[str, float]]:
        """A caption of each picture (uint8 [3, h, w]) and its log-probability in nats."""
        if not pictures:
            return []
        if self.config.blank:
            pictures = [torch.zeros_like(p) for p in pictures]
        image = on_canvas(pictures)
        inputs = {self.config.image: ImageInput(*(None if t is None else t.to(device) for t in image))}
        out = generate(model, inputs, self.config.decode, self.vocabulary, self.config.text)
        return [(self.tokenizer.decode(ids), score) for ids, score in zip(out.ids, out.log_probs, strict=True)]

    def image_config(self) -> ImageTowerConfig:
        """The tower that sees."""
        return cast(ImageTowerConfig, self.run.model.towers[self.config.image])


class _First:
    """The first records of a split."""

    def __init__(self, split: Split, limit: int | None) -> None:
        self.name, self.split = split.name, split
        self.length = len(split) if limit is None else min(limit, len(split))

    def __len__(self) -> int:
        return self.length

    def record(self, index: int):  # noqa: ANN202 - as the split it is part of
        """Record `index`."""
        return self.split.record(index)

    def read(self, index: int):  # noqa: ANN202
        """The picture of record `index`."""
        return self.split.read(index)


def _accuracy(predictions: Sequence[Prediction]) -> dict[str, float]:
    judged = [p for p in predictions if p.correct is not None]
    return {"scene_accuracy": sum(bool(p.correct) for p in judged) / len(judged)} if judged else {}
