"""A run's report: what was measured, what the model says of unseen pictures, and where it looks."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from patchword.config import RunConfig, to_yaml
from patchword.data.base import Source
from patchword.data.image import ImagePipeline
from patchword.models.model import Model, count_parameters
from patchword.report.content import Cost, Report, Result, Shown, Told
from patchword.report.curves import read_metrics
from patchword.report.page import write_report
from patchword.tasks.asked import asked_name
from patchword.tasks.base import Evaluation, Task

_PICTURES, _MAPS, _TEXTS = 24, 3, 24


def report_on(
    folder: Path,
    run: RunConfig,
    model: Model,
    task: Task,
    source: Source,
    results: Mapping[str, Evaluation],
) -> Path:
    """Write `report.html` into a run's folder, with pictures from the first split of `results`; returns its path.

    The page is made to be sent around: it names no place of this machine. `config.yaml` and `environment.json` do.
    """
    metrics = read_metrics(folder)
    first = next(iter(results))
    pictures = _shown(run, model, task, source, first, results[first])
    report = Report(
        title=run.name,
        results=[Result(split, e.metrics, e.count, e.confusion) for split, e in results.items()],
        pictures=pictures,
        texts=[] if pictures else _told(results[first]),
        metrics=metrics,
        cost=_cost(model, metrics),
        config_yaml=to_yaml(RunConfig.from_dict(_placeless(run.to_dict()))),
        environment=_environment(folder),
    )
    path = folder / "report.html"
    write_report(path, report)
    return path


def _environment(folder: Path) -> dict[str, Any]:
    """What the last session of the run ran on (a resumed run has several); not its command line, which has paths."""
    sessions = json.loads((folder / "environment.json").read_text(encoding="utf-8"))
    return {name: fact for name, fact in sessions[-1].items() if name != "argv"} if sessions else {}


def _placeless(data: Any) -> Any:
    """Plain data in which of an absolute path only the last name is left."""
    if isinstance(data, dict):
        return {key: _placeless(value) for key, value in data.items()}
    if isinstance(data, list):
        return [_placeless(value) for value in data]
    absolute = isinstance(data, str) and data.startswith(("/", "~"))
    return f".../{PurePath(data).name}" if absolute else data


def _shown(run: RunConfig, model: Model, task: Task, source: Source, split: str, evaluation: Evaluation) -> list[Shown]:
    if not source.has_pictures:
        return []
    pipeline = ImagePipeline(run.data.image, run.train.seed)
    said = {p.id: p for p in evaluation.predictions}
    shown = []
    for index in range(len(source.splits[split])):
        record = source.splits[split].record(index)
        prediction = said.get(record.id) or said.get(asked_name(record.id, 0, 2))  # of several questions the first
        if prediction is None:
            continue
        pixels = pipeline(source.splits[split].read(index), record.id, None)
        maps = task.attention(model, pixels, prediction.text) if len(shown) < _MAPS else None
        picture = np.ascontiguousarray(pixels.permute(1, 2, 0).numpy())
        shown.append(Shown(picture, prediction.text, prediction.references, prediction.correct, maps, prediction.read))
        if len(shown) == _PICTURES:
            break
    return shown


def _told(evaluation: Evaluation) -> list[Told]:
    read = [p for p in evaluation.predictions if p.read is not None]
    return [Told(p.read or "", p.text, p.references) for p in read[:_TEXTS]]


def _cost(model: Model, metrics: Sequence[Mapping[str, Any]]) -> Cost:
    parts = {f"{name} tower": count_parameters(tower) for name, tower in model.towers.items()}
    parts |= {name: count_parameters(m) for name in ("fusion", "trunk") if (m := getattr(model, name)) is not None}
    total = count_parameters(model)
    heads = total - sum(parts.values())  # a head tied to a tower's table has nothing of its own
    last = next((row for row in reversed(metrics) if row.get("kind") == "train"), {})
    return Cost(
        parameters=total,
        components={name: n for name, n in {**parts, "heads": heads}.items() if n},
        seconds=last.get("time"),
        steps=last.get("step"),
        samples=last.get("samples"),
        tokens=last.get("tokens"),
    )
