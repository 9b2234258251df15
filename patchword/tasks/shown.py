"""What a model is shown of samples: pictures through one tower, texts through others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import cast

import torch
from torch import Tensor

from patchword.config import RunConfig, TextTowerConfig, UserError
from patchword.sequence import ImageInput, TextInput
from patchword.tasks.base import Query
from patchword.tasks.pictures import needed_pictures, on_canvas
from patchword.tasks.tokenizers import Tokenizers

Reads = Mapping[str, list[int]]
"""Token ids that each reading tower gets, by the tower's name."""


class Shown:
    """Makes inputs of pictures and texts.

    Args:
        image: the tower that sees the picture; None: none does.
        reads: the towers that read a text, and the field of a record that each gets.
        tokenizers: those of these towers.
        blank: whether pictures are hidden.
    """

    def __init__(self, image: str | None, reads: Mapping[str, str], tokenizers: Tokenizers, blank: bool) -> None:
        self.image, self.reads, self.tokenizers, self.blank = image, dict(reads), tokenizers, blank

    def ids(self, texts: Mapping[str, str]) -> Reads:
        """Token ids of the text of each tower."""
        return {tower: self.tokenizers.ids(tower, text) for tower, text in texts.items()}

    def inputs(self, pictures: Sequence[Tensor], reads: Sequence[Reads]) -> dict[str, ImageInput | TextInput]:
        """Inputs of the towers.

        Args:
            pictures: uint8 [3, h, w] each; not looked at where no tower sees them.
            reads: of each sample, or of each of several texts of every sample.
        """
        made: dict[str, ImageInput | TextInput] = {}
        if self.image is not None:
            made[self.image] = on_canvas([torch.zeros_like(p) for p in pictures] if self.blank else pictures)
        for tower in self.reads:
            rows = [own.get(tower, []) for own in reads]
            made[tower] = text_input(rows, self.tokenizers[tower].pad_id)
        return made

    def of_queries(self, queries: Sequence[Query]) -> tuple[list[Tensor], list[Reads]]:
        """Pictures and token ids of what people ask.

        Raises:
            UserError: a query lacks what is seen or read, or has what is not.
        """
        pictures = needed_pictures(queries) if self.image is not None else []
        if self.image is None and any(query.picture is not None for query in queries):
            raise UserError("this model sees no pictures: leave them out (--image)")
        if not self.reads:
            return pictures, [{} for _ in queries]
        if len(self.reads) > 1:
            raise UserError(f"this model reads several texts ({', '.join(self.reads.values())}): ask it from Python")
        (tower, field) = next(iter(self.reads.items()))
        if any(query.text is None for query in queries):
            raise UserError(f"say the {field}: --text TEXT")
        return pictures, [self.ids({tower: query.text or ""}) for query in queries]


def text_input(rows: Sequence[Sequence[int]], pad_id: int) -> TextInput:
    """Token ids padded on the right, [B, longest]."""
    length = max(map(len, rows), default=0)
    ids = torch.full((len(rows), length), pad_id, dtype=torch.long)
    for row, own in zip(ids, rows, strict=True):
        row[: len(own)] = torch.tensor(own, dtype=torch.long)
    valid = torch.arange(length) < torch.tensor([len(own) for own in rows], dtype=torch.long)[:, None]
    return TextInput(ids, valid)


def full_inputs(
    run: RunConfig, image: str | None, reads: Iterable[str], size: int, rows: int
) -> dict[str, ImageInput | TextInput]:
    """Made-up inputs with every place filled: `size` pictures, and `rows` texts for each tower of `reads`."""
    made: dict[str, ImageInput | TextInput] = {}
    if image is not None:
        pixels = torch.zeros(size, 3, run.data.image.height, run.data.image.width, dtype=torch.uint8)
        made[image] = ImageInput(pixels)
    for tower in reads:
        length = cast(TextTowerConfig, run.model.towers[tower]).max_len
        ids = torch.zeros(rows, length, dtype=torch.long)
        made[tower] = TextInput(ids, torch.ones(rows, length, dtype=torch.bool))
    return made
