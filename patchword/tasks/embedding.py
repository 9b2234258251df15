"""Vectors of pictures and texts: a part of a batch at a time where they are learnt, a part of a split where not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from patchword.data.base import Split
from patchword.data.batch import BadSample
from patchword.data.image import BadImage, ImagePipeline
from patchword.sequence import ImageInput, TextInput
from patchword.tasks.gathered import of_all_ranks, own_share
from patchword.tasks.pairs import Sides
from patchword.tasks.pictures import on_canvas
from patchword.tasks.shown import text_input
from patchword.tasks.tokenizers import Tokenizers

_PICTURES = 50  # at a time, where nothing is learnt
_TEXTS = 250

Input = TypeVar("Input", ImageInput, TextInput)


def batch_vectors(model: nn.Module, inputs: Any, sides: Sides, chunk: int | None) -> tuple[Tensor, Tensor]:
    """Vectors of a batch's pictures [B, D] and texts [M, D].

    In chunks, no activations of any are kept: the gradient of the loss reaches the vectors first, and each chunk is
    then run again, with the random state that it had, to take it on to the weights (Gao et al. 2021, GradCache).
    """
    if chunk is None:
        found = model(inputs, heads=(sides.rows, sides.columns)).heads
        return found[sides.rows], found[sides.columns]

    def look(tower: str, head: str) -> Tensor:
        def part(given: ImageInput | TextInput) -> Tensor:
            return model({tower: given}, heads=(head,)).heads[head]

        return torch.cat([checkpoint(part, own, use_reentrant=False) for own in parts_of(inputs[tower], chunk)])

    return look(sides.image, sides.rows), look(sides.text, sides.columns)


def parts_of(given: Input, size: int) -> Iterator[Input]:
    """An input of a tower, `size` samples at a time; at least one part."""
    for start in range(0, max(len(given[0]), 1), size):
        yield type(given)(*(None if t is None else t[start : start + size] for t in given))  # pyright: ignore


class Found(NamedTuple):
    """Vectors of a split."""

    pictures: Tensor
    """float32 [N, D], on the CPU."""
    texts: Tensor
    """float32 [M, D], on the CPU."""
    of_pictures: Tensor
    """int [N], the record that each is of."""
    of_texts: Tensor
    """int [M]."""
    bad: tuple[BadSample, ...]
    """Records whose picture cannot be read; their texts are left out, too."""


class Embedder:
    """A model that makes vectors, without learning.

    Args:
        model: in eval mode, on the device.
        sides: its towers and heads.
        tokenizers: those of its text tower.
        device: where it is.
    """

    def __init__(self, model: nn.Module, sides: Sides, tokenizers: Tokenizers, device: str) -> None:
        self.model, self.sides, self.tokenizers, self.device = model, sides, tokenizers, device

    @torch.inference_mode()
    def pictures(self, pictures: Sequence[Tensor]) -> Tensor:
        """Of uint8 [3, h, w] each; [n, D]."""
        found = [
            self._look(self.sides.image, self.sides.rows, on_canvas(pictures[start : start + _PICTURES]))
            for start in range(0, max(len(pictures), 1), _PICTURES)
        ]
        return torch.cat(found)

    @torch.inference_mode()
    def texts(self, texts: Sequence[str]) -> Tensor:
        """[n, D]; texts are cut to what the model can place."""
        tower = self.sides.text
        ids = [self.tokenizers.ids(tower, text) for text in texts]
        found = [
            self._look(
                tower, self.sides.columns, text_input(ids[start : start + _TEXTS], self.tokenizers[tower].pad_id)
            )
            for start in range(0, max(len(ids), 1), _TEXTS)
        ]
        return torch.cat(found)

    def _look(self, tower: str, head: str, given: ImageInput | TextInput) -> Tensor:
        moved = type(given)(*(None if t is None else t.to(self.device) for t in given))  # pyright: ignore
        return self.model({tower: moved}, heads=(head,)).heads[head].float().cpu()

    def seen(self, split: Split, pipeline: ImagePipeline) -> tuple[Tensor, list[int], tuple[BadSample, ...]]:
        """Vectors of the pictures of a split [n, D], their records, and those that cannot be read: of all ranks."""
        pictures, records, bad = self._own(split, pipeline)
        return torch.cat(of_all_ranks([pictures])), of_all_ranks(records), tuple(of_all_ranks(bad))

    def _own(self, split: Split, pipeline: ImagePipeline) -> tuple[Tensor, list[int], list[BadSample]]:
        share = own_share(len(split))
        found, records, bad = [self.pictures([])], [], []
        for start in range(share.start, share.stop, _PICTURES):
            pictures = []
            for index in range(start, min(start + _PICTURES, share.stop)):
                name = split.record(index).id
                try:
                    pictures.append(pipeline(split.read(index), name, None))
                    records.append(index)
                except BadImage as error:
                    bad.append(BadSample(name, error.reason, error.message))
            found.append(self.pictures(pictures))
        return torch.cat(found), records, bad

    def split(self, split: Split, pipeline: ImagePipeline) -> Found:
        """Vectors of all pictures and captions of a split, of all ranks."""
        pictures, records, bad = self._own(split, pipeline)
        captions = [(index, text) for index in records for text in split.record(index).texts["caption"]]
        texts = self.texts([text for _, text in captions])
        of_pictures, of_texts = of_all_ranks(records), of_all_ranks([index for index, _ in captions])
        return Found(
            torch.cat(of_all_ranks([pictures])),
            torch.cat(of_all_ranks([texts])),
            torch.tensor(of_pictures, dtype=torch.long),
            torch.tensor(of_texts, dtype=torch.long),
            tuple(of_all_ranks(bad)),
        )
