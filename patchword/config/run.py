"""Choices for a whole run: the task, how it is trained, and all of it together."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import field
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Lt

from patchword.config.core import Config
from patchword.config.data import DataConfig
from patchword.config.errors import Problem, unknown
from patchword.config.fusion import FusionConfig
from patchword.config.model import ImageTowerConfig, LanguageHeadConfig, ModelConfig, TextTowerConfig
from patchword.config.numbers import Count, Dropout, NonNegative, Positive, PositiveFloat, Share

# ------------------------------------------------------------------ decoding


class DecodeConfig(Config, family="decoding"):
    """How text is generated."""

    max_len: Positive = 40
    """Most tokens that are generated."""
    repetition_penalty: PositiveFloat = 1.0
    """Divides the score of tokens already said (Keskar et al. 2019); 1: no penalty."""


class GreedyDecodeConfig(DecodeConfig, kind="greedy"):
    """The likeliest token at each step."""


class SampleDecodeConfig(DecodeConfig, kind="sample"):
    """A random token at each step."""

    temperature: PositiveFloat = 1.0
    """Divides the scores; below 1 the likely become likelier."""
    top_k: Positive | None = None
    """Only this many likeliest tokens stay; null: all."""
    top_p: Annotated[float, Gt(0)] = 1.0
    """Only the fewest likeliest tokens whose chances add up to this stay (Holtzman et al. 2019)."""
    min_p: Share = 0.0
    """Only tokens at least this share as likely as the likeliest stay."""
    seed: Count = 0
    """Seed of the choice; sample i of a batch does not depend on the others."""


class BeamDecodeConfig(DecodeConfig, kind="beam"):
    """The best of several texts kept side by side."""

    num_beams: Positive = 4
    """How many."""
    length_penalty: NonNegative = 1.0
    """Finished texts are compared by log-probability / length ** this."""


# ------------------------------------------------------------------ tasks


class TaskConfig(Config, family="task"):
    """What is learnt from what."""


class CaptioningTaskConfig(TaskConfig, kind="captioning"):
    """A picture in, a sentence out."""

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


# ------------------------------------------------------------------ training


class OptimizerConfig(Config):
    """AdamW (Loshchilov and Hutter 2019)."""

    lr: PositiveFloat = 1e-3
    """Highest learning rate."""
    betas: tuple[Annotated[float, Ge(0), Lt(1)], Annotated[float, Ge(0), Lt(1)]] = (0.9, 0.98)
    """Decay of the running means of the gradient and of its square."""
    eps: PositiveFloat = 1e-8
    """Added to the root of the latter."""
    weight_decay: NonNegative = 0.05
    """Pull towards zero on matrices; norms, offsets and single vectors have none."""
    rates: dict[str, NonNegative] = field(default_factory=dict)
    """Factor on the learning rate by path pattern: {"towers.image.*": 0.1}; the last that matches counts."""
    freeze: tuple[str, ...] = ()
    """Path patterns of parameters that are not trained."""


class ScheduleConfig(Config, family="schedule"):
    """How the learning rate changes, as a factor on its highest value."""

    warmup: Count = 100
    """Steps over which it rises from zero."""


class CosineScheduleConfig(ScheduleConfig, kind="cosine"):
    """Half a cosine from 1 down to `final`."""

    final: Share = 0.0
    """The factor at the last step."""


class LinearScheduleConfig(ScheduleConfig, kind="linear"):
    """A straight line from 1 down to `final`."""

    final: Share = 0.0
    """The factor at the last step."""


class ConstantScheduleConfig(ScheduleConfig, kind="constant"):
    """Always 1 after the warm-up."""


class TrainConfig(Config):
    """How a model is trained."""

    steps: Positive = 1000
    """Optimizer steps."""
    minutes: PositiveFloat | None = None
    """Most minutes of training; the schedule then follows the clock where that ends it sooner. Null: no limit."""
    accumulate: Positive = 1
    """Batches a step; gradients are those of one large batch."""
    optimizer: OptimizerConfig = OptimizerConfig()
    """What turns gradients into steps."""
    schedule: ScheduleConfig = CosineScheduleConfig()
    """How the learning rate changes."""
    clip: PositiveFloat | None = 1.0
    """Longest gradient, in norm; null: any."""
    ema: Annotated[float, Gt(0), Lt(1)] | None = None
    """Decay of a running mean of the weights, which is then evaluated and kept; null: none."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Numbers of the forward and backward pass (weights stay fp32)."""
    compile: bool = False
    """Whether each block is compiled."""
    checkpoint_blocks: bool = False
    """Whether blocks are run again in the backward pass rather than their activations kept."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    threads: Positive | None = None
    """CPU threads; null: as torch chooses."""
    seed: Count = 0
    """Seed of weights, dropout, order and augmentation."""
    log_every: Positive = 20
    """Steps between two lines of metrics."""
    eval_every: Positive | None = None
    """Steps between two evaluations; null: only at the end."""
    eval_samples: Positive | None = None
    """Pictures of the validation split that those look at; null: all."""
    save_every: Positive | None = None
    """Steps between two checkpoints; null: with every evaluation, and at the end."""
    save_minutes: PositiveFloat | None = 5.0
    """Most minutes that a kill can cost: a checkpoint follows when the last one is that old; null: by steps only."""
    keep: Positive = 2
    """How many of the latest checkpoints are kept."""
    best_metric: str = "loss"
    """The validation metric that says which weights are best."""
    patience: Positive | None = None
    """Evaluations without a better value after which training stops; null: never."""

    def problems(self) -> Iterator[Problem]:
        """Devices that do not exist anywhere."""
        if not re.fullmatch(r"auto|cpu|cuda(:[0-9]+)?", self.device):
            yield Problem("device", f"should be auto, cpu, cuda or cuda:N, got {self.device!r}")


# ------------------------------------------------------------------ all of it


class RunConfig(Config):
    """Everything that a run is made from."""

    name: str = "run"
    """What to call it."""
    task: TaskConfig
    """What is learnt from what."""
    model: ModelConfig
    """Towers, fusion, trunk, heads."""
    data: DataConfig = DataConfig()
    """Where samples come from and how they are prepared."""
    train: TrainConfig = TrainConfig()
    """How the model is trained."""

    def problems(self) -> Iterator[Problem]:
        """A model that cannot do the task, and pictures that are not whole patches."""
        if isinstance(self.task, CaptioningTaskConfig):
            yield from self._captioning_problems(self.task)

    def _captioning_problems(self, task: CaptioningTaskConfig) -> Iterator[Problem]:
        towers, heads = self.model.towers, self.model.heads
        yield from _wrong_part("task.image", "image tower", task.image, towers, ImageTowerConfig)
        yield from _wrong_part("task.text", "text tower", task.text, towers, TextTowerConfig)
        yield from _wrong_part("task.text", "language head", task.text, heads, LanguageHeadConfig)
        image = towers.get(task.image)
        if isinstance(image, ImageTowerConfig):
            yield from self._patch_problems(task.image, image)
        trunk = self.model.trunk
        if trunk is None or trunk.attention is None or not trunk.attention.causal:
            yield Problem(
                "model.trunk.attention.causal",
                "captioning says one word after another: it needs a causal trunk",
            )
        text = towers.get(task.text)
        looks = text.attention if isinstance(text, TextTowerConfig) and text.depth else None
        if looks is not None and not looks.causal:
            yield Problem(
                f"model.towers.{task.text}.attention.causal",
                "captioning says one word after another: the layers of its text tower must be causal",
            )
        fusion = self.model.fusion
        if fusion is not None and not fusion.continues:
            able = sorted(k for k, f in FusionConfig.kinds.items() if issubclass(f, FusionConfig) and f.continues)
            yield Problem(
                "model.fusion.kind",
                f"captioning says one word after another: {fusion.kind} fusion gives no text to continue; "
                f"kinds that do: {', '.join(able)}",
            )

    def _patch_problems(self, name: str, tower: ImageTowerConfig) -> Iterator[Problem]:
        image = self.data.image
        # with fit, every side of every picture is a number of multiples
        sides = ("multiple", "multiple") if image.resize == "fit" else ("height", "width")
        for side, patch in dict.fromkeys(zip(sides, tower.patch_size, strict=True)):
            pixels = getattr(image, side)
            if pixels % patch:
                yield Problem(
                    f"data.image.{side}",
                    f"{pixels} is not a whole number of patches of {patch} pixels (model.towers.{name}.patch_size)",
                )


def _wrong_part(
    path: str, what: str, name: str, parts: Mapping[str, Config], wanted: type[Config]
) -> Iterator[Problem]:
    """A name that should be that of a part of some class, and is not."""
    if not isinstance(parts.get(name), wanted):
        yield Problem(path, unknown(what, name, [n for n, part in parts.items() if isinstance(part, wanted)]))
