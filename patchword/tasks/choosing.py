"""Tasks whose answer is one of the classes of the training data: what classification and others share."""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self, cast

import numpy as np
import torch
from torch import Tensor, nn

from patchword.config import ChoosingTaskConfig, LabelHeadConfig, ModelConfig, RunConfig, UserError
from patchword.data.base import Record, Source, Split
from patchword.data.batch import BadSample, Batch
from patchword.tasks.asked import Asked
from patchword.tasks.base import Evaluation, LossOutput, Prediction, Query, Task
from patchword.tasks.choose_examples import ChooseExamples, Example
from patchword.tasks.gathered import of_all_ranks, own_share
from patchword.tasks.labels import UNSEEN, Labels
from patchword.tasks.losses import focal_cross_entropy
from patchword.tasks.metrics import accuracy, calibration_error, confusion_of, top_accuracy
from patchword.tasks.pictures import FirstRecords
from patchword.tasks.shown import Shown, full_inputs
from patchword.tasks.tokenizers import Tokenizers

_EVAL_BATCH = 100  # samples
_CHOICES = 5


class ChoosingTask(Task):
    """Learns which class is right for what it sees and reads; knows the classes of the training data.

    A subclass says what is asked about a record, and how good the choices are beyond accuracy.
    """

    def __init__(self, config: ChoosingTaskConfig, run: RunConfig, labels: Labels, tokenizers: Tokenizers) -> None:
        self.config, self.run, self.labels, self.tokenizers = config, run, labels, tokenizers
        given = labels.weights(config.class_weights)
        self.weights = torch.tensor(given) if config.class_weights else None
        self.shown = Shown(config.image, config.reads, tokenizers, config.blank)

    # -------------------------------------------------------------- what a kind says

    @classmethod
    @abstractmethod
    def asked(cls, config: ChoosingTaskConfig, record: Record) -> Sequence[Asked]:
        """What a model is asked about a record, and the classes that people say."""

    @classmethod
    def truth(cls, asked: Asked) -> str:
        """The class that is learnt: what most people say, of several the first."""
        return Counter(asked.answers).most_common(1)[0][0]

    @classmethod
    def most_labels(cls, config: ChoosingTaskConfig) -> int | None:
        """Most classes that a model has: the most frequent ones; None: all."""
        del config

    def judge(self, scores: np.ndarray, labels: np.ndarray, predictions: Sequence[Prediction]) -> dict[str, float]:
        """More metrics, by name.

        Args:
            scores: probability of each class, float [n, C].
            labels: the right ones, int [n]; -1: training has no such class.
            predictions: what was said of each.
        """
        del scores, labels, predictions
        return {}

    # -------------------------------------------------------------- what it knows of the data

    @classmethod
    def prepare(cls, run: RunConfig, source: Source) -> Self:
        """With the classes of the training split, and tokenizers trained on what is read there."""
        config = cast(ChoosingTaskConfig, run.task)
        split = source.splits["train"]

        def every() -> Iterator[Asked]:
            for index in range(len(split)):
                yield from cls.asked(config, split.record(index))

        labels = Labels.of(map(cls.truth, every()), f"split {split.name!r}", cls.most_labels(config))
        texts = Tokenizers.train(run, list(config.reads), lambda tower: (own.reads[tower] for own in every()))
        return cls(config, run, labels, texts)

    @classmethod
    def load(cls, run: RunConfig, folder: Path) -> Self:
        """With the classes and tokenizers in `folder`."""
        config = cast(ChoosingTaskConfig, run.task)
        return cls(config, run, Labels.load(folder), Tokenizers.load(run, list(config.reads), folder))

    def save(self, folder: Path) -> None:
        """Write `labels.json` and the tokenizers."""
        self.labels.save(folder)
        self.tokenizers.save(folder)

    def model_config(self) -> ModelConfig:
        """The run's model with the number of classes and the sizes of the vocabularies filled in."""
        model = self.tokenizers.model_config()
        heads, name = dict(model.heads), self.config.head
        head = cast(LabelHeadConfig, heads[name])
        if head.num_classes not in (None, len(self.labels)):
            raise UserError(
                f"model.heads.{name}.num_classes is {head.num_classes}, but the training data has {len(self.labels)} "
                "classes: leave it null"
            )
        heads[name] = head.replace(num_classes=len(self.labels))
        return model.replace(heads=heads)

    # -------------------------------------------------------------- learning

    def examples(self, split: Split, train: bool) -> ChooseExamples:
        """What is asked about the records of a split, with the right classes."""
        return ChooseExamples(split, self, train)

    def loss(self, model: nn.Module, batch: Batch) -> LossOutput:
        """Cross-entropy of each right class, summed, by the weights of classes where there are any."""
        target = batch.targets["label"]
        weights = None if self.weights is None else self.weights.to(target.device)
        total = _summed_loss(self.config, model, batch, weights)
        count = torch.tensor(len(target), device=target.device) if weights is None else weights[target].sum()
        return LossOutput(total, count)

    @classmethod
    def full_batch(cls, run: RunConfig, size: int) -> Batch:
        """`size` pictures of the configured size with texts as long as can be."""
        config = cast(ChoosingTaskConfig, run.task)
        inputs = full_inputs(run, config.image, config.reads, size, size)
        return Batch(inputs, {"label": torch.zeros(size, dtype=torch.long)}, ())

    @classmethod
    def rehearse(cls, run: RunConfig, model: nn.Module, batch: Batch) -> Tensor:
        """As `loss`."""
        config = cast(ChoosingTaskConfig, run.task)
        return _summed_loss(config, model, batch, None) / len(batch.targets["label"])

    @classmethod
    def rehearse_generation(cls, run: RunConfig, model: nn.Module, batch: Batch) -> object:
        """Nothing is generated."""
        del model, batch
        raise UserError(f"{run.task.kind} says nothing token by token: size it in training or inference")

    # -------------------------------------------------------------- evaluation and prediction

    def evaluate(self, model: nn.Module, source: Source, split: str, limit: int | None, device: str) -> Evaluation:
        """Accuracy, also by group, top-5 accuracy (of more than five classes), calibration error, loss.

        The loss is the mean over samples of classes that training had, without weights or smoothing: infinite where
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
            group = examples.groups[place] or source.group(split, int(examples.records[place]))
            references, read = examples.asked[place], examples.texts[place] or None
            correct = said.text == truth
            predictions.append(said._replace(references=references, correct=correct, group=group, read=read))
        said = [p.text for p in predictions]
        true = [examples.truths[place] for place in places]
        confusion = confusion_of(said, true, self.labels.names)
        metrics |= _by_group(predictions) | self.judge(scores, labels, predictions)
        return Evaluation(metrics, len(predictions), predictions, bad, confusion)

    @torch.inference_mode()
    def _look(
        self, model: nn.Module, examples: ChooseExamples, device: str
    ) -> tuple[Tensor, np.ndarray, list[int], tuple[BadSample, ...]]:
        """Log-probabilities [n, C], true classes [n], places among the examples, and what could not be read."""
        chances, labels, places, bad = [torch.zeros(0, len(self.labels))], [np.zeros(0, np.int64)], [], []
        share = own_share(len(examples))
        for start in range(share.start, share.stop, _EVAL_BATCH):
            rows = range(start, min(start + _EVAL_BATCH, share.stop))
            got = [examples[0, i] for i in rows]
            batch = examples.collate(got)
            bad += batch.bad
            if batch.ids:
                chances.append(self._log_chances(model, batch.to(device)))
                labels.append(batch.targets["label"].numpy())
                places += [i for i, example in zip(rows, got, strict=True) if isinstance(example, Example)]
        chances, labels, bad = of_all_ranks(chances), of_all_ranks(labels), of_all_ranks(bad)
        return torch.cat(chances), np.concatenate(labels), of_all_ranks(places), tuple(bad)

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
        """The likeliest class for each query, its log-probability, and the five likeliest."""
        if not self.shown.reads and any(query.text is not None for query in queries):
            raise UserError("this model reads no text: leave it out (--text)")
        pictures, reads = self.shown.of_queries(queries)
        found = []
        for start in range(0, len(queries), _EVAL_BATCH):
            rows = slice(start, start + _EVAL_BATCH)
            batch = Batch(self.shown.inputs(pictures[rows], reads[rows]), {}, ())
            chances = self._log_chances(model, batch.to(device))
            found += map(self._prediction, (q.id for q in queries[rows]), chances)
        return found


def _scores(config: ChoosingTaskConfig, model: nn.Module, batch: Batch) -> Tensor:
    """Scores of classes before the softmax, [B, C]."""
    return model(batch.inputs, heads=(config.head,)).heads[config.head]


def _summed_loss(config: ChoosingTaskConfig, model: nn.Module, batch: Batch, weights: Tensor | None) -> Tensor:
    smoothing = config.label_smoothing if model.training else 0.0
    scores, gamma = _scores(config, model, batch), config.focal if model.training else 0.0
    return focal_cross_entropy(scores, batch.targets["label"], gamma, weights, smoothing)


def _by_group(predictions: Sequence[Prediction]) -> dict[str, float]:
    groups: dict[str, list[bool]] = defaultdict(list)
    for prediction in predictions:
        if prediction.group is not None:
            groups[f"accuracy_{prediction.group}"].append(bool(prediction.correct))
    return {name: sum(right) / len(right) for name, right in sorted(groups.items())}
