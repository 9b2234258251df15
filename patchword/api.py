"""The verbs in Python, under the same names as on the command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from patchword.config import RunConfig, UserError, override, unknown
from patchword.data.base import Source
from patchword.data.batch import BadSample
from patchword.data.embedded import fitting
from patchword.data.image import BadImage, ImagePipeline
from patchword.data.sources import open_source
from patchword.models.create import create_model, planned_model
from patchword.models.model import Model, count_parameters
from patchword.models.presets import PRESETS, load_config, preset, source, summary
from patchword.report.run import report_on
from patchword.tasks.asked import asked_name
from patchword.tasks.base import Evaluation, Prediction, Query, Task
from patchword.tasks.metrics import Confusion
from patchword.training.run_folder import load_weights, open_run, prepared_task
from patchword.training.trainer import TrainResult
from patchword.training.trainer import train as _train

__all__ = ["Trained", "create_model", "evaluate", "load", "load_config", "presets", "train"]

Picture = str | Path | bytes | np.ndarray

_TOGETHER = 64  # samples that a model is asked about at one time


def presets() -> list[dict[str, Any]]:
    """Every preset: name, task, parameters (as many as its tokenizer may make them), source, one line."""
    rows = []
    for name in PRESETS:
        run = preset(name)
        with torch.device("meta"):
            parameters = count_parameters(planned_model(run).build())
        row = {"name": name, "task": run.task.kind, "parameters": parameters, "source": source(name)}
        rows.append(row | {"summary": summary(name)})
    return rows


def train(
    spec: str | Path | Mapping[str, Any] | RunConfig,
    out: str | Path,
    resume: bool = False,
    report: bool = True,
    **overrides: Any,
) -> TrainResult:
    """Train a model and keep it in the folder `out`.

    Args:
        spec: a preset's name, a .yaml or .json file, a mapping, or a configuration.
        out: the run's folder; must be new, or hold the run to resume.
        resume: go on from its newest whole checkpoint.
        report: write `report.html` at the end.
        overrides: dotted settings, as on the command line: `**{"train.steps": 100}`.

    Raises:
        UserError: the configuration, the data or the folder is wrong; nothing was changed.
        RunError: training failed, and says what is safe.
    """
    run, folder = load_config(spec, overrides), Path(out)
    source = open_source(run.data, run.task.fields)
    torch.manual_seed(run.train.seed)
    kind: type[Task] = type(run.task).implementation
    prepared = prepared_task(folder) if resume else None
    task = kind.load(run, prepared) if prepared is not None else kind.prepare(run, source)
    result = _train(run, task, task.model_config().build(), source, folder, resume=resume)
    if report and result.stopped not in ("SIGINT", "SIGTERM"):
        load(folder).report(("val",), run.train.eval_samples)
    return result


def load(run: str | Path, device: str = "cpu", **overrides: Any) -> Trained:
    """A trained model with its task, ready to predict.

    Args:
        run: the run's folder.
        device: where to.
        overrides: dotted settings of the task or the data to use in place of the run's own.

    Raises:
        UserError: the folder holds no trained run, its weights are damaged, or a setting is wrong.
    """
    return Trained(Path(run), device, overrides)


def evaluate(
    run: str | Path, data: str | None = None, split: str | None = None, limit: int | None = None, **overrides: Any
) -> Measured:
    """`load(run, **overrides).evaluate(data, split, limit)`."""
    return load(run, **overrides).evaluate(data, split, limit)


class Measured(NamedTuple):
    """How good a model is, and on what."""

    split: str
    """Which split of the data."""
    metrics: dict[str, float]
    """By name."""
    count: int  # pyright: ignore[reportIncompatibleMethodOverride]
    """Samples looked at."""
    predictions: list[Prediction]
    """What was said of each."""
    bad: tuple[BadSample, ...]
    """Samples that could not be read."""
    confusion: Confusion | None
    """Which classes were taken for which, where there are classes."""


class Trained:
    """A run's model and task."""

    def __init__(self, folder: Path, device: str = "cpu", overrides: Mapping[str, Any] | None = None) -> None:
        self.folder, self.device = folder, device
        run, task_folder, weights = open_run(folder)
        for path in overrides or {}:
            if path.partition(".")[0] not in ("task", "data") or path.startswith("data.tokenizer"):
                raise UserError(
                    f"{path}: of a trained run only settings of task and data (no tokenizer) can be changed"
                )
        run = override(run, overrides, f"{folder} with overrides") if overrides else run
        self.run: RunConfig = run
        self._overrides = dict(overrides or {})
        kind: type[Task] = type(run.task).implementation
        self.task = kind.load(run, task_folder)
        self.model: Model = self.task.model_config().build()
        load_weights(self.model, weights)
        self.model.to(device).eval()

    def source(self, data: str | None = None) -> Source:
        """The run's own data, or another of the same form."""
        config = self.run.data
        if data is not None and data != config.source:
            fresh = {"table": None, "images": None, "splits.lists": {}}  # they named parts of the run's own source
            config = fitting(override(config, {"source": data, **fresh}))
            config = override(self.run.replace(data=config), self._overrides).data.replace(source=data)
        return open_source(config, self.run.task.fields)

    def evaluate(self, data: str | None = None, split: str | None = None, limit: int | None = None) -> Measured:
        """Metrics over a split; None: `test`, or `val` where there is none.

        Raises:
            UserError: the data is wrong or has no such split.
        """
        source = self.source(data)
        if split is None:
            split = next((name for name in ("test", "val", "train") if len(source.splits.get(name, ()))), "test")
        if split not in source.splits or not len(source.splits[split]):
            there = [name for name, part in source.splits.items() if len(part)]
            raise UserError(f"{source.name}: {unknown('split', split, there)}")
        return Measured(split, *self.task.evaluate(self.model, source, split, limit, self.device))

    def report(self, splits: Sequence[str] = ("val",), limit: int | None = None) -> dict[str, Evaluation]:
        """Measure the model on splits of its own data and write `report.html` into the run's folder."""
        source = self.source()
        results = {
            split: self.task.evaluate(self.model, source, split, limit, self.device)
            for split in splits
            if len(source.splits.get(split, ()))
        }
        if results:
            report_on(self.folder, self.run, self.model, self.task, source, results)
        return results

    def predict(
        self, images: Picture | Sequence[Picture] | None = None, text: str | Sequence[str] | None = None
    ) -> list[Prediction]:
        """What the model says of pictures (paths, file contents, or pixels uint8 [height, width, 3]), texts, or both.

        Of several of both, each text belongs to the picture in its place; one of either goes with all of the others.

        Raises:
            UserError: a picture cannot be read, there are other numbers of both, or the task needs something else.
        """
        items = list(images) if isinstance(images, list | tuple) else [images]
        texts = [text] if text is None or isinstance(text, str) else list(text)
        if len(items) != len(texts) and 1 not in (len(items), len(texts)):
            raise UserError(f"{len(items)} pictures but {len(texts)} texts: give one of either, or as many")
        names = [_name(item, i) for i, item in enumerate(items)]
        if len(items) == 1 < len(texts):
            every = range(len(texts))
            names = [_name(None, i) if images is None else asked_name(names[0], i, len(texts)) for i in every]
        pictures = [None if item is None else self._picture(item) for item in items]
        pairs = zip(pictures * (len(texts) if len(items) == 1 else 1), texts * (len(items) if len(texts) == 1 else 1))
        queries = [Query(name, picture, said) for name, (picture, said) in zip(names, pairs)]
        parts = [queries[start : start + _TOGETHER] for start in range(0, len(queries), _TOGETHER)]
        return [said for part in parts for said in self.task.predict(self.model, part, self.device)]

    def embed(
        self, images: Picture | Sequence[Picture] | None = None, texts: str | Sequence[str] | None = None
    ) -> np.ndarray:
        """Vectors of pictures or of texts, float32 [n, D]; all of them in one space, so that either finds the other.

        Raises:
            UserError: a picture cannot be read, both or neither are given, or the task makes no vectors.
        """
        if (images is None) == (texts is None):
            raise UserError("give pictures or texts to make vectors of, one or the other")
        items = [] if images is None else list(images) if isinstance(images, list | tuple) else [images]
        said = [] if texts is None else [texts] if isinstance(texts, str) else list(texts)
        found = self.task.embed(self.model, [self._picture(item) for item in items], said, self.device)
        return found[0 if texts is None else 1].numpy()

    def _picture(self, item: Any) -> torch.Tensor:
        pipeline = ImagePipeline(self.run.data.image, self.run.train.seed)
        try:
            data = read_picture(item) if isinstance(item, str | Path) else item
            return pipeline(data, str(item) if isinstance(item, str | Path) else "", None)
        except BadImage as error:
            where = f"{item}: " if isinstance(item, str | Path) else ""
            raise UserError(f"{where}{error.reason}: {error.message}") from error


def _name(item: Any, number: int) -> str:
    return str(item) if isinstance(item, str | Path) else f"{'picture' if item is not None else 'text'} {number}"


def read_picture(path: str | Path) -> bytes:
    """A picture file's bytes.

    Raises:
        UserError: there is no such file, or it cannot be read.
    """
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"cannot read picture {path}: {error.strerror}") from error
