"""What a loader hands to a task: inputs for the towers, targets for the loss, and what could not be read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from torch import Tensor

from patchword.sequence import FeaturesInput, ImageInput, TextInput


class BadSample(NamedTuple):
    """A sample that could not be read."""

    id: str
    """Its name or path."""
    reason: str
    """missing, truncated, not an image, too many pixels, ... (one of `patchword.data.image.REASONS`)."""
    message: str
    """One line for a person."""


class Batch(NamedTuple):
    """Samples side by side."""

    inputs: Mapping[str, ImageInput | TextInput | FeaturesInput]
    """What each tower reads."""
    targets: dict[str, Tensor]
    """What the loss compares with."""
    ids: tuple[str, ...]
    """Names of the samples."""
    bad: tuple[BadSample, ...] = ()
    """Samples left out because they could not be read."""

    def to(self, device: str, non_blocking: bool = False) -> Batch:
        """The same batch on a device."""
        return self._map(lambda t: t.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Batch:
        """The same batch in page-locked memory (torch's DataLoader calls this by name)."""
        return self._map(lambda t: t.pin_memory())

    def _map(self, change: Callable[[Tensor], Tensor]) -> Batch:
        def each(part: Any) -> Any:
            return type(part)(*(None if t is None else change(t) for t in part))

        inputs = {name: each(part) for name, part in self.inputs.items()}
        return self._replace(inputs=inputs, targets={name: change(t) for name, t in self.targets.items()})
