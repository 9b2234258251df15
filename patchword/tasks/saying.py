"""Tasks that read something and say a text, one word after another: what captioning, translation and others share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self, cast

import numpy as np
import torch
from torch import Tensor, nn

from patchword.config import ModelConfig, RunConfig, SayingTaskConfig, TextTowerConfig, UserError
from patchword.config.speaking import said_tower
from patchword.data.base import Record, Source, Split
from patchword.data.batch import BadSample, Batch
from patchword.data.image import BadImage, ImagePipeline
from patchword.data.strings import Strings
from patchword.models.generate import Vocabulary, generate, prepared, searched
from patchword.models.model import Model
from patchword.nn.heads import LanguageHead
from patchword.sequence import ImageInput, TextInput
from patchword.tasks.asked import Asked, asked_name
from patchword.tasks.base import Evaluation, LossOutput, Prediction, Query, Task
from patchword.tasks.gathered import of_all_ranks, own_share
from patchword.tasks.losses import chunked_cross_entropy
from patchword.tasks.metrics import perplexity
from patchword.tasks.pictures import FirstRecords
from patchword.tasks.shown import Reads, Shown, text_input
from patchword.tasks.tokenizers import Tokenizers

_EVAL_BATCH = 50  # samples
_EVAL_TEXTS = 5  # texts of a sample whose loss is taken together


class Saying(NamedTuple):
    """One text to learn, and what is read before it."""

    reads: Reads
    """Token ids that each reading tower gets."""
    says: list[int]
    """Token ids of the text, `<bos>` and `<eos>` included."""


class Example(NamedTuple):
    """One sample with some of what is said of it."""

    id: str
    pixels: Tensor | None
    """uint8 [3, height, width]; None: the task sees no pictures."""
    sayings: list[Saying]


class SayExamples:
    """The samples of a split, each with `together` of its texts at a time; goes to worker processes.

    Texts of like length are put together, so that little is padded. A sample with fewer left than `together` gets
    empty ones, which have no part in the loss.
    """

    def __init__(self, split: Split, task: SayingTask, train: bool, together: int) -> None:
        self.split, self.train, self.together, self.shown = split, train, together, task.shown
        self.text, self.pad_id = task.text, task.tokenizer.pad_id
        self.pipeline = ImagePipeline(task.run.data.image, task.run.train.seed)
        self.groups: list[tuple[int, list[Saying]]] = []
        names: list[str] = []
        for index in range(len(split)):
            record = split.record(index)
            names.append(record.id)
            sayings = sorted(task.sayings(record), key=lambda own: len(own.says))
            self.groups += [(index, sayings[i : i + together]) for i in range(0, len(sayings), together)]
        self.names = Strings(names)  # asked for with every picture: a source may have to make its texts first
        self.answers = np.zeros(0, dtype=np.int64)
        self.lengths = np.array([_length(sayings) * together for _, sayings in self.groups], dtype=np.int64)

    def __len__(self) -> int:
        return len(self.groups)

    def __getitem__(self, key: tuple[int, int]) -> Example | BadSample:
        """Example `key[1]` as epoch `key[0]` sees it."""
        index, sayings = self.groups[key[1]]
        name = self.names[index]
        if self.shown.image is None:
            return Example(name, None, sayings)
        try:
            pixels = self.pipeline(self.split.read(index), name, key if self.train else None)
        except BadImage as error:
            return BadSample(name, error.reason, error.message)
        return Example(name, pixels, sayings)

    def collate(self, examples: Sequence[Example | BadSample]) -> Batch:
        """B pictures on one canvas, B x `together` texts padded on the right."""
        good = [e for e in examples if isinstance(e, Example)]
        bad = tuple(e for e in examples if isinstance(e, BadSample))
        nothing = Saying({}, [])
        rows = [s for e in good for s in [*e.sayings, *[nothing] * (self.together - len(e.sayings))]]
        says = text_input([row.says for row in rows], self.pad_id)
        assert says.valid is not None
        predicted = says.valid[:, 1:]  # the last real token has nothing to predict
        inputs = self.shown.inputs([e.pixels for e in good if e.pixels is not None], [row.reads for row in rows])
        inputs[self.text] = TextInput(says.ids[:, :-1], predicted)
        targets = {"said": says.ids[:, 1:], "predicted": predicted}
        return Batch(inputs, targets, tuple(e.id for e in good), bad)


def _length(sayings: Sequence[Saying]) -> int:
    read = max((sum(map(len, own.reads.values())) for own in sayings), default=0)
    return len(sayings[-1].says) + read


class SayingTask(Task):
    """Learns to say a text of what it sees and reads; knows the tokenizers.

    A subclass says what is asked about a record, and how good what was said is.
    """

    def __init__(self, config: SayingTaskConfig, run: RunConfig, tokenizers: Tokenizers) -> None:
        self.config, self.run, self.tokenizers = config, run, tokenizers
        self.text = said_tower(run.model, config.head)
        self.tokenizer = tokenizers[self.text]
        self.vocabulary = Vocabulary(self.tokenizer.bos_id, self.tokenizer.eos_id, self.tokenizer.pad_id)
        self.shown = Shown(config.image, config.reads, tokenizers, config.blank)

    # -------------------------------------------------------------- what a kind says

    @classmethod
    @abstractmethod
    def asked(cls, config: SayingTaskConfig, record: Record) -> Sequence[Asked]:
        """What a model is asked about a record, and what people say."""

    @abstractmethod
    def judge(self, predictions: Sequence[Prediction]) -> dict[str, float]:
        """Metrics of what was said against its references, by name; at least one prediction."""

    def marked(self, prediction: Prediction, source: Source, split: str, index: int) -> Prediction:
        """A prediction of record `index` with what the source knows of its truth."""
        del source, split, index
        return prediction

    # -------------------------------------------------------------- what it knows of the data

    @classmethod
    def prepare(cls, run: RunConfig, source: Source) -> Self:
        """With tokenizers trained on what is read and said in the training split."""
        config = cast(SayingTaskConfig, run.task)
        split, said = source.splits["train"], said_tower(run.model, config.head)

        def texts(tower: str) -> Iterator[str]:
            for index in range(len(split)):
                for asked in cls.asked(config, split.record(index)):
                    yield from asked.answers if tower == said else (asked.reads[tower],)

        return cls(config, run, Tokenizers.train(run, [*config.reads, said], texts))

    @classmethod
    def load(cls, run: RunConfig, folder: Path) -> Self:
        """With the tokenizers in `folder`."""
        config = cast(SayingTaskConfig, run.task)
        towers = [*config.reads, said_tower(run.model, config.head)]
        return cls(config, run, Tokenizers.load(run, towers, folder))

    def save(self, folder: Path) -> None:
        """Write the tokenizers."""
        self.tokenizers.save(folder)

    def model_config(self) -> ModelConfig:
        """The run's model with the sizes of the vocabularies filled in.

        Raises:
            UserError: a vocabulary has no room for its tokenizer's entries.
        """
        return self.tokenizers.model_config()

    @property
    def max_tokens(self) -> int:
        """Most tokens of a text, `<bos>` and `<eos>` included: what the text tower can place, and one to predict."""
        return cast(TextTowerConfig, self.run.model.towers[self.text]).max_len + 1

    def said_ids(self, text: str) -> list[int]:
        """Token ids of what is said, `<bos>` and `<eos>` included, cut to what the model can place."""
        return self.tokenizers.ids(self.text, text, extra=1)

    def sayings(self, record: Record) -> list[Saying]:
        """Every text of a record, each with what is read before it."""
        return [
            Saying(reads, self.said_ids(answer))
            for asked in self.asked(self.config, record)
            for reads in [self.shown.ids(asked.reads)]
            for answer in asked.answers
        ]

    # -------------------------------------------------------------- learning

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
        inputs: dict[str, ImageInput | TextInput] = {}
        if config.image is not None:
            pixels = torch.zeros(size, 3, run.data.image.height, run.data.image.width, dtype=torch.uint8)
            inputs[config.image] = ImageInput(pixels)
        for tower in config.reads:
            length = cast(TextTowerConfig, run.model.towers[tower]).max_len
            read = torch.zeros(rows, length, dtype=torch.long)
            inputs[tower] = TextInput(read, torch.ones(rows, length, dtype=torch.bool))
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

    # -------------------------------------------------------------- evaluation and prediction

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

    def predict(self, model: nn.Module, queries: Sequence[Query], device: str) -> list[Prediction]:
        """What is said to each query. Its text is what is read; where nothing is, what is said begins with it."""
        if not queries:
            return []
        pictures, reads = self.shown.of_queries(queries)
        prompts = [None if self.shown.reads else query.text for query in queries]
        said: dict[int, tuple[str, float]] = {}
        for prompt in dict.fromkeys(prompts):
            rows = [row for row, own in enumerate(prompts) if own == prompt]
            seen = [pictures[row] for row in rows] if pictures else []
            texts = self.say(cast(Model, model), seen, [reads[row] for row in rows], device, prompt)
            said |= dict(zip(rows, texts, strict=True))
        return [Prediction(query.id, said[row][0], score=said[row][1]) for row, query in enumerate(queries)]

    def say(
        self,
        model: Model,
        pictures: Sequence[Tensor],
        reads: Sequence[Mapping[str, list[int]]],
        device: str,
        prompt: str | None = None,
    ) -> list[tuple[str, float]]:
        """A text of each sample that begins with `prompt`, and its log-probability in nats.

        Args:
            model: in eval mode.
            pictures: uint8 [3, h, w] each; none where the task sees none.
            reads: what each sample's reading towers get.
            device: where the model is.
            prompt: how every text begins; None: freely.

        Raises:
            UserError: the prompt holds words that the vocabulary lacks, or is too long.
        """
        if not reads:
            return []
        lacking = [word for word in (prompt or "").split() if self.tokenizer.unk_id in self.tokenizer.encode(word)]
        if lacking:
            raise UserError(f"the text to begin with holds what the model has no word for: {', '.join(lacking)}")
        batch = Batch(self.shown.inputs(pictures, reads), {}, ()).to(device)
        start = self.tokenizer.encode(prompt or "")[:-1]
        prompts = torch.tensor(start, device=device).expand(len(reads), -1)
        # the whole text has to find a place in the model
        most = max(1, min(self.config.decode.max_len, self.max_tokens - len(start)))
        decode = self.config.decode.replace(max_len=most)
        out = generate(model, batch.inputs, decode, self.vocabulary, self.config.head, prompts)
        texts = [self.tokenizer.decode([*start, *ids]) for ids in out.ids]
        return list(zip(texts, out.log_probs, strict=True))


def summed_loss(config: SayingTaskConfig, model: nn.Module, tokens: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy of tokens [n, D] against the next ones, int [n], summed."""
    head = cast(LanguageHead, cast(Model, model).heads[config.head])
    smoothing, scores = config.label_smoothing if model.training else 0.0, head.proj
    return chunked_cross_entropy(head.given(tokens), scores.weight, scores.bias, target, smoothing, config.loss_chunk)


def _asked_once(batch: Batch, text: str, together: int) -> dict[str, Any]:
    """What the towers beside `text` read of a batch with `together` texts a sample: who asks once asks no more."""
    inputs: dict[str, Any] = {name: own for name, own in batch.inputs.items() if name != text}
    for name, own in inputs.items():
        if isinstance(own, TextInput):
            valid = None if own.valid is None else own.valid[::together]
            inputs[name] = TextInput(own.ids[::together], valid)
    return inputs
