"""What a foreign layout declares, and how its weights become a model of ours and back."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from patchword.config import ModelConfig, UserError
from patchword.models.convert.compare import differences
from patchword.models.convert.keymap import Entry, Weights, renamed, to_ours, to_theirs
from patchword.models.convert.reorder import side_by_side
from patchword.models.convert.settings import Settings
from patchword.models.model import Model, tied_names


class Read(NamedTuple):
    """A foreign model as ours."""

    config: ModelConfig
    """The model."""
    weights: Weights
    """Its weights, tied ones once."""
    left_out: dict[str, str]
    """Tensors of theirs that have no part of ours, and what they are."""
    kept: dict[str, Any]
    """Settings of theirs that stand beside our model until it is written back."""


class Written(NamedTuple):
    """A model in a foreign layout."""

    files: dict[str, dict[str, Any]]
    """What stands beside the weights: JSON files by name, `config.json` among them."""
    weights: Weights
    """Tensors by their names."""
    renumbered: Mapping[int, int] = {}
    """Token ids that are others there, both ways."""
    notes: tuple[str, ...] = ()
    """What who uses it there has to know."""


class Layout(ABC):
    """How a foreign program names and shapes the weights of one kind of model."""

    name: ClassVar[str]
    """What to call it."""
    model_types: ClassVar[tuple[str, ...]] = ()
    """`model_type` in the config.json of folders of this layout."""
    writes: ClassVar[bool] = False
    """Whether models can be written in it."""
    renames: ClassVar[tuple[tuple[str, str], ...]] = ()
    """Patterns of other names that its weights have had, and what takes their place."""
    written_as: ClassVar[tuple[tuple[str, str], ...]] = ()
    """Patterns of names in the key map, and what takes their place in files, so that every version reads them."""
    ignored: ClassVar[tuple[str, ...]] = ()
    """Patterns of tensors that follow from others: buffers of masks, second names of tied tables."""
    left_out: ClassVar[tuple[tuple[str, str], ...]] = ()
    """Patterns of weights that may have no part of ours, and what they are; who converts is told of them."""
    interleaved: ClassVar[bool] = False
    """Whether sines and cosines of its places alternate; ours stand side by side (`side_by_side`)."""

    @abstractmethod
    def config(self, settings: Settings, weights: Mapping[str, Tensor]) -> ModelConfig:
        """The model that their settings describe. The names of the weights say which heads there are.

        Raises:
            UserError: a setting that cannot be expressed exactly.
        """

    @abstractmethod
    def entries(self, config: ModelConfig, settings: Settings) -> Iterable[Entry]:
        """The key map of such a model."""

    def ignores(self, config: ModelConfig) -> tuple[str, ...]:
        """More patterns of tensors that follow from others, in such a model."""
        return ()

    def kept(self, settings: Settings) -> dict[str, Any]:
        """Settings of theirs that say nothing of the model, but of what it is given; they are written back."""
        return {}

    def idle(self, config: ModelConfig, weights: Mapping[str, Tensor]) -> Weights:
        """Weights that theirs has to have and does not read, by their names; our `weights` say in which numbers."""
        return {}

    def settings(self, config: ModelConfig) -> dict[str, dict[str, Any]]:
        """The JSON files of a model of ours in this layout; wrong ones, or any error, where it does not fit."""
        raise NotImplementedError

    # ------------------------------------------------------------------ what follows from that

    def facts(self, files: Mapping[str, Mapping[str, Any]]) -> Settings:
        """What JSON files say together."""
        return Settings({key: value for data in files.values() for key, value in data.items()}, self.name)

    def read(self, settings: Mapping[str, Any], weights: Mapping[str, Tensor]) -> Read:
        """Their settings and weights as ours, in the type of number that they have.

        Raises:
            UserError: what cannot be expressed, is missing, left over, or has the wrong shape.
        """
        theirs = renamed(weights, self.renames)
        facts = Settings(settings, self.name)
        config = self.config(facts, theirs)
        entries = list(self.entries(config, facts))
        used = {name for entry in entries for name in entry.theirs}
        unread = {n: what for n in theirs for pattern, what in self.left_out if re.fullmatch(pattern, n)}
        ours = to_ours(entries, theirs, (*self.ignored, *self.ignores(config), *map(re.escape, unread)))
        if self.interleaved:
            ours = side_by_side(ours)
        check(config, ours)
        left = {name: what for name, what in unread.items() if name not in used}
        return Read(config, ours, left, self.kept(facts))

    def write(
        self, config: ModelConfig, weights: Mapping[str, Tensor], kept: Mapping[str, Any] | None = None
    ) -> Written:
        """A model of ours in this layout. What is written is read back first: it has to be the same model.

        Args:
            config: the model.
            weights: its weights, tied ones once.
            kept: what was kept when it was read in this layout; None: it was not.

        Raises:
            UserError: it cannot be expressed in it.
        """
        if not self.writes:
            raise UserError(f"the layout {self.name} can be read, but not written")
        try:
            files = self.settings(config)
            files["config.json"] = _joined(files["config.json"], kept or {})
            facts = self.facts(files)
            theirs = to_theirs(self.entries(config, facts), dict(weights))
            written = Written(files, renamed(theirs | self.idle(config, weights), self.written_as))
            again = self.read(facts.data, written.weights).config
        except (UserError, KeyError, AssertionError, AttributeError) as error:
            raise UserError(f"this model cannot be written in the layout {self.name}: {error}") from error
        others = differences(config, again)
        if others:
            raise UserError(f"this model cannot be written in the layout {self.name}, which lacks {', '.join(others)}")
        return written


def _joined(data: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """Settings and more of them, in parts within them, too."""
    inside = {name: _joined(data[name], own) for name, own in more.items() if isinstance(data.get(name), Mapping)}
    return {**data, **more, **inside}


def check(config: ModelConfig, weights: Mapping[str, Tensor]) -> None:
    """Whether these are the weights of such a model, tied ones once.

    Raises:
        UserError: names or shapes differ.
    """
    with torch.device("meta"):
        model: Model = config.build()
    tied = tied_names(model)
    shapes = {name: list(t.shape) for name, t in model.state_dict().items() if name not in tied}
    wrong = [f"{name} is missing" for name in shapes if name not in weights]
    for name, tensor in weights.items():
        if name not in shapes:
            wrong.append(f"{name} is left over")
        elif list(tensor.shape) != shapes[name]:
            wrong.append(f"{name} is {list(tensor.shape)}, should be {shapes[name]}")
    if wrong:
        more = f"; and {len(wrong) - 8} more" if len(wrong) > 8 else ""
        raise UserError("weights do not fit the settings beside them: " + "; ".join(wrong[:8]) + more)


def load(model: Model, weights: Mapping[str, Tensor]) -> None:
    """Put checked weights into a model, in the model's type of number; tied ones stand there once."""
    own = dict(model.named_parameters(remove_duplicate=False))
    with torch.no_grad():
        for name, tensor in weights.items():
            own[name].copy_(tensor)


def untied(model: Model) -> Iterator[tuple[str, Tensor]]:
    """A model's weights, tied ones once."""
    tied = tied_names(model)
    for name, tensor in model.state_dict().items():
        if name not in tied:
            yield name, tensor.detach()
