"""Classification: a picture, a text, or both in, one of some classes out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from patchword.config import ChoosingTaskConfig, ClassificationTaskConfig, UserError, implements
from patchword.data.base import Record
from patchword.tasks.asked import Asked
from patchword.tasks.base import Prediction
from patchword.tasks.choosing import ChoosingTask
from patchword.tasks.metrics import auroc, f1


@implements(ClassificationTaskConfig)
class ClassificationTask(ChoosingTask):
    """Learns which class a picture, a text, or both together are of."""

    @classmethod
    def asked(cls, config: ChoosingTaskConfig, record: Record) -> list[Asked]:
        """The class of a record, or of each of its texts.

        Raises:
            UserError: a record has several classes, or not as many as texts.
        """
        labels = record.texts["label"]
        if not config.reads:
            if len(labels) != 1:
                raise UserError(f"{record.id} has {len(labels)} labels ({', '.join(labels)}); a sample is of one class")
            return [Asked({}, labels)]
        ((tower, field),) = config.reads.items()
        texts = record.texts[field]
        if len(texts) != len(labels):
            raise UserError(f"{record.id} has {len(texts)} {field}s and {len(labels)} labels: each needs its own")
        return [Asked({tower: text}, (label,)) for text, label in zip(texts, labels, strict=True)]

    def judge(self, scores: np.ndarray, labels: np.ndarray, predictions: Sequence[Prediction]) -> dict[str, float]:
        """F1, and the area under the receiver operating characteristic: common classes do not outvote rare ones."""
        said, true = [p.text for p in predictions], [p.references[0] for p in predictions]
        return {**f1(said, true), "auroc": auroc(scores, labels)}
