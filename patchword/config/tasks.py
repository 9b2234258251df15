"""Choices of what is learnt from what: one class a task, which also says what it reads and what it cannot work with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import field
from typing import ClassVar

from patchword.config.core import Config
from patchword.config.data import DataConfig
from patchword.config.decoding import DecodeConfig, GreedyDecodeConfig
from patchword.config.errors import Problem, unknown
from patchword.config.fields import Fields
from patchword.config.fusion import FusionConfig
from patchword.config.model import LabelHeadConfig, LanguageHeadConfig, ModelConfig
from patchword.config.numbers import Dropout, Positive, PositiveFloat
from patchword.config.towers import ImageTowerConfig, TextTowerConfig


class TaskConfig(Config, family="task"):
    """What is learnt from what."""

    fields: ClassVar[Fields]
    """What it reads of a record."""

    def misfits(self, model: ModelConfig, data: DataConfig) -> Iterator[Problem]:
        """What of a run's model and data cannot do this task; paths are those of the run."""
        yield from ()


class CaptioningTaskConfig(TaskConfig, kind="captioning"):
    """A picture in, a sentence out."""

    fields: ClassVar[Fields] = Fields(("caption",))

    image: str = "image"
    """The tower that sees the picture."""
    text: str = "text"
    """The tower and the head that say the caption."""
    label_smoothing: Dropout = 0.0
    """Share of the target spread over all tokens (Szegedy et al. 2016)."""
    loss_chunk: Positive = 1024
    """Tokens whose scores over the vocabulary exist at one time in the loss."""
    blank: bool = False
    """Whether the picture is hidden: the baseline that shows what seeing is worth."""
    decode: DecodeConfig = GreedyDecodeConfig()
    """How captions are generated."""

    def misfits(self, model: ModelConfig, data: DataConfig) -> Iterator[Problem]:
        """A model that cannot say one word after another, and pictures that are not whole patches."""
        yield from wrong_part("task.image", "image tower", self.image, model.towers, ImageTowerConfig)
        yield from wrong_part("task.text", "text tower", self.text, model.towers, TextTowerConfig)
        yield from wrong_part("task.text", "language head", self.text, model.heads, LanguageHeadConfig)
        yield from patch_problems(self.image, model, data)
        trunk = model.trunk
        if trunk is None or trunk.attention is None or not trunk.attention.causal:
            yield Problem(
                "model.trunk.attention.causal",
                "captioning says one word after another: it needs a causal trunk",
            )
        text = model.towers.get(self.text)
        looks = text.attention if isinstance(text, TextTowerConfig) and text.depth else None
        if looks is not None and not looks.causal:
            yield Problem(
                f"model.towers.{self.text}.attention.causal",
                "captioning says one word after another: the layers of its text tower must be causal",
            )
        fusion = model.fusion
        if fusion is not None and not fusion.continues:
            able = sorted(k for k, f in FusionConfig.kinds.items() if issubclass(f, FusionConfig) and f.continues)
            yield Problem(
                "model.fusion.kind",
                f"captioning says one word after another: {fusion.kind} fusion gives no text to continue; "
                f"kinds that do: {', '.join(able)}",
            )


class ClassificationTaskConfig(TaskConfig, kind="classification"):
    """A picture in, one of some classes out."""

    fields: ClassVar[Fields] = Fields(("label",))

    image: str = "image"
    """The tower that sees the picture."""
    head: str = "label"
    """The head that scores classes."""
    label_smoothing: Dropout = 0.0
    """Share of the target spread over all classes (Szegedy et al. 2016)."""
    class_weights: dict[str, PositiveFloat] = field(default_factory=dict)
    """How much a sample of a class counts in the training loss: {rare: 4.0}; 1 for those that are not named."""

    def misfits(self, model: ModelConfig, data: DataConfig) -> Iterator[Problem]:
        """A model without a tower that sees or a head that scores classes, and pictures that are not whole patches."""
        yield from wrong_part("task.image", "image tower", self.image, model.towers, ImageTowerConfig)
        yield from wrong_part("task.head", "label head", self.head, model.heads, LabelHeadConfig)
        yield from patch_problems(self.image, model, data)


# ------------------------------------------------------------------ what several tasks ask of a run


def wrong_part(path: str, what: str, name: str, parts: Mapping[str, Config], wanted: type[Config]) -> Iterator[Problem]:
    """A name that should be that of a part of some class, and is not."""
    if not isinstance(parts.get(name), wanted):
        yield Problem(path, unknown(what, name, [n for n, part in parts.items() if isinstance(part, wanted)]))


def patch_problems(name: str, model: ModelConfig, data: DataConfig) -> Iterator[Problem]:
    """Pictures that are not a whole number of the patches of image tower `name`."""
    tower, image = model.towers.get(name), data.image
    if not isinstance(tower, ImageTowerConfig):
        return
    # with fit, every side of every picture is a number of multiples
    sides = ("multiple", "multiple") if image.resize == "fit" else ("height", "width")
    for side, patch in dict.fromkeys(zip(sides, tower.patch_size, strict=True)):
        pixels = getattr(image, side)
        if pixels % patch:
            yield Problem(
                f"data.image.{side}",
                f"{pixels} is not a whole number of patches of {patch} pixels (model.towers.{name}.patch_size)",
            )
