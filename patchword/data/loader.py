"""Batches without end, in an order that any position of it can be resumed from, prepared by worker processes."""

from __future__ import annotations

import os
import signal
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol, Self, cast

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from patchword.data.batch import Batch
from patchword.data.sampler import BatchSampler


class Position(NamedTuple):
    """Where a batch comes from."""

    epoch: int = 0
    """Passes over the data before it."""
    batch: int = 0
    """Batches of that epoch before it."""


START = Position()


class WorkerDiedError(RuntimeError):
    """A process that prepares batches ended by itself, or was killed."""


class _Examples(Protocol):
    lengths: np.ndarray

    def __len__(self) -> int: ...

    def __getitem__(self, key: tuple[int, int]) -> Any: ...

    def collate(self, examples: Sequence[Any]) -> Batch: ...


class Loader:
    """An endless iterator of batches; the same with any number of workers, and from any position on.

    Args:
        examples: what batches are made of, asked for by (epoch, index).
        sampler: which of them go together.
        workers: processes that prepare batches ahead; 0: none but this one.
        device: where batches go; on cuda by way of page-locked memory.
        position: where the first batch comes from.
    """

    def __init__(
        self,
        examples: _Examples,
        sampler: BatchSampler,
        workers: int = 0,
        device: str = "cpu",
        position: Position = START,
    ) -> None:
        self.position = position
        """Where the next batch comes from; batches that were only prepared ahead do not count."""
        self.device, self.sampler, self.workers = device, sampler, workers
        self._ahead: deque[Position] = deque()
        loader = DataLoader(
            cast(Dataset[Any], examples),
            batch_sampler=self._plan(position),  # pyright: ignore[reportArgumentType]  (any iterable will do)
            collate_fn=examples.collate,
            num_workers=workers,
            pin_memory=device.startswith("cuda"),
            worker_init_fn=_end_with_the_trainer if workers else None,
            generator=torch.Generator(),  # its own: torch's global one must not move
        )
        with _signals_kept():
            self._batches: Iterator[Batch] | None = iter(loader)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Batch:
        """The next batch, on the device.

        Raises:
            WorkerDiedError: a worker process is gone; noticed within seconds.
        """
        if self._batches is None:
            raise ValueError("this loader is closed")
        try:
            batch = next(self._batches)
        except (RuntimeError, OSError, EOFError) as error:
            if self.workers and _is_worker_death(error):
                raise WorkerDiedError(str(error)) from error
            raise
        self.position = self._ahead.popleft()
        return batch if self.device == "cpu" else batch.to(self.device, non_blocking=True)

    def close(self) -> None:
        """End the worker processes."""
        self._batches = None

    def _plan(self, start: Position) -> Iterator[list[tuple[int, int]]]:
        """Keys of each batch. One plan over all epochs: workers need no restart, and never wait, between two."""
        epoch, first = start
        while True:
            batches = self.sampler.epoch(epoch)
            for i in range(first, len(batches)):
                self._ahead.append(Position(epoch, i + 1) if i + 1 < len(batches) else Position(epoch + 1, 0))
                yield [(epoch, index) for index in batches[i]]
            epoch, first = epoch + 1, 0


def _is_worker_death(error: Exception) -> bool:
    """Whether torch says that a worker is gone, or what was being read from one broke off."""
    said = str(error)
    if "in DataLoader worker process" in said:  # an error of the examples, passed on
        return False
    return isinstance(error, OSError | EOFError) or "DataLoader worker (pid" in said


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Around the start of workers: no signal reaches them before they are ready for it, and SIGCHLD stays as it was.

    Torch's handler of SIGCHLD raises wherever the training happens to be when a worker dies. Without it the next
    request for a batch notices, between two steps, where everything is whole.
    """
    handler = signal.getsignal(signal.SIGCHLD)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})  # workers inherit this
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGCHLD, handler)


def _end_with_the_trainer(worker: int) -> None:
    """Workers end when the training process says so; Ctrl-C and many a scheduler signal the whole group."""
    del worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # a fork server's children do not inherit it
    if hasattr(signal, "sigwaitinfo"):
        threading.Thread(target=_obey_parent, daemon=True).start()
    else:  # some systems cannot tell who sent a signal
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})


def _obey_parent() -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
        pass
    os._exit(0)
