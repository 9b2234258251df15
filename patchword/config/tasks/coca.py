"""CoCa: captions and one space for pictures and texts, learnt in one pass."""

from __future__ import annotations

from collections.abc import Iterator

from patchword.config.contrast import ContrastConfig, InfoNCEContrastConfig
from patchword.config.data import DataConfig
from patchword.config.errors import Problem
from patchword.config.model import LanguageHeadConfig, ModelConfig, SimilarityHeadConfig
from patchword.config.numbers import PositiveFloat
from patchword.config.speaking import said_tower
from patchword.config.tasks.captioning import CaptioningTaskConfig
from patchword.config.tasks.retrieval import contrast_problems, side_tower


class CocaTaskConfig(CaptioningTaskConfig, kind="coca"):
    """A picture's caption is said, and both are found by one another (Yu et al. 2022)."""

    similarity: str = "similarity"
    """The head that compares a picture's vectors (its rows) with a text's (its columns)."""
    contrast: ContrastConfig = InfoNCEContrastConfig()
    """How scores of pairs become a loss."""
    caption_weight: PositiveFloat = 2.0
    """What the mean loss of a token counts."""
    contrast_weight: PositiveFloat = 1.0
    """What the mean loss of a pair counts."""

    def misfits(self, model: ModelConfig, data: DataConfig) -> Iterator[Problem]:
        """Also what keeps a model from comparing the captions that it says with pictures."""
        said = list(super().misfits(model, data))
        yield from said
        found = list(contrast_problems("task.similarity", self.similarity, self.contrast, model, data))
        yield from (problem for problem in found if problem not in said)
        head, own = model.heads.get(self.similarity), model.heads.get(self.head)
        if said or found or not isinstance(head, SimilarityHeadConfig) or not isinstance(own, LanguageHeadConfig):
            return
        text = said_tower(model, self.head)
        if side_tower(model, head.columns) != text:
            yield Problem(
                f"model.heads.{head.columns}.source",
                f"the captions that are compared are those of {text}, which are said",
            )
        if side_tower(model, head.rows) != self.image:
            yield Problem(
                f"model.heads.{head.rows}.source", f"the pictures that are compared are those of {self.image}"
            )
