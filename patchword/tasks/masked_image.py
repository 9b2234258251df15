"""Masked image modelling: pixels of hidden patches are predicted from those that are seen; pretraining for towers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Self, cast

import numpy as np
import torch
from torch import Tensor, nn

from patchword.config import ImageTowerConfig, MaskedImageTaskConfig, ModelConfig, RunConfig, UserError, implements
from patchword.data.base import Source, Split
from patchword.data.batch import BadSample, Batch
from patchword.data.image import BadImage, ImagePipeline
from patchword.data.strings import Strings
from patchword.models.model import Model
from patchword.models.tower import ImageTower
from patchword.nn.heads import PatchHead
from patchword.sequence import ImageInput
from patchword.tasks.base import Evaluation, LossOutput, Prediction, Query, Task
from patchword.tasks.gathered import of_all_ranks, own_share
from patchword.tasks.pictures import FirstRecords

_EVAL_BATCH = 100  # pictures
_EVAL_EPOCH = 1 << 30  # whose masks evaluation looks through: no training comes that far


class Example(NamedTuple):
    """One picture, and what of it is hidden."""

    id: str
    pixels: Tensor
    """uint8 [3, height, width]."""
    hidden: Tensor
    """bool [rows x columns], True where a patch is hidden."""


class MaskedImages:
    """The pictures of a split with patches hidden at random, drawn from (seed, epoch, index) alone."""

    def __init__(self, split: Split, task: MaskedImageTask, train: bool) -> None:
        self.split, self.train, self.task_config, self.seed = split, train, task.config, task.run.train.seed
        self.pipeline = ImagePipeline(task.run.data.image, self.seed)
        self.grid = _grid(task.run)
        self.names = Strings(split.record(index).id for index in range(len(split)))
        self.lengths = np.zeros(len(split), dtype=np.int64)  # no text: any of them go together
        self.answers = np.zeros(0, dtype=np.int64)

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, key: tuple[int, int]) -> Example | BadSample:
        """Example `key[1]` as epoch `key[0]` sees it."""
        epoch, index = key
        try:
            pixels = self.pipeline(self.split.read(index), self.names[index], key if self.train else None)
        except BadImage as error:
            return BadSample(self.names[index], error.reason, error.message)
        config = self.task_config
        rng = np.random.default_rng([self.seed, epoch if self.train else _EVAL_EPOCH, index])
        return Example(self.names[index], pixels, hide(self.grid, config.share, config.block, rng))

    def collate(self, examples: Sequence[Example | BadSample]) -> Batch:
        """B pictures, and which of their N patches are hidden, bool [B, N]."""
        good = [e for e in examples if isinstance(e, Example)]
        bad = tuple(e for e in examples if isinstance(e, BadSample))
        inputs = {}
        if good:
            hidden = torch.stack([e.hidden for e in good])
            inputs[self.task_config.image] = ImageInput(torch.stack([e.pixels for e in good]), None, hidden)
        return Batch(inputs, {}, tuple(e.id for e in good), bad)


@implements(MaskedImageTaskConfig)
class MaskedImageTask(Task):
    """Learns to see what is hidden; knows nothing of the data."""

    def __init__(self, config: MaskedImageTaskConfig, run: RunConfig) -> None:
        self.config, self.run = config, run

    @classmethod
    def prepare(cls, run: RunConfig, source: Source) -> Self:
        """There is nothing to look at first.

        Raises:
            UserError: the data has no pictures.
        """
        if not source.has_pictures:
            raise UserError(f"{source.name} has no pictures")
        return cls(cast(MaskedImageTaskConfig, run.task), run)

    @classmethod
    def load(cls, run: RunConfig, folder: Path) -> Self:
        """Nothing is kept."""
        del folder
        return cls(cast(MaskedImageTaskConfig, run.task), run)

    def save(self, folder: Path) -> None:
        """Nothing is kept."""

    def model_config(self) -> ModelConfig:
        """The run's model: data decides nothing of it."""
        return self.run.model

    # -------------------------------------------------------------- learning

    def examples(self, split: Split, train: bool) -> MaskedImages:
        """The pictures of a split with hidden patches."""
        return MaskedImages(split, self, train)

    def loss(self, model: nn.Module, batch: Batch) -> LossOutput:
        """Absolute errors of the normalised pixels of hidden patches, summed; the count is theirs (Xie et al. 2022)."""
        hidden = cast(ImageInput, batch.inputs[self.config.image]).hidden
        assert hidden is not None
        errors = _errors(self.config, model, batch, hidden.nonzero(as_tuple=True))
        return LossOutput(errors.sum(), torch.tensor(errors.numel(), device=errors.device))

    @classmethod
    def full_batch(cls, run: RunConfig, size: int) -> Batch:
        """`size` pictures of the configured size, of each as many patches hidden as ever are."""
        config, image, (rows, columns) = cast(MaskedImageTaskConfig, run.task), run.data.image, _grid(run)
        pixels = torch.zeros(size, 3, image.height, image.width, dtype=torch.uint8)
        hidden = torch.zeros(size, rows * columns, dtype=torch.bool)
        hidden[:, : num_hidden((rows, columns), config.share, config.block)] = True
        return Batch({config.image: ImageInput(pixels, None, hidden)}, {}, ())

    @classmethod
    def rehearse(cls, run: RunConfig, model: nn.Module, batch: Batch) -> Tensor:
        """As `loss`."""
        config = cast(MaskedImageTaskConfig, run.task)
        image = cast(ImageInput, batch.inputs[config.image])
        size, most = len(image.pixels), num_hidden(_grid(run), config.share, config.block)
        rows = torch.arange(size)[:, None].expand(size, most).flatten()
        return _errors(config, model, batch, (rows, torch.arange(most).repeat(size))).mean()

    @classmethod
    def rehearse_generation(cls, run: RunConfig, model: nn.Module, batch: Batch) -> object:
        """Nothing is generated."""
        del run, model, batch
        raise UserError("masked_image says nothing token by token: size it in training or inference")

    # -------------------------------------------------------------- evaluation and prediction

    @torch.inference_mode()
    def evaluate(self, model: nn.Module, source: Source, split: str, limit: int | None, device: str) -> Evaluation:
        """The loss over one mask of each picture, always the same, and `pixel_error`, in steps of 0 to 255."""
        examples = self.examples(FirstRecords(source.splits[split], limit), train=False)
        total, steps, items, count, bad = 0.0, 0.0, 0, 0, []
        std = torch.tensor(cast(ImageTowerConfig, self.run.model.towers[self.config.image]).std)
        share = own_share(len(examples))
        for start in range(share.start, share.stop, _EVAL_BATCH):
            batch = examples.collate([examples[0, i] for i in range(start, min(start + _EVAL_BATCH, share.stop))])
            bad += batch.bad
            count += len(batch.ids)
            if batch.ids:
                hidden = cast(ImageInput, batch.inputs[self.config.image]).hidden
                assert hidden is not None
                errors = _errors(self.config, model, batch.to(device), hidden.nonzero(as_tuple=True)).double().cpu()
                by_channel = errors.unflatten(-1, (len(std), -1)).sum((0, 2))
                total, items = total + float(errors.sum()), items + errors.numel()
                steps += float((by_channel * std).sum()) * 255
        total, steps, items, count = map(sum, zip(*of_all_ranks([(total, steps, items, count)]), strict=True))
        metrics = {"loss": total / max(items, 1), "pixel_error": steps / max(items, 1)}
        return Evaluation(metrics, int(count), [], tuple(of_all_ranks(bad)))

    def predict(self, model: nn.Module, queries: Sequence[Query], device: str) -> list[Prediction]:
        """Nothing: there are no words for it."""
        del model, queries, device
        raise UserError("a masked_image run is there to start from: model.image.init_from=RUN")


def num_hidden(grid: tuple[int, int], share: float, block: int) -> int:
    """How many patches of a picture are hidden: whole squares, at least one, not all of several."""
    squares = (grid[0] // block) * (grid[1] // block)
    return min(max(1, round(share * squares)), max(1, squares - 1)) * block * block


def hide(grid: tuple[int, int], share: float, block: int, rng: np.random.Generator) -> Tensor:
    """Which patches are hidden, bool [rows x columns]: always the same number, in squares of side `block`."""
    rows, columns = grid[0] // block, grid[1] // block
    squares = np.zeros(rows * columns, dtype=bool)
    squares[rng.permutation(rows * columns)[: num_hidden(grid, share, block) // (block * block)]] = True
    wide = squares.reshape(rows, columns).repeat(block, 0).repeat(block, 1)
    return torch.from_numpy(wide.reshape(-1))


def _grid(run: RunConfig) -> tuple[int, int]:
    """Rows and columns of patches of the run's pictures."""
    tower = cast(ImageTowerConfig, run.model.towers[cast(MaskedImageTaskConfig, run.task).image])
    return run.data.image.height // tower.patch_size[0], run.data.image.width // tower.patch_size[1]


def _errors(config: MaskedImageTaskConfig, model: nn.Module, batch: Batch, places: tuple[Tensor, ...]) -> Tensor:
    """How far the pixels of hidden patches are from what is predicted; row and patch of each -> [n, C x h x w]."""
    tower = cast(ImageTower, cast(Model, model).towers[config.image])
    head = cast(PatchHead, cast(Model, model).heads[config.head])
    tokens = model(batch.inputs, heads=()).towers[config.image].x
    rows, patches = (place.to(tokens.device) for place in places)
    before = int(tower.embedding.cls is not None) - tower.first
    predicted = head.proj(tokens[rows, patches + before])
    target = tower.embedding.normalised_patches(cast(ImageInput, batch.inputs[config.image]).pixels)
    return (predicted - target[rows, patches].to(predicted.dtype)).abs()
