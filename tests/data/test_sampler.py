from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from patchword.config import BatchConfig, UserError
from patchword.data.sampler import BatchSampler


def random_lengths(count: int, seed: int = 0, most: int = 40) -> np.ndarray:
    return np.random.default_rng(seed).integers(1, most + 1, count)


def padded(batch: list[int], lengths: np.ndarray) -> int:
    return len(batch) * int(lengths[batch].max())


@settings(max_examples=150, deadline=None)
@given(
    lengths=st.lists(st.integers(0, 50), min_size=1, max_size=300),
    size=st.integers(1, 20),
    spare=st.none() | st.integers(0, 200),
    bucket=st.integers(0, 5),
    epoch=st.integers(0, 10**6),
)
def test_every_example_once_within_every_limit(lengths, size, spare, bucket, epoch) -> None:
    array = np.array(lengths)
    budget = None if spare is None else max(1, int(array.max())) + spare
    sampler = BatchSampler(array, BatchConfig(size=size, max_tokens=budget, bucket=bucket), seed=3)
    batches = sampler.epoch(epoch)
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    assert all(1 <= len(batch) <= size for batch in batches)
    if budget is not None:
        assert all(padded(batch, array) <= budget for batch in batches)
    else:
        assert len(batches) == -(-len(lengths) // size)
    assert batches == BatchSampler(array, BatchConfig(size=size, max_tokens=budget, bucket=bucket), 3).epoch(epoch)


def test_the_order_depends_on_seed_and_epoch_alone() -> None:
    lengths, config = random_lengths(100), BatchConfig(size=8)
    sampler = BatchSampler(lengths, config, seed=1)
    second = sampler.epoch(1)
    np.random.seed(0)
    assert sampler.epoch(1) == second
    assert sampler.epoch(0) != second
    assert BatchSampler(lengths, config, seed=2).epoch(1) != second


def test_the_order_stays_that_of_older_versions() -> None:
    """A run that was begun with an older version or numpy resumes with the same order."""
    config = BatchConfig(size=3, max_tokens=60, bucket=2)
    assert BatchSampler(np.array([35, 26, 21, 11, 13, 2, 4, 1, 8, 33, 26]), config, seed=7).epoch(5) == (
        [[1, 10], [0], [8, 6, 5], [3, 7], [2, 4], [9]]
    )


@pytest.mark.parametrize("budget", [None, 400])
def test_buckets_save_padding(budget: int | None) -> None:
    lengths = random_lengths(5000)

    def waste(bucket: int) -> float:
        batches = BatchSampler(lengths, BatchConfig(size=16, max_tokens=budget, bucket=bucket), seed=0).epoch(0)
        return sum(padded(b, lengths) for b in batches) / lengths.sum() - 1

    assert waste(32) < 0.05
    assert waste(32) < waste(2) < waste(0)


def test_full_batches_stand_anywhere_in_the_epoch() -> None:
    """Batches of a bucket are not learnt from one after another, nor the short ones first."""
    lengths = random_lengths(4000)
    means = [lengths[b].mean() for b in BatchSampler(lengths, BatchConfig(size=16, bucket=50), seed=0).epoch(0)]
    assert abs(np.corrcoef(means[:-1], means[1:])[0, 1]) < 0.2


@pytest.mark.parametrize("bucket", [0, 4])
def test_an_example_that_no_batch_can_hold_is_named(bucket: int) -> None:
    lengths = np.array([3, 50, 7, 60])
    with pytest.raises(UserError, match=r"max_tokens: example 1 has 50 tokens.*2 of 4.*set it to 60 or more"):
        BatchSampler(lengths, BatchConfig(max_tokens=49, bucket=bucket), seed=0)
    assert len(BatchSampler(lengths, BatchConfig(max_tokens=60, bucket=bucket), seed=0).epoch(0)) >= 2


def test_no_examples() -> None:
    with pytest.raises(UserError, match="the training split has no examples"):
        BatchSampler(np.array([], dtype=np.int64), BatchConfig(), seed=0)


def test_one_example() -> None:
    assert BatchSampler(np.array([5]), BatchConfig(max_tokens=5), seed=0).epoch(9) == [[0]]
