"""A model from a preset's name, a file, plain data or a configuration."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from patchword.config import (
    LabelHeadConfig,
    ModelConfig,
    RunConfig,
    TokenizerConfig,
    UserError,
    override,
    read_file,
)
from patchword.models.folder import model_folder, read_model
from patchword.models.model import Model
from patchword.models.presets import PRESETS, load_config
from patchword.models.presets.files import configuration_file, is_model_alone
from patchword.models.start import start_from

_FEWEST_CLASSES = 2


def create_model(spec: str | Path | Mapping[str, Any] | RunConfig | ModelConfig, **overrides: Any) -> Model:
    """A new model with fresh weights (parts with `init_from`: those of another model), or with those of a folder.

    Args:
        spec: the name of a preset, a .yaml or .json file or a mapping (of a run or of a model alone), or a
            configuration; or a folder with a model's weights (a run's, its `model/`, or what `patchword convert`
            wrote), which it gets.
        overrides: dotted settings, as on the command line: `**{"model.text.vocab_size": 1000}`.

    A text tower whose `vocab_size` is null gets as many rows as the run's tokenizer may have at most, a label head
    whose `num_classes` is null two classes.

    Raises:
        UserError: naming everything that is wrong.
    """
    if isinstance(spec, str | Path) and (folder := model_folder(spec)) is not None:
        return read_model(folder, overrides)
    if isinstance(spec, Mapping) and is_model_alone(spec):
        spec = ModelConfig.from_dict(spec)
    elif isinstance(spec, str | Path) and str(spec) not in PRESETS and (file := configuration_file(spec)) is not None:
        data = read_file(file)
        spec = ModelConfig.from_dict(data, str(spec)) if is_model_alone(data) else spec
    if isinstance(spec, ModelConfig):
        changes = {path.removeprefix("model."): value for path, value in overrides.items()}
        return _started(override(spec, changes) if changes else spec)
    return _started(planned_model(load_config(spec, overrides)))


def _started(config: ModelConfig) -> Model:
    """The model with its weights at their start, those of other models among them."""
    model: Model = config.build()
    start_from(model)
    return model


def planned_model(run: RunConfig) -> ModelConfig:
    """The run's model before any data was seen: vocabularies as large as the tokenizer may become, two classes."""
    heads = {
        name: head.replace(num_classes=_FEWEST_CLASSES)
        if isinstance(head, LabelHeadConfig) and head.num_classes is None
        else head
        for name, head in run.model.heads.items()
    }
    return run.model.with_vocabularies(lambda _: planned_vocab_size(run.data.tokenizer)).replace(heads=heads)


def planned_vocab_size(tokenizer: TokenizerConfig) -> int:
    """Most entries that a tokenizer of these settings can have.

    Raises:
        UserError: it depends on the data alone.
    """
    size = tokenizer.most_entries()
    if size is None:
        raise UserError(f"a {tokenizer.kind} tokenizer's size is known only from the data: set model.text.vocab_size")
    return size
