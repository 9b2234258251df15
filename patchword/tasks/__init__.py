"""What can be learnt from what. Importing this package gives every task config its class."""

from patchword.tasks import (
    captioning,
    classification,
    coca,
    language,
    masked_image,
    masked_language,
    retrieval,
    several,
    translation,
    vqa,
)
from patchword.tasks.base import Evaluation, LossOutput, Prediction, Query, Task

__all__ = [
    "Evaluation",
    "LossOutput",
    "Prediction",
    "Query",
    "Task",
    "captioning",
    "classification",
    "coca",
    "language",
    "masked_image",
    "masked_language",
    "retrieval",
    "several",
    "translation",
    "vqa",
]
