"""Masked modelling: what is hidden is predicted from what is not; pretraining for encoders."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from annotated_types import Gt, Lt

from patchword.config.data import DataConfig
from patchword.config.errors import Problem
from patchword.config.fields import Fields
from patchword.config.heads import LanguageHeadConfig, PatchHeadConfig
from patchword.config.model import ModelConfig
from patchword.config.numbers import Positive, Share
from patchword.config.tasks.base import TaskConfig, image_problems, wrong_part
from patchword.config.towers import ImageTowerConfig

HiddenShare = Annotated[float, Gt(0), Lt(1)]


class MaskedImageTaskConfig(TaskConfig, kind="masked_image"):
    """Patches of a picture are hidden, their pixels predicted (Xie et al. 2022, SimMIM)."""

    image: str = "image"
    """The tower that sees the picture; it needs `mask_token`."""
    head: str = "pixels"
    """The head that predicts patches."""
    share: HiddenShare = 0.6
    """Share of the patches that is hidden."""
    block: Positive = 1
    """Patches that are hidden together, in squares of this side."""

    @property
    def fields(self) -> Fields:
        """A picture; what is said of it is not looked at."""
        return Fields((), ("label", "caption"))

    def misfits(self, model: ModelConfig, data: DataConfig) -> Iterator[Problem]:
        """A tower without a token for what is hidden, a head for other patches, pictures of different sizes."""
        yield from image_problems(self.image, model, data)
        yield from wrong_part("task.head", "patch head", self.head, model.heads, PatchHeadConfig)
        tower, head = model.towers.get(self.image), model.heads.get(self.head)
        if isinstance(tower, ImageTowerConfig) and not tower.mask_token:
            yield Problem(f"model.towers.{self.image}.mask_token", "masked patches need one: set it to true")
        if isinstance(head, PatchHeadConfig) and self.image != head.source:
            yield Problem(f"model.heads.{self.head}.source", f"predicts patches of {head.source}, not of {self.image}")
        if data.image.resize == "fit":
            yield Problem("data.image.resize", "masked patches need pictures of one size: choose crop, pad or stretch")
        if isinstance(tower, ImageTowerConfig):
            rows, columns = data.image.height // tower.patch_size[0], data.image.width // tower.patch_size[1]
            if rows % self.block or columns % self.block:
                what = f"squares of {self.block} x {self.block} do not fill {rows} x {columns} patches"
                yield Problem("task.block", what)


class MaskedLanguageTaskConfig(TaskConfig, kind="masked_language"):
    """Tokens of a text are hidden or changed, and predicted from all others (Devlin et al. 2019, BERT)."""

    head: str = "text"
    """The language head that says them."""
    field: Literal["text", "caption", "question", "source", "target"] = "text"
    """The texts that are learnt from."""
    share: HiddenShare = 0.15
    """Share of the tokens that are chosen."""
    masked: Share = 0.8
    """Share of the chosen ones that become `<unk>`, which stands for what is hidden."""
    changed: Share = 0.1
    """Share of them that become any other token; the rest stay as they are."""
    loss_chunk: Positive = 1024
    """Tokens whose scores over the vocabulary exist at one time in the loss."""

    @property
    def fields(self) -> Fields:
        """Texts, without pictures."""
        return Fields((self.field,), image=False)

    def problems(self) -> Iterator[Problem]:
        """Shares of more than there is."""
        if self.masked + self.changed > 1:
            yield Problem("masked", f"masked {self.masked} and changed {self.changed} are more than the whole")

    def misfits(self, model: ModelConfig, data: DataConfig) -> Iterator[Problem]:
        """No such head, or a tower that sees only what came before."""
        yield from wrong_part("task.head", "language head", self.head, model.heads, LanguageHeadConfig)
        head = model.heads.get(self.head)
        if not isinstance(head, LanguageHeadConfig):
            return
        if head.source != head.text:
            what = f"should be the text tower {head.text}: tokens are predicted where they stand"
            yield Problem(f"model.heads.{self.head}.source", what)
        tower = model.towers.get(head.text)
        if tower is not None and tower.attention is not None and tower.attention.causal:
            what = "is true: what is hidden is predicted from both sides"
            yield Problem(f"model.towers.{head.text}.attention.causal", what)
