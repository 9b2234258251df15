"""The verbs that say what a model costs, in Python, under the same names as on the command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from patchword.config import RunConfig, UserError, override, to_yaml, unknown
from patchword.models.create import planned_model
from patchword.models.presets import PUBLISHED, load_config
from patchword.report.sizing import SizingReport, write_sizing
from patchword.sizing.planning.devices import device as find_device
from patchword.sizing.planning.fit import largest_batch as fitting
from patchword.sizing.published import compare
from patchword.sizing.published.comparison import Comparison
from patchword.sizing.size import Sizing, component_of, sizing_of
from patchword.sizing.timing.calibrate import Progress
from patchword.sizing.timing.verify import Verification
from patchword.sizing.tracing.compiled import compiled_rehearsal_of_module, in_memory_of
from patchword.sizing.tracing.fold import tally_of
from patchword.sizing.tracing.foreign import MakeOptimizer, adamw, part_of, rehearsal_of_module
from patchword.sizing.tracing.record import Record
from patchword.sizing.tracing.rehearsal import Rehearsal
from patchword.sizing.walk.explain import Explanation, explained
from patchword.training.calibration import Calibration, calibrated, has_timings, known_time, verified
from patchword.training.rehearsed import MODES, compiled_training_of, rehearsal_of

DEVICE = "a100-80gb"
"""Under whose roof a page shows operations where nobody chooses."""


def size(
    spec: str | Path | Mapping[str, Any] | RunConfig | nn.Module,
    mode: str = "train",
    batch: int | None = None,
    inputs: Sequence[Any] | Mapping[str, Any] | None = None,
    optimizer: MakeOptimizer = adamw,
    compiled: bool = False,
    **overrides: Any,
) -> Sizing:
    """What one step costs, before it is paid: parameters, FLOPs and memory; nothing is allocated.

    Of a configuration, sizes are those of the largest batch: every picture of the configured size, every text as long
    as can be. Of a module, those of the given inputs; it is left as it was.

    Args:
        spec: a preset's name, a .yaml or .json file, a mapping, a configuration, or any torch module.
        mode: `train`, a whole step; `inference`, a forward pass without gradients; `generate`, decoding to the
            greatest length with its caches (of a configuration).
        batch: samples; None: as many as `data.batch.size`.
        inputs: what a module is called with, by place or by name; of floating tensors only the shapes count.
        optimizer: makes a module's optimizer; a configuration has its own.
        compiled: whether memory is that of the step that torch compiles for a CPU (of a configuration, with
            `train.compile`; of a module, with `module.compile()`); this takes seconds.
        overrides: dotted settings of a configuration, as on the command line.

    Raises:
        UserError: the configuration or the inputs are wrong, or the model chooses what it computes by numbers that it
            has computed.
    """
    if isinstance(spec, nn.Module):
        if inputs is None or batch is not None or overrides:
            raise UserError("a module is sized on `inputs`, and takes neither `batch` nor settings")
        if _known_mode(mode) == "generate":
            raise UserError("a module is sized in training or inference: how it generates is not known")
        return _size_module(spec, _known_mode(mode), inputs, optimizer, compiled)
    if inputs is not None or optimizer is not adamw:
        raise UserError("`inputs` and `optimizer` are for modules: a configuration says both")
    run = load_config(spec, overrides)
    samples = batch if batch is not None else run.data.batch.size
    rehearse = MODES[_known_mode(mode)]
    rehearsal = rehearsal_of(run, samples, signatures=has_timings(run), mode=mode)
    trace = partial(rehearse, rehearsal, run, samples)
    found = tally_of(rehearsal.model, trace, component_of)
    if compiled:
        if mode != "train":
            raise UserError("train.compile compiles steps of training: --compiled goes with --mode train")
        found = in_memory_of(found, compiled_training_of(run, samples), component_of)
    return sizing_of(rehearsal.model, found, mode, samples)._replace(time=known_time(found.kinds, run, mode))


def _size_module(
    module: nn.Module,
    mode: str,
    inputs: Sequence[Any] | Mapping[str, Any],
    optimizer: MakeOptimizer,
    compiled: bool,
) -> Sizing:
    def record(rehearsal: Rehearsal) -> Record:
        return rehearsal.inference() if mode == "inference" else rehearsal.training(optimizer, clip=False)

    first = next((leaf for leaf in tree_leaves(inputs) if isinstance(leaf, Tensor) and leaf.ndim), None)
    with rehearsal_of_module(module, inputs) as rehearsal:
        found = tally_of(module, partial(record, rehearsal), part_of)
    if compiled:
        with compiled_rehearsal_of_module(module, inputs) as rehearsal:
            found = in_memory_of(found, record(rehearsal), part_of)
    return sizing_of(module, found, mode, 1 if first is None else len(first), part_of)


def _known_mode(mode: str) -> str:
    if mode not in MODES:
        raise UserError(unknown("mode", mode, MODES))
    return mode


def record_of(run: RunConfig, mode: str, batch: int) -> tuple[nn.Module, Record]:
    """The model of a run and the record of one step of it, each operation as it would run: what timelines need."""
    rehearsal = rehearsal_of(run, batch, mode=_known_mode(mode))
    return rehearsal.model, MODES[mode](rehearsal, run, batch)


def size_report(
    spec: str | Path | Mapping[str, Any] | RunConfig,
    out: str | Path,
    mode: str = "train",
    batch: int | None = None,
    device: str = DEVICE,
    **overrides: Any,
) -> Sizing:
    """What `size` finds, drawn on one HTML page that needs nothing else.

    Args:
        spec: a preset's name, a .yaml or .json file, a mapping, or a configuration.
        out: the file to write.
        mode: `train`, `inference` or `generate`.
        batch: samples, at least one; None: as many as `data.batch.size`.
        device: whose roof the operations stand under.
        overrides: dotted settings, as on the command line.

    Raises:
        UserError: the configuration is wrong, or there is no such device.
        RunError: the file cannot be written.
    """
    if batch is not None and batch < 1:
        raise UserError("a page shows a step of at least one sample: give a batch of 1 or more")
    run, roof = load_config(spec, overrides), find_device(device)
    samples = batch if batch is not None else run.data.batch.size
    found, (_, record) = size(run, mode, samples), record_of(run, mode, samples)
    measured = {samples: found.by_phase}
    measured |= {more: size(run, mode, more).by_phase for more in {1, 2, 2 * samples} - {samples}}
    precision = run.train.precision if mode == "train" else "fp32"
    write_sizing(Path(out), SizingReport(run.name, found, record, measured, roof, to_yaml(run), precision))
    return found


def explain(
    spec: str | Path | Mapping[str, Any] | RunConfig, batch: int | None = None, **overrides: Any
) -> Explanation:
    """One batch walked through a model: every tensor's shape, parameters, FLOPs, bytes; who sees whom.

    Args:
        spec: a preset's name, a .yaml or .json file, a mapping, or a configuration.
        batch: samples, at least one; None: as many as `data.batch.size`.
        overrides: dotted settings, as on the command line.

    Raises:
        UserError: the configuration is wrong.
    """
    if batch is not None and batch < 1:
        raise UserError("there is nothing to walk through a model: give a batch of 1 or more")
    run = load_config(spec, overrides)
    samples = batch if batch is not None else run.data.batch.size
    whole, one = (rehearsal_of(run, n, mode="inference") for n in (samples, 1))
    return explained(run.name, planned_model(run), whole, one, samples)


def published(name: str, batch: int | None = None, **overrides: Any) -> Comparison:
    """What was published about the size of a model, beside what is true of it.

    Args:
        name: one of `patchword.models.presets.PUBLISHED`.
        batch: samples, at least one; None: as many as the publication has.
        overrides: dotted settings of the model, as on the command line: `**{"model.text.depth": 6}`.

    Raises:
        UserError: there is no such model, or nothing was published about what the overrides make of it.
    """
    if name not in PUBLISHED:
        raise UserError(unknown("published model", name, PUBLISHED))
    if batch is not None and batch < 1:
        raise UserError("published figures are of at least one sample: give a batch of 1 or more")
    wrong = [path for path in overrides if not path.startswith("model.")]
    if wrong:
        raise UserError(f"figures are published of models, not of runs: {', '.join(wrong)} should begin with model.")
    changes = {path.removeprefix("model."): value for path, value in overrides.items()}
    model = PUBLISHED[name]()
    return compare(name, override(model, changes, name) if changes else model, batch)


def largest_batch(
    spec: str | Path | Mapping[str, Any] | RunConfig, memory: int, mode: str = "train", **overrides: Any
) -> int:
    """The largest batch whose tensors are at most `memory` bytes at the peak of a step; 0: not even one sample fits.

    Raises:
        UserError: the configuration is wrong.
    """
    run = load_config(spec, overrides)
    return fitting(lambda batch: size(run, mode, batch).by_phase, memory)


def calibrate(
    spec: str | Path | Mapping[str, Any] | RunConfig,
    mode: str = "train",
    batch: int | None = None,
    progress: Progress | None = None,
    **overrides: Any,
) -> Calibration:
    """Time each distinct operation of a step on this machine, once for all configurations, and predict the step.

    Args:
        spec: a preset's name, a .yaml or .json file, a mapping, or a configuration.
        mode: `train`, `inference` or `generate`.
        batch: samples, at least one; None: as many as `data.batch.size`.
        progress: told of (operations timed, operations to time).
        overrides: dotted settings, as on the command line; `train.threads` is how many threads compute.

    Raises:
        UserError: the configuration is wrong.
    """
    run, samples = _of_samples(spec, batch, overrides)
    return calibrated(run, _known_mode(mode), samples, progress)


def verify(
    spec: str | Path | Mapping[str, Any] | RunConfig,
    mode: str = "train",
    batch: int | None = None,
    steps: int = 5,
    **overrides: Any,
) -> Verification:
    """Run the step that `size` predicts on this machine's CPU, with made-up samples, and hold one against the other.

    Args:
        spec: a preset's name, a .yaml or .json file, a mapping, or a configuration.
        mode: `train`, `inference` or `generate`.
        batch: samples, at least one; None: as many as `data.batch.size`.
        steps: that are timed; as measured counts the median.
        overrides: dotted settings, as on the command line.

    Raises:
        UserError: the configuration is wrong.
    """
    if steps < 1:
        raise UserError(f"steps should be a whole number > 0, got {steps}")
    run, samples = _of_samples(spec, batch, overrides)
    return verified(run, mode, samples, size(run, mode, samples), steps)


def _of_samples(
    spec: str | Path | Mapping[str, Any] | RunConfig, batch: int | None, overrides: Mapping[str, Any]
) -> tuple[RunConfig, int]:
    """The run, and samples of a batch that can be run."""
    run = load_config(spec, overrides)
    samples = batch if batch is not None else run.data.batch.size
    if samples < 1:
        raise UserError(f"a step is run with at least one sample, not {samples}")
    return run, samples
