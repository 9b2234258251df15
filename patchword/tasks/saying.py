"""Tasks that read something and say a text, one word after another: what captioning, translation and others share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from patchword.config import RunConfig, SayingTaskConfig, TextTowerConfig
from patchword.config.speaking import said_tower
from patchword.data.base import Record, Source, Split
from patchword.data.batch import BadSample, Batch
from patchword.data.image import BadImage, ImagePipeline
from patchword.models.decoding import Vocabulary
from patchword.models.generate import prepared, searched
from patchword.models.model import Model
from patchword.sequence import TextInput
from patchword.tasks.asked import Asked, asked_name
from patchword.tasks.base import Evaluation, LossOutput, Prediction
from patchword.tasks.gathered import of_all_ranks, own_share
from patchword.tasks.losses import said_loss
from patchword.tasks.metrics import perplexity
from patchword.tasks.pictures import FirstRecords
from patchword.tasks.say_examples import SayExamples, Saying
from patchword.tasks.shown import full_inputs
from patchword.tasks.speaking import SpeakingTask

_EVAL_BATCH = 50  # samples
_EVAL_TEXTS = 5  # texts of a sample whose loss is taken together


class SayingTask(SpeakingTask):
    """Learns to say a text of what it sees and reads.

    A subclass says what is asked about a record, and how good what was said is.
    """

    # -------------------------------------------------------------- what a kind says

    @abstractmethod
    def judge(self, predictions: Sequence[Prediction]) -> dict[str, float]:
        """Metrics of what was said against its references, by name; at least one prediction."""

    def marked(self, prediction: Prediction, source: Source, split: str, index: int) -> Prediction:
        """A prediction of record `index` with what the source knows of its truth."""
        del source, split, index
        return prediction

    # -------------------------------------------------------------- learning

    def sayings(self, record: Record) -> list[Saying]:
        """Every text of a record, each with what is read before it."""
        return [
            Saying(reads, self.said_ids(answer))
            for asked in self.asked(self.config, record)
            for reads in [self.shown.ids(asked.reads)]
            for answer in asked.answers
        ]

    def examples(self, split: Split, train: bool) -> SayExamples:
        """The samples of a split, each with `data.batch.captions` of its texts at a time."""
        return SayExamples(split, self, train, self.run.data.batch.captions)

    def loss(self, model: nn.Module, batch: Batch) -> LossOutput:
        """Cross-entropy of each next token, summed; samples that are missing have no part."""
        return self.said_loss(model, batch)

    def said_loss(self, model: nn.Module, batch: Batch) -> LossOutput:
        """As `loss`, also where a kind of task learns more than to say something."""
        target, keep = batch.targets["said"], batch.targets["predicted"]
        tokens = model(batch.inputs, heads=()).trunk.x[keep]
        return LossOutput(summed_loss(self.config, model, tokens, target[keep]), keep.sum())

    @classmethod
    def full_batch(cls, run: RunConfig, size: int) -> Batch:
        """`size` samples, each with as many texts as are learnt together, all as long as can be."""
        config = cast(SayingTaskConfig, run.task)
        text = said_tower(run.model, config.head)
        rows = size * run.data.batch.captions
        inputs = full_inputs(run, config.image, config.reads, size, rows)
        length = cast(TextTowerConfig, run.model.towers[text]).max_len
        ids = torch.zeros(rows, length + 1, dtype=torch.long)
        predicted = torch.ones(rows, length, dtype=torch.bool)
        inputs[text] = TextInput(ids[:, :-1], predicted)
        return Batch(inputs, {"said": ids[:, 1:], "predicted": predicted}, ())

    @classmethod
    def rehearse(cls, run: RunConfig, model: nn.Module, batch: Batch) -> Tensor:
        """As `loss`, all tokens at once: none of a full batch is padding."""
        config = cast(SayingTaskConfig, run.task)
        tokens = model(batch.inputs, heads=()).trunk.x.flatten(0, 1)
        target = batch.targets["said"].flatten()
        return summed_loss(config, model, tokens, target) / len(target)

    @classmethod
    def rehearse_generation(cls, run: RunConfig, model: nn.Module, batch: Batch) -> object:
        """Say a text of every sample, to the greatest length."""
        config = cast(SayingTaskConfig, run.task)
        text = said_tower(run.model, config.head)
        inputs = _asked_once(batch, text, run.data.batch.captions)
        limit = cast(TextTowerConfig, run.model.towers[text]).max_len
        decode = config.decode.replace(max_len=min(config.decode.max_len, limit))
        prompt = torch.ones(len(next(iter(inputs.values()))[0]), 1, dtype=torch.long)
        del batch  # who asks has no answers
        any_ids = Vocabulary(bos_id=1, eos_id=2, pad_id=0)
        return searched(cast(Model, model), inputs, decode, any_ids, config.head, prompt)

    # -------------------------------------------------------------- evaluation

    def evaluate(self, model: nn.Module, source: Source, split: str, limit: int | None, device: str) -> Evaluation:
        """Loss and perplexity over all texts, and the metrics of what the model itself says."""
        part = FirstRecords(source.splits[split], limit)
        total, count = self._loss_of(model, part, device)
        predictions, bad = self._say_all(cast(Model, model), source, part, device)
        metrics = {"loss": total / max(count, 1), "perplexity": perplexity(total, count)}
        return Evaluation(
            metrics | (self.judge(predictions) if predictions else {}), len(predictions), predictions, bad
        )

    @torch.inference_mode()
    def _loss_of(self, model: nn.Module, split: Split, device: str) -> tuple[float, int]:
        most = max((len(self.sayings(split.record(i))) for i in range(len(split))), default=1)
        examples = SayExamples(split, self, train=False, together=max(1, min(most, _EVAL_TEXTS)))
        total, count, share = 0.0, 0, own_share(len(examples))
        for start in range(share.start, share.stop, _EVAL_BATCH):
            rows = range(start, min(start + _EVAL_BATCH, share.stop))
            batch = examples.collate([examples[0, i] for i in rows])
            if batch.ids:
                loss = self.said_loss(model, batch.to(device))
                total, count = total + float(loss.total), count + int(loss.count)
        totals, counts = zip(*of_all_ranks([(total, count)]), strict=True)
        return sum(totals), sum(counts)

    def _say_all(
        self, model: Model, source: Source, split: Split, device: str
    ) -> tuple[list[Prediction], tuple[BadSample, ...]]:
        pipeline = ImagePipeline(self.run.data.image, self.run.train.seed)
        predictions, bad, model, share = [], [], prepared(model), own_share(len(split))
        for start in range(share.start, share.stop, _EVAL_BATCH):
            places: list[tuple[int, str, Asked]] = []
            pictures: list[Tensor] = []
            for index in range(start, min(start + _EVAL_BATCH, share.stop)):
                record = split.record(index)
                every = self.asked(self.config, record)
                if self.config.image is not None:
                    try:
                        pictures += [pipeline(split.read(index), record.id, None)] * len(every)
                    except BadImage as error:
                        bad.append(BadSample(record.id, error.reason, error.message))
                        continue
                places += [(index, asked_name(record.id, n, len(every)), own) for n, own in enumerate(every)]
            said = self.say(model, pictures, [self.shown.ids(own.reads) for _, _, own in places], device)
            for (index, name, own), (text, score) in zip(places, said, strict=True):
                read = "\n".join(own.reads.values()) or None
                prediction = Prediction(name, text, own.answers, score=score, group=own.group, read=read)
                predictions.append(self.marked(prediction, source, split.name, index))
        return of_all_ranks(predictions), tuple(of_all_ranks(bad))


def summed_loss(config: SayingTaskConfig, model: nn.Module, tokens: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy of tokens [n, D] against the next ones, int [n], summed."""
    smoothing = config.label_smoothing if model.training else 0.0
    return said_loss(cast(Model, model).heads[config.head], tokens, target, smoothing, config.loss_chunk)


def _asked_once(batch: Batch, text: str, together: int) -> dict[str, Any]:
    """What the towers beside `text` read of a batch with `together` texts a sample: who asks once asks no more."""
    inputs: dict[str, Any] = {name: own for name, own in batch.inputs.items() if name != text}
    for name, own in inputs.items():
        if isinstance(own, TextInput):
            valid = None if own.valid is None else own.valid[::together]
            inputs[name] = TextInput(own.ids[::together], valid)
    return inputs
