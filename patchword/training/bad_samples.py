"""Samples that cannot be read: counted, named once each, and a reason to stop when there are too many."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from patchword.config import BadSamplesConfig, UserError
from patchword.data.batch import BadSample, Batch

_ENOUGH = 100
"""Samples read before a share means anything (or a whole epoch, where that is less)."""


class BadSamples:
    """Keeps the count over a training.

    Args:
        config: what happens when a sample cannot be read.
        report: called once for each bad sample.
        state: the counts of a checkpoint, as `state` gave them.
    """

    def __init__(
        self, config: BadSamplesConfig, report: Callable[[BadSample], None], state: Mapping[str, Any] | None = None
    ) -> None:
        self.config, self.report = config, report
        self.read: int = state["read"] if state else 0
        self.count: int = state["count"] if state else 0
        self.known: dict[str, None] = dict.fromkeys(state["known"] if state else ())

    def look(self, batch: Batch, epoch_over: bool) -> None:
        """Count a batch; `epoch_over` says that it was its epoch's last.

        Raises:
            UserError: the policy is `fatal`, or too large a share was bad, or all of an epoch.
        """
        self.read += len(batch.ids) + len(batch.bad)
        self.count += len(batch.bad)
        for sample in batch.bad:
            self.note(sample)
            if self.config.policy == "fatal":
                raise UserError(f"{_say(sample)} (data.bad_samples.policy is fatal)")
        if not batch.bad or not (self.read >= _ENOUGH or epoch_over):
            return
        if self.count > self.config.max_share * self.read or (self.count == self.read and epoch_over):
            raise UserError(
                f"{self.count} of the {self.read} samples read so far are bad, more than data.bad_samples.max_share = "
                f"{self.config.max_share} allows; the last: {_say(batch.bad[-1])}"
            )

    def note(self, sample: BadSample) -> None:
        """Report a sample that was not bad before."""
        if sample.id not in self.known:
            self.known[sample.id] = None
            self.report(sample)

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"read": self.read, "count": self.count, "known": list(self.known)}


def _say(sample: BadSample) -> str:
    return f"{sample.id}: {sample.reason}: {sample.message}"
