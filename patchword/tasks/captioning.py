"""Captioning: a picture in, a sentence out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self, cast

import numpy as np
import torch
from torch import Tensor, nn

from patchword.config import (
    CaptioningTaskConfig,
    ModelConfig,
    RunConfig,
    TextTowerConfig,
    UserError,
    implements,
)
from patchword.data.base import Source, Split
from patchword.data.batch import BadSample, Batch
from patchword.data.image import BadImage, ImagePipeline
from patchword.data.strings import Strings
from patchword.data.text import Tokenizer
from patchword.models.generate import Vocabulary, generate, prepared, searched
from patchword.models.inspect import picture_attention
from patchword.models.model import Model
from patchword.nn.heads import LanguageHead
from patchword.sequence import ImageInput, TextInput
from patchword.tasks.base import Evaluation, LossOutput, Prediction, Query, Task
from patchword.tasks.losses import chunked_cross_entropy
from patchword.tasks.metrics import bleu, cider_d, distinct, perplexity
from patchword.tasks.pictures import FirstRecords, needed_pictures, on_canvas

_TOKENIZER_TEXTS = 100_000  # captions that a tokenizer is trained on; more change little and cost minutes
_EVAL_BATCH = 50  # pictures
_EVAL_CAPTIONS = 5  # captions of a picture whose loss is taken together


class Example(NamedTuple):
    """One picture with some of its captions."""

    id: str
    pixels: Tensor
    """uint8 [3, height, width]."""
    captions: list[list[int]]
    """Token ids of each, `<bos>` and `<eos>` included."""


class CaptionExamples:
    """The pictures of a split, each with `together` of its captions at a time; goes to worker processes.

    Captions of like length are put together, so that little is padded. A picture with fewer left than `together` gets
    empty ones, which have no part in the loss.
    """

    def __init__(self, split: Split, task: CaptioningTask, train: bool, together: int) -> None:
        self.split, self.train, self.together = split, train, together
        self.image, self.text, self.blank = task.config.image, task.config.text, task.config.blank
        self.pipeline = ImagePipeline(task.run.data.image, task.run.train.seed)
        self.pad_id = task.tokenizer.pad_id
        self.groups: list[tuple[int, list[list[int]]]] = []
        names: list[str] = []
        for index in range(len(split)):
            record = split.record(index)
            names.append(record.id)
            ids = sorted(map(task.caption_ids, record.texts["caption"]), key=len)
            self.groups += [(index, ids[i : i + together]) for i in range(0, len(ids), together)]
        self.names = Strings(names)  # asked for with every picture: a source may have to make its captions first
        self.answers = np.zeros(0, dtype=np.int64)
        self.lengths = np.array([len(ids[-1]) * together for _, ids in self.groups], dtype=np.int64)

    def __len__(self) -> int:
        return len(self.groups)

    def __getitem__(self, key: tuple[int, int]) -> Example | BadSample:
        """Example `key[1]` as epoch `key[0]` sees it."""
        index, captions = self.groups[key[1]]
        name = self.names[index]
        try:
            pixels = self.pipeline(self.split.read(index), name, key if self.train else None)
        except BadImage as error:
            return BadSample(name, error.reason, error.message)
        return Example(name, torch.zeros_like(pixels) if self.blank else pixels, captions)

    def collate(self, examples: Sequence[Example | BadSample]) -> Batch:
        """B pictures on one canvas, B x `together` captions padded on the right."""
        good = [e for e in examples if isinstance(e, Example)]
        bad = tuple(e for e in examples if isinstance(e, BadSample))
        captions = [c for e in good for c in [*e.captions, *[[]] * (self.together - len(e.captions))]]
        length = max((len(c) for c in captions), default=1)
        ids = torch.full((len(captions), length), self.pad_id, dtype=torch.long)
        for row, caption in zip(ids, captions, strict=True):
            row[: len(caption)] = torch.tensor(caption, dtype=torch.long)
        lengths = torch.tensor([len(c) for c in captions], dtype=torch.long)
        predicted = torch.arange(1, length) < lengths[:, None]  # the last real token has nothing to predict
        inputs = {self.image: on_canvas([e.pixels for e in good]), self.text: TextInput(ids[:, :-1], predicted)}
        targets = {self.text: ids[:, 1:], "predicted": predicted}
        return Batch(inputs, targets, tuple(e.id for e in good), bad)


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
                for caption in split.record(index).texts["caption"]:
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

    def caption_ids(self, caption: str) -> list[int]:
        """Token ids, `<bos>` and `<eos>` included, cut to what the model can place."""
        return self.tokenizer.encode(caption, self.max_tokens)

    def examples(self, split: Split, train: bool) -> CaptionExamples:
        """The pictures of a split, each with `data.batch.captions` of its captions at a time."""
        return CaptionExamples(split, self, train, self.run.data.batch.captions)

    def loss(self, model: nn.Module, batch: Batch) -> LossOutput:
        """Cross-entropy of each next token, summed; pictures that are missing have no part."""
        target, keep = batch.targets[self.config.text], batch.targets["predicted"]
        tokens = model(batch.inputs, heads=()).trunk.x[keep]
        return LossOutput(_summed_loss(self.config, model, tokens, target[keep]), keep.sum())

    @classmethod
    def full_batch(cls, run: RunConfig, size: int) -> Batch:
        """`size` pictures of the configured size, each with as many captions, all as long as can be."""
        config = cast(CaptioningTaskConfig, run.task)
        length = cast(TextTowerConfig, run.model.towers[config.text]).max_len
        captions = size * run.data.batch.captions
        pixels = torch.zeros(size, 3, run.data.image.height, run.data.image.width, dtype=torch.uint8)
        ids = torch.zeros(captions, length + 1, dtype=torch.long)
        predicted = torch.ones(captions, length, dtype=torch.bool)
        inputs = {config.image: ImageInput(pixels), config.text: TextInput(ids[:, :-1], predicted)}
        return Batch(inputs, {config.text: ids[:, 1:], "predicted": predicted}, ())

    @classmethod
    def rehearse(cls, run: RunConfig, model: nn.Module, batch: Batch) -> Tensor:
        """As `loss`, all tokens at once: none of a full batch is padding."""
        config = cast(CaptioningTaskConfig, run.task)
        tokens = model(batch.inputs, heads=()).trunk.x.flatten(0, 1)
        target = batch.targets[config.text].flatten()
        return _summed_loss(config, model, tokens, target) / target.numel()

    @classmethod
    def rehearse_generation(cls, run: RunConfig, model: nn.Module, batch: Batch) -> object:
        """A caption of each picture, from `<bos>` to the greatest length."""
        config = cast(CaptioningTaskConfig, run.task)
        longest = cast(TextTowerConfig, run.model.towers[config.text]).max_len
        decode = config.decode.replace(max_len=min(config.decode.max_len, longest))
        inputs = {config.image: batch.inputs[config.image]}
        prompt = torch.ones(len(batch.inputs[config.image][0]), 1, dtype=torch.long)
        del batch  # who asks for captions has none
        any_ids = Vocabulary(bos_id=1, eos_id=2, pad_id=0)
        return searched(cast(Model, model), inputs, decode, any_ids, config.text, prompt)

    # -------------------------------------------------------------- evaluation and prediction

    def evaluate(self, model: nn.Module, source: Source, split: str, limit: int | None, device: str) -> Evaluation:
        """Loss and perplexity over all captions, and the metrics of what the model itself says of each picture.

        A source that knows its own truth also gives `scene_accuracy`, in all and by number of objects.
        """
        part = FirstRecords(source.splits[split], limit)
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
        most = max((len(split.record(i).texts["caption"]) for i in range(len(split))), default=1)
        examples = CaptionExamples(split, self, train=False, together=min(most, _EVAL_CAPTIONS))
        total, count = 0.0, 0
        for start in range(0, len(examples), _EVAL_BATCH):
            rows = range(start, min(start + _EVAL_BATCH, len(examples)))
            batch = examples.collate([examples[0, i] for i in rows])
            if batch.ids:
                loss = self.loss(model, batch.to(device))
                total, count = total + float(loss.total), count + int(loss.count)
        return total, count

    def _say_all(
        self, model: Model, source: Source, split: Split, device: str
    ) -> tuple[list[Prediction], tuple[BadSample, ...]]:
        pipeline = ImagePipeline(self.run.data.image, self.run.train.seed)
        predictions, bad, model = [], [], prepared(model)
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
                correct, group = source.describes(split.name, index, text), source.group(split.name, index)
                predictions.append(Prediction(record.id, text, record.texts["caption"], correct, score, group))
        return predictions, tuple(bad)

    def predict(self, model: nn.Module, queries: Sequence[Query], device: str) -> list[Prediction]:
        """A caption of each picture; it begins with the query's text."""
        pictures = needed_pictures(queries)
        said: dict[int, tuple[str, float]] = {}
        for prompt in dict.fromkeys(query.text for query in queries):
            rows = [row for row, query in enumerate(queries) if query.text == prompt]
            texts = self.say(cast(Model, model), [pictures[row] for row in rows], device, prompt)
            said |= dict(zip(rows, texts, strict=True))
        return [Prediction(query.id, said[row][0], score=said[row][1]) for row, query in enumerate(queries)]

    def attention(self, model: nn.Module, pixels: Tensor, said: str) -> list[tuple[str, np.ndarray]] | None:
        """Where the model looks as it says each word; None: its trunk sees no patches."""
        ids = self.caption_ids(said)
        device = next(model.parameters()).device
        inputs: dict[str, Any] = {
            self.config.image: ImageInput(pixels[None].to(device)),
            self.config.text: torch.tensor([ids[:-1]], device=device),
        }
        found = picture_attention(cast(Model, model), inputs, self.config.image)
        if found is None:
            return None
        maps = found[0].float().cpu().numpy()
        words = [self.tokenizer.decode([i]) for i in ids[1:-1]]
        return list(zip(words, maps[: len(words)], strict=True))

    def say(
        self, model: Model, pictures: Sequence[Tensor], device: str, prompt: str | None = None
    ) -> list[tuple[str, float]]:
        """A caption of each picture (uint8 [3, h, w]) that begins with `prompt`, and its log-probability in nats.

        Raises:
            UserError: the prompt holds words that the vocabulary lacks, or is too long.
        """
        if not pictures:
            return []
        lacking = [word for word in (prompt or "").split() if self.tokenizer.unk_id in self.tokenizer.encode(word)]
        if lacking:
            raise UserError(f"the text to begin with holds what the model has no word for: {', '.join(lacking)}")
        if self.config.blank:
            pictures = [torch.zeros_like(p) for p in pictures]
        pixels, size = on_canvas(pictures)
        inputs = {self.config.image: ImageInput(pixels.to(device), None if size is None else size.to(device))}
        start = self.tokenizer.encode(prompt or "")[:-1]
        prompts = torch.tensor(start, device=device).expand(len(pictures), -1)
        decode = self.config.decode
        if prompt:  # the whole text still has to find a place in the model
            decode = decode.replace(max_len=max(1, min(decode.max_len, self.max_tokens - len(start))))
        out = generate(model, inputs, decode, self.vocabulary, self.config.text, prompts)
        texts = [self.tokenizer.decode([*start, *ids]) for ids in out.ids]
        return list(zip(texts, out.log_probs, strict=True))


def _summed_loss(config: CaptioningTaskConfig, model: nn.Module, tokens: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy of tokens [n, D] against the next ones, int [n], summed."""
    head = cast(LanguageHead, cast(Model, model).heads[config.text])
    smoothing, scores = config.label_smoothing if model.training else 0.0, head.proj
    return chunked_cross_entropy(head.given(tokens), scores.weight, scores.bias, target, smoothing, config.loss_chunk)


def _accuracy(predictions: Sequence[Prediction]) -> dict[str, float]:
    """Share of true and complete captions, in all and by group."""
    judged = defaultdict(list)
    for p in predictions:
        if p.correct is not None:
            judged["scene_accuracy"].append(p.correct)
            if p.group is not None:
                judged[f"scene_accuracy_{p.group}"].append(p.correct)
    return {name: sum(marks) / len(marks) for name, marks in sorted(judged.items())}
