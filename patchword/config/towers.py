"""Choices for towers: one a modality, what its input is and the stack that reads it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from annotated_types import Gt

from patchword.config.errors import Problem
from patchword.config.numbers import Dropout, Positive
from patchword.config.stack import StackConfig

Side = tuple[Positive, Positive]


class TowerConfig(StackConfig, family="tower"):
    """One modality: what its input is, and the stack that reads it (depth 0: none)."""

    embed_dropout: Dropout = 0.0
    """Share of the embedded input that is zeroed in training."""


class TextTowerConfig(TowerConfig, kind="text"):
    """Token ids to vectors."""

    vocab_size: Positive | None = None
    """Entries of the vocabulary (V); null: as many as the tokenizer has, or as the tower whose table it shares."""
    min_rows: Positive | None = None
    """Rows that the embedding table has at least: those beyond the vocabulary are read and never said; null: there are
    none."""
    max_len: Positive = 64
    """The longest text, in tokens."""
    embed_scale: bool = False
    """Whether embeddings are multiplied by sqrt(dim), as in Vaswani et al. 2017."""
    shares: str | None = None
    """Another text tower whose embedding table is this one's, too (Vaswani et al. 2017); null: it has its own."""

    def problems(self) -> Iterator[Problem]:
        """Also rows for a table that is another tower's."""
        yield from super().problems()
        if self.shares is not None and self.min_rows is not None:
            yield Problem("min_rows", f"the table is that of {self.shares}: set it there")


class ImageTowerConfig(TowerConfig, kind="image"):
    """Pictures, cut into patches, to vectors (Dosovitskiy et al. 2020); any size and aspect ratio."""

    image_size: Side = (64, 64)
    """Height and width that learned positions and cost estimates are made for, in pixels."""
    patch_size: Side = (8, 8)
    """Height and width of a patch, in pixels."""
    channels: Positive = 3
    """Colour channels."""
    stem: tuple[Positive, ...] = ()
    """Channels after each of some 3x3 convolutions of stride 2 that come before the patches are cut (Xiao et al. 2021);
    empty: none, as in ViT."""
    cls_token: bool = False
    """Whether a learned token stands before the patches."""
    gives_cls: bool = True
    """Whether that token is among what the tower gives; false: only its own layers see it (LLaVA)."""
    mask_token: bool = False
    """Whether a learned token stands for patches that are hidden (masked modelling, Xie et al. 2022)."""
    patch_norm: bool = False
    """Whether a norm comes before the patch map."""
    patch_bias: bool = True
    """Whether the patch map has an offset."""
    embed_norm: bool = False
    """Whether a norm follows the patch map."""
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    """Subtracted from pixels in 0..1, one a channel."""
    std: tuple[Annotated[float, Gt(0)], ...] = (0.5, 0.5, 0.5)
    """Divides pixels after the mean is subtracted, one a channel."""

    def problems(self) -> Iterator[Problem]:
        """Also sizes that are not whole patches, and statistics for another number of channels."""
        yield from super().problems()
        for side, patch in zip(self.image_size, self.patch_size, strict=True):
            if side % patch:
                yield Problem(
                    "image_size",
                    f"{list(self.image_size)} is not a whole number of patches of {list(self.patch_size)}",
                )
                break
        if any(patch % 2 ** len(self.stem) for patch in self.patch_size):
            halved = f"{len(self.stem)} convolutions halve a side {len(self.stem)} times"
            yield Problem(
                "stem", f"{halved}: patch_size {list(self.patch_size)} is not divisible by {2 ** len(self.stem)}"
            )
        if not self.gives_cls and not self.cls_token:
            yield Problem("gives_cls", "is false, but there is no such token: cls_token is false")
        for name in ("mean", "std"):
            if len(getattr(self, name)) != self.channels:
                yield Problem(name, f"has {len(getattr(self, name))} values for {self.channels} channels")

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches of a picture of `image_size`."""
        return self.image_size[0] // self.patch_size[0], self.image_size[1] // self.patch_size[1]


class FeaturesTowerConfig(TowerConfig, kind="features"):
    """Vectors that were made elsewhere, one after another: patches, regions, frames, spectra."""

    max_len: Positive = 576
    """Most vectors of a sample that learned positions have a place for."""
    in_dim: Positive | None = None
    """Width of the vectors, which a linear map brings to `dim`; null: they are `dim` wide, and there is no map."""
    embed_norm: bool = False
    """Whether a norm comes first, after the map where there is one."""
