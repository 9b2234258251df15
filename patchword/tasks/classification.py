"""Classification: a picture in, one of some classes out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Self, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from patchword.config import ClassificationTaskConfig, LabelHeadConfig, ModelConfig, RunConfig, UserError, implements
from patchword.data.base import Source, Split
from patchword.data.batch import BadSample, Batch
from patchword.data.image import BadImage, ImagePipeline
from patchword.data.strings import Strings
from patchword.sequence import ImageInput, TextInput
from patchword.tasks.base import Evaluation, LossOutput, Prediction, Query, Task
from patchword.tasks.labels import UNSEEN, Labels, label_of
from patchword.tasks.metrics import accuracy, calibration_error, confusion_of, top_accuracy
from patchword.tasks.pictures import FirstRecords, needed_pictures, on_canvas

_EVAL_BATCH = 100  # pictures
_CHOICES = 5


class Example(NamedTuple):
    """One picture and its class."""

    id: str
    pixels: Tensor
    """uint8 [3, height, width]."""
    label: int
    """Its number; -1: training has no such class."""


class LabelExamples:
    """The pictures of a split with their classes; goes to worker processes."""

    def __init__(self, split: Split, task: ClassificationTask, train: bool) -> None:
        self.split, self.train, self.image = split, train, task.config.image
        self.pipeline = ImagePipeline(task.run.data.image, task.run.train.seed)
        records = [split.record(index) for index in range(len(split))]
        self.names = Strings(record.id for record in records)
        self.truths = Strings(label_of(record) for record in records)
        self.answers = np.array([task.labels.number(name) for name in self.truths], dtype=np.int64)
        self.lengths = np.zeros(len(records), dtype=np.int64)  # no text: any of them go together

    def __len__(self) -> int:
        return len(self.answers)

    def __getitem__(self, key: tuple[int, int]) -> Example | BadSample:
        """Example `key[1]` as epoch `key[0]` sees it."""
        index = key[1]
        name = self.names[index]
        try:
            pixels = self.pipeline(self.split.read(index), name, key if self.train else None)
        except BadImage as error:
            return BadSample(name, error.reason, error.message)
        return Example(name, pixels, int(self.answers[index]))

    def collate(self, examples: Sequence[Example | BadSample]) -> Batch:
        """B pictures on one canvas, and their classes, int [B]."""
        good = [e for e in examples if isinstance(e, Example)]
        bad = tuple(e for e in examples if isinstance(e, BadSample))
        labels = torch.tensor([e.label for e in good], dtype=torch.long)
        inputs: dict[str, ImageInput | TextInput] = {self.image: on_canvas([e.pixels for e in good])}
        return Batch(inputs, {"label": labels}, tuple(e.id for e in good), bad)


@implements(ClassificationTaskConfig)
class ClassificationTask(Task):
    """Learns which class a picture is of; knows the classes of the training data."""

    def __init__(self, config: ClassificationTaskConfig, run: RunConfig, labels: Labels) -> None:
        self.config, self.run, self.labels = config, run, labels
        given = labels.weights(config.class_weights)
        self.weights = torch.tensor(given) if config.class_weights else None

    @classmethod
    def prepare(cls, run: RunConfig, source: Source) -> Self:
        """With the classes of the training split."""
        return cls(cast(ClassificationTaskConfig, run.task), run, Labels.of(source.splits["train"]))

    @classmethod
    def load(cls, run: RunConfig, folder: Path) -> Self:
        """With the classes in `folder`."""
        return cls(cast(ClassificationTaskConfig, run.task), run, Labels.load(folder))

    def save(self, folder: Path) -> None:
        """Write `labels.json`."""
        self.labels.save(folder)

    def model_config(self) -> ModelConfig:
        """The run's model with the number of classes filled in."""
        heads, name = dict(self.run.model.heads), self.config.head
        head = cast(LabelHeadConfig, heads[name])
        if head.num_classes not in (None, len(self.labels)):
            raise UserError(
                f"model.heads.{name}.num_classes is {head.num_classes}, but the training data has {len(self.labels)} "
                "classes: leave it null"
            )
        heads[name] = head.replace(num_classes=len(self.labels))
        return self.run.model.replace(heads=heads)

    def examples(self, split: Split, train: bool) -> LabelExamples:
        """The pictures of a split with their classes."""
        return LabelExamples(split, self, train)

    def loss(self, model: nn.Module, batch: Batch) -> LossOutput:
        """Cross-entropy of each picture's class, summed, by the weights of classes where there are any."""
        target = batch.targets["label"]
        weights = None if self.weights is None else self.weights.to(target.device)
        total = _summed_loss(self.config, model, batch, weights)
        count = torch.tensor(len(target), device=target.device) if weights is None else weights[target].sum()
        return LossOutput(total, count)

    @classmethod
    def full_batch(cls, run: RunConfig, size: int) -> Batch:
        """`size` pictures of the configured size."""
        config, image = cast(ClassificationTaskConfig, run.task), run.data.image
        pixels = torch.zeros(size, 3, image.height, image.width, dtype=torch.uint8)
        return Batch({config.image: ImageInput(pixels)}, {"label": torch.zeros(size, dtype=torch.long)}, ())

    @classmethod
    def rehearse(cls, run: RunConfig, model: nn.Module, batch: Batch) -> Tensor:
        """As `loss`."""
        config = cast(ClassificationTaskConfig, run.task)
        return _summed_loss(config, model, batch, None) / len(batch.targets["label"])

    @classmethod
    def rehearse_generation(cls, run: RunConfig, model: nn.Module, batch: Batch) -> object:
        """Nothing is generated."""
        del run, model, batch
        raise UserError("classification says nothing token by token: size it in training or inference")

    # -------------------------------------------------------------- evaluation and prediction

    def evaluate(self, model: nn.Module, source: Source, split: str, limit: int | None, device: str) -> Evaluation:
        """Accuracy, also by group, top-5 accuracy (of more than five classes), calibration error, loss.

        The loss is the mean over pictures of classes that training had, without weights or smoothing: infinite where
        there are none of these. The others count as wrong everywhere else, and are counted in `unseen_labels`.
        """
        part = FirstRecords(source.splits[split], limit)
        examples = self.examples(part, train=False)
        chances, labels, places, bad = self._look(model, examples, device)
        scores = chances.exp().numpy()
        seen = labels != UNSEEN
        losses = -chances.numpy()[seen, labels[seen]].astype(np.float64)
        metrics = {"loss": float(losses.mean()) if len(losses) else float("inf"), "accuracy": accuracy(scores, labels)}
        if len(self.labels) > _CHOICES:
            metrics["top5_accuracy"] = top_accuracy(scores, labels, _CHOICES)
        metrics["calibration_error"] = calibration_error(scores, labels)
        if not seen.all():
            metrics["unseen_labels"] = float((~seen).sum())
        predictions = []
        for row, place in enumerate(places):
            said, truth = self._prediction(examples.names[place], chances[row]), examples.truths[place]
            group = source.group(split, place)
            predictions.append(said._replace(references=(truth,), correct=said.text == truth, group=group))
        said = [p.text for p in predictions]
        true = [examples.truths[place] for place in places]
        confusion = confusion_of(said, true, self.labels.names)
        return Evaluation(metrics | _by_group(predictions), len(predictions), predictions, bad, confusion)

    @torch.inference_mode()
    def _look(
        self, model: nn.Module, examples: LabelExamples, device: str
    ) -> tuple[Tensor, np.ndarray, list[int], tuple[BadSample, ...]]:
        """Log-probabilities [n, C], true classes [n], places in the split, and what could not be read."""
        chances, labels, places, bad = [torch.zeros(0, len(self.labels))], [np.zeros(0, np.int64)], [], []
        for start in range(0, len(examples), _EVAL_BATCH):
            rows = range(start, min(start + _EVAL_BATCH, len(examples)))
            got = [examples[0, i] for i in rows]
            batch = examples.collate(got)
            bad += batch.bad
            if batch.ids:
                chances.append(self._log_chances(model, batch.to(device)))
                labels.append(batch.targets["label"].numpy())
                places += [i for i, example in zip(rows, got, strict=True) if isinstance(example, Example)]
        return torch.cat(chances), np.concatenate(labels), places, tuple(bad)

    def _log_chances(self, model: nn.Module, batch: Batch) -> Tensor:
        """Log-probability of each class, float32 [B, C], on the CPU."""
        return _scores(self.config, model, batch).float().log_softmax(-1).cpu()

    def _prediction(self, name: str, chances: Tensor) -> Prediction:
        """What log-probabilities [C] say; of classes equally likely, the first."""
        order = torch.argsort(-chances, stable=True)[:_CHOICES].tolist()
        choices = tuple((self.labels.names[i], float(chances[i].exp())) for i in order)
        return Prediction(name, choices[0][0], score=float(chances[order[0]]), choices=choices)

    @torch.inference_mode()
    def predict(self, model: nn.Module, queries: Sequence[Query], device: str) -> list[Prediction]:
        """The likeliest class of each picture, its log-probability, and the five likeliest."""
        if any(query.text is not None for query in queries):
            raise UserError("classification reads no text: leave it out (--text)")
        pictures = needed_pictures(queries)
        found = []
        for start in range(0, len(queries), _EVAL_BATCH):
            batch = Batch({self.config.image: on_canvas(pictures[start : start + _EVAL_BATCH])}, {}, ())
            chances = self._log_chances(model, batch.to(device))
            found += map(self._prediction, (q.id for q in queries[start : start + _EVAL_BATCH]), chances)
        return found


def _scores(config: ClassificationTaskConfig, model: nn.Module, batch: Batch) -> Tensor:
    """Scores of classes before the softmax, [B, C]."""
    return model(batch.inputs, heads=(config.head,)).heads[config.head]


def _summed_loss(config: ClassificationTaskConfig, model: nn.Module, batch: Batch, weights: Tensor | None) -> Tensor:
    smoothing = config.label_smoothing if model.training else 0.0
    scores = _scores(config, model, batch)
    return F.cross_entropy(scores, batch.targets["label"], weights, reduction="sum", label_smoothing=smoothing)


def _by_group(predictions: Sequence[Prediction]) -> dict[str, float]:
    groups: dict[str, list[bool]] = defaultdict(list)
    for prediction in predictions:
        if prediction.group is not None:
            groups[f"accuracy_{prediction.group}"].append(bool(prediction.correct))
    return {name: sum(right) / len(right) for name, right in sorted(groups.items())}
