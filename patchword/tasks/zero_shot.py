"""Classes as texts: pictures are told apart by which class's texts they are most like (Radford et al. 2021)."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from patchword.config import UserError, ZeroShotConfig, nearest
from patchword.data.base import Record, Source
from patchword.data.image import ImagePipeline
from patchword.nn.heads import SimilarityHead
from patchword.tasks.base import Evaluation, Prediction
from patchword.tasks.embedding import Embedder
from patchword.tasks.metrics import accuracy, confusion_of, top_accuracy
from patchword.tasks.pictures import FirstRecords

_CHOICES = 5


def label_of(record: Record) -> str:
    """The one class of a record.

    Raises:
        UserError: it has several.
    """
    labels = record.texts["label"]
    if len(labels) != 1:
        raise UserError(f"{record.id} has {len(labels)} labels ({', '.join(labels)}); a sample is of one class")
    return labels[0]


def class_vectors(embedder: Embedder, config: ZeroShotConfig, classes: list[str]) -> torch.Tensor:
    """One vector of length 1 a class, [C, D]: the mean of those of its texts."""
    names = [config.names.get(name, name.replace("_", " ")) for name in classes]
    texts = [template.replace("{}", name) for name in names for template in config.templates]
    each = F.normalize(embedder.texts(texts), dim=-1).unflatten(0, (len(classes), -1))
    return F.normalize(each.mean(1), dim=-1)


def classes_of(source: Source, split: str, config: ZeroShotConfig) -> list[str]:
    """The classes of a split, sorted.

    Raises:
        UserError: names are given for classes that there are not, or there are no two classes.
    """
    part = source.splits[split]
    classes = sorted({label_of(part.record(index)) for index in range(len(part))})
    for name in config.names:
        if name not in classes:
            guess = nearest(name, classes)
            hint = f"; did you mean {guess!r}?" if guess else ""
            raise UserError(f"task.zero_shot.names: no class of {source.name} ({split}) is named {name!r}{hint}")
    if len(classes) < 2:
        raise UserError(f"{source.name}: split {split!r} has no two classes to tell apart")
    return classes


def evaluate_zero_shot(
    embedder: Embedder,
    head: SimilarityHead,
    config: ZeroShotConfig,
    source: Source,
    split: str,
    limit: int | None,
    pipeline: ImagePipeline,
) -> Evaluation:
    """Accuracy, top-5 accuracy (of more than five classes), loss.

    The classes are those of the whole split, also where only some of its records are looked at. The loss is the
    cross-entropy of the softmax over scores; infinite where no picture could be read.
    """
    classes = classes_of(source, split, config)
    part = FirstRecords(source.splits[split], limit)
    pictures, records, bad = embedder.seen(part, pipeline)
    truths = [label_of(part.record(index)) for index in records]
    with torch.inference_mode():
        vectors = class_vectors(embedder, config, classes)
        chances = head(pictures.to(embedder.device), vectors.to(embedder.device)).cpu().log_softmax(-1)
    labels = np.array([classes.index(name) for name in truths], dtype=np.int64)
    shares = chances.exp().numpy()
    losses = -chances.numpy()[np.arange(len(labels)), labels].astype(np.float64)
    metrics = {"loss": float(losses.mean()) if len(losses) else float("inf"), "accuracy": accuracy(shares, labels)}
    if len(classes) > _CHOICES:
        metrics["top5_accuracy"] = top_accuracy(shares, labels, _CHOICES)
    predictions = []
    for row, (index, truth) in enumerate(zip(records, truths, strict=True)):
        order = torch.argsort(-chances[row], stable=True)[:_CHOICES].tolist()
        choices = tuple((classes[i], float(shares[row, i])) for i in order)
        said, score = choices[0][0], float(chances[row, order[0]])
        name, group = part.record(index).id, source.group(split, index)
        predictions.append(Prediction(name, said, (truth,), said == truth, score, group, choices))
    confusion = confusion_of([p.text for p in predictions], truths, classes)
    return Evaluation(metrics, len(predictions), predictions, bad, confusion)
