"""Which examples go into which batch: a pure function of (seed, epoch), so that training resumes at any batch."""

from __future__ import annotations

import numpy as np

from patchword.config import BatchConfig, UserError

_ORDER, _BATCHES = 0, 1  # one stream of random numbers each


class BatchSampler:
    """Batches of examples of like length; every example exactly once an epoch.

    Args:
        lengths: tokens of each example, int [number of examples].
        config: how samples are put together.
        seed: the run's.

    Raises:
        UserError: there is no example, or one is longer than a whole batch may be.
    """

    def __init__(self, lengths: np.ndarray, config: BatchConfig, seed: int) -> None:
        self.lengths = np.asarray(lengths, dtype=np.int64)
        self.config, self.seed = config, seed
        if not len(self.lengths):
            raise UserError("there is nothing to train on: the training split has no examples")
        if config.max_tokens is not None and self.lengths.max() > config.max_tokens:
            over = np.flatnonzero(self.lengths > config.max_tokens)
            raise UserError(
                f"data.batch.max_tokens: example {over[0]} has {self.lengths[over[0]]} tokens, more than the "
                f"{config.max_tokens} of a whole batch ({len(over)} of {len(self.lengths)} examples are too long); "
                f"set it to {self.lengths.max()} or more"
            )

    def epoch(self, number: int) -> list[list[int]]:
        """The batches of epoch `number`, in the order in which they are learnt from."""
        order = np.argsort(self._random(number, _ORDER, len(self.lengths)))
        if self.config.bucket:
            bucket = np.arange(len(order)) // (self.config.bucket * self.config.size)
            order = order[np.lexsort((-self.lengths[order], bucket))]
            starts = self._cut_descending(self.lengths[order])
        else:
            starts = self._cut(self.lengths[order])
        ids = order.tolist()
        ends = [*starts[1:], len(ids)]
        batches = [ids[a:b] for a, b in zip(starts, ends, strict=True)]
        return [batches[i] for i in np.argsort(self._random(number, _BATCHES, len(batches)))]

    def _random(self, epoch: int, stream: int, count: int) -> np.ndarray:
        # raw bits: unlike a Generator's, a bit generator's stream never changes between numpy versions
        return np.random.PCG64(np.random.SeedSequence([self.seed, epoch, stream])).random_raw(count)

    def _cut_descending(self, lengths: np.ndarray) -> list[int]:
        """Where batches start; inside each bucket the first of a batch is its longest, so it alone decides."""
        size, bucket, budget = self.config.size, self.config.bucket * self.config.size, self.config.max_tokens
        if budget is None:
            return list(range(0, len(lengths), size))
        most = np.minimum(size, budget // np.maximum(lengths, 1)).tolist()
        starts, at = [], 0
        for end in range(bucket, len(most) + bucket, bucket):
            end = min(end, len(most))
            while at < end:
                starts.append(at)
                at = min(at + most[at], end)
        return starts

    def _cut(self, lengths: np.ndarray) -> list[int]:
        """Where batches start, lengths in any order."""
        size, budget = self.config.size, self.config.max_tokens
        if budget is None:
            return list(range(0, len(lengths), size))
        starts, longest = [0], 0
        for i, length in enumerate(lengths.tolist()):
            longest = max(longest, length)
            count = i - starts[-1] + 1
            if count > size or count * longest > budget:
                starts.append(i)
                longest = length
        return starts
