"""Running text as one stream of token ids, and the windows that are cut from it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch

from patchword.config import UserError
from patchword.data.base import Split
from patchword.data.batch import Batch
from patchword.data.text import Tokenizer
from patchword.data.token_bins import TokenSplit
from patchword.sequence import TextInput

_HASHED = 1 << 20  # ids at either end that tell a stream from others
_CHECKED = 1 << 24  # ids that are looked at together


class Stream(NamedTuple):
    """A split as a model reads it."""

    name: str
    """What messages call it."""
    ids: np.ndarray
    """int [number of tokens]."""
    num_bytes: int | None
    """UTF-8 bytes of the text that all tokens but the first say; None: they do not give the text back exactly."""

    def digest(self) -> int:
        """A number that tells it from other streams."""
        ends = (self.ids[:_HASHED], self.ids[-_HASHED:])
        hashed = hashlib.blake2b(str(len(self.ids)).encode(), digest_size=8)
        for part in ends:
            hashed.update(np.ascontiguousarray(part, dtype="<u4").tobytes())
        return int.from_bytes(hashed.digest(), signed=True)


def documents(split: Split, ends: bool) -> Iterator[str]:
    """The texts of a split, one after another.

    Args:
        split: its records have the field text.
        ends: whether a token stands between two of them; else a line ends there.
    """
    last = ""
    for index in range(len(split)):
        for text in split.record(index).texts.get("text", ()):
            yield last if ends or last.endswith("\n") or not last else f"{last}\n"
            last = text
    yield last


def stream_of(split: Split, tokenizer: Tokenizer | None, vocab_size: int) -> Stream:
    """A split as one stream. Where the vocabulary has a token that ends texts, it stands before each of them.

    Raises:
        UserError: an id that the vocabulary lacks, or a character that it has no token for.
    """
    if isinstance(split, TokenSplit):
        ids = split.ids
        _check(split, ids, vocab_size)
        return Stream(split.name, ids, _said_bytes(tokenizer, ids))
    assert tokenizer is not None
    kept: list[np.ndarray] = []
    exact, num_bytes, end = True, 0, tokenizer.eos_id
    for text in filter(None, documents(split, end >= 0)):
        ids = tokenizer.encode_stream(text)
        exact = exact and tokenizer.decode(ids) == text
        num_bytes += len(text.encode("utf-8", "surrogatepass"))
        kept.append(np.array([end, *ids] if end >= 0 else ids, dtype=np.uint32))
    ids = np.concatenate(kept) if kept else np.zeros(0, dtype=np.uint32)
    if end < 0 and len(ids):
        num_bytes -= len(tokenizer.decode([int(ids[0])]).encode())
    return Stream(split.name, ids, num_bytes if exact else None)


def _check(split: TokenSplit, ids: np.ndarray, vocab_size: int) -> None:
    for start in range(0, len(ids), _CHECKED):
        part = ids[start : start + _CHECKED]
        if part.max(initial=0) >= vocab_size:
            place = start + int(np.argmax(part >= vocab_size))
            raise UserError(
                f"{split.record(0).id}: token {place} is {ids[place]}, but the vocabulary has {vocab_size} entries"
            )


def _said_bytes(tokenizer: Tokenizer | None, ids: np.ndarray) -> int | None:
    if tokenizer is None or not len(ids):
        return None
    text = tokenizer.decode(ids[1:].tolist())
    return len(text.encode()) if np.array_equal(tokenizer.encode_stream(text), ids[1:]) else None


class Windows:
    """Windows over a stream, as training learns from them; goes to worker processes.

    An epoch is the stream cut into windows that follow one another. Where its first one begins is drawn from (seed,
    epoch): over epochs every token stands at every place of a window.

    Args:
        stream: the text.
        length: tokens of a window (T), each with one to predict.
        tower: the text tower that reads it.
        seed: the run's.

    Raises:
        UserError: the stream is shorter than one window and what follows it.
    """

    def __init__(self, stream: Stream, length: int, tower: str, seed: int) -> None:
        if len(stream.ids) < length + 1:
            raise UserError(
                f"the {stream.name} split has {len(stream.ids)} tokens, a window and what follows it {length + 1}: "
                f"set model.{tower}.max_len to at most {max(1, len(stream.ids) - 1)}, or give more text"
            )
        self.ids, self.length, self.tower, self.seed = stream.ids, length, tower, seed
        self.count = max(1, (len(self.ids) - length) // length)
        self.lengths = np.full(self.count, length, dtype=np.int64)
        self.answers = np.array([stream.digest()], dtype=np.int64)

    def __len__(self) -> int:
        return self.count

    def start(self, epoch: int) -> int:
        """Where the first window of an epoch begins."""
        room = min(self.length, len(self.ids) - self.count * self.length)
        # raw bits: unlike a Generator's, a bit generator's stream never changes between numpy versions
        return int(np.random.PCG64(np.random.SeedSequence([self.seed, epoch, 2])).random_raw() % room)

    def __getitem__(self, key: tuple[int, int]) -> np.ndarray:
        """Window `key[1]` as epoch `key[0]` cuts it; int64 [T + 1]."""
        at = self.start(key[0]) + key[1] * self.length
        return self.ids[at : at + self.length + 1].astype(np.int64)

    def collate(self, examples: Sequence[np.ndarray]) -> Batch:
        """B windows side by side."""
        return windows_batch(np.stack(examples), self.tower)


def windows_batch(ids: np.ndarray, tower: str) -> Batch:
    """Windows int [B, T + 1] as a batch."""
    every = torch.from_numpy(ids)
    return Batch({tower: TextInput(every[:, :-1])}, {"said": every[:, 1:]}, tuple(map(str, range(len(ids)))))


def covering(stream: Stream, length: int) -> Iterator[np.ndarray]:
    """Windows int64 [T + 1] that predict every token but the first exactly once; the last may be shorter."""
    for at in range(0, len(stream.ids) - 1, length):
        yield stream.ids[at : at + length + 1].astype(np.int64)
