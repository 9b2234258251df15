"""Raw input to tokens: text by a table, pictures by patches, vectors of another model as they are or by a map."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from patchword.config import FeaturesTowerConfig, ImageTowerConfig, TextTowerConfig, UserError
from patchword.nn.positions import Places
from patchword.nn.stem import ConvStem
from patchword.sequence import FeaturesInput, ImageInput, SequenceInfo, TextInput, Tokens, can_look


class TextEmbedding(nn.Module):
    """A learned vector for each token id."""

    def __init__(self, config: TextTowerConfig) -> None:
        super().__init__()
        if config.vocab_size is None:
            raise UserError("text tower: vocab_size is not known yet; it follows from the tokenizer, or set vocab_size")
        self.table = nn.Embedding(max(config.vocab_size, config.min_rows or 0), config.dim)
        self.scale = config.dim**0.5 if config.embed_scale else 1.0
        self.places = Places(extent=(config.max_len,))

    def forward(self, text: TextInput | Tensor) -> Tokens:
        """Ids [B, T] -> tokens [B, T, D]; left or right padding changes no real token's place."""
        ids, valid = text if isinstance(text, TextInput) else (text, None)
        x = self.table(ids)
        if self.scale != 1.0:
            x = x * self.scale
        return Tokens(x, SequenceInfo(valid=valid))

    def empty(self, batch: int) -> TextInput:
        """What a batch without text looks like: no tokens."""
        return TextInput(torch.zeros(batch, 0, dtype=torch.long, device=self.table.weight.device))


class PatchEmbedding(nn.Module):
    """Pictures cut into patches, each mapped to a vector (Dosovitskiy et al. 2020); a cls token where configured.

    Pictures of one batch may differ in size: they share a canvas, and only whole patches inside a picture are real.
    """

    def __init__(self, config: ImageTowerConfig) -> None:
        super().__init__()
        self.patch = config.patch_size
        self.stem = ConvStem(config.channels, config.stem)
        self.cell = (self.patch[0] // self.stem.factor, self.patch[1] // self.stem.factor)
        numbers = self.stem.out_channels * self.cell[0] * self.cell[1]
        self.patch_norm = config.norm.build(numbers) if config.patch_norm else None
        self.proj = nn.Linear(numbers, config.dim, config.patch_bias)
        self.norm = config.norm.build(config.dim) if config.embed_norm else None
        self.cls = nn.Parameter(torch.empty(config.dim)) if config.cls_token else None
        self.mask_token = nn.Parameter(torch.empty(config.dim)) if config.mask_token else None
        self.numbers = config.channels * self.patch[0] * self.patch[1]
        self.channels = config.channels
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(config.mean)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(config.std)[:, None, None], persistent=False)
        self.places = Places(extent=config.grid, axes=2, special=config.cls_token)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """The tokens of the class and of what is hidden start at zero."""
        for token in (self.cls, self.mask_token):
            if token is not None:
                nn.init.zeros_(token)

    def forward(self, image: ImageInput | Tensor) -> Tokens:
        """Pixels [B, C, height, width] -> tokens [B, N, D], N = patches (+ 1 with a cls token).

        Raises:
            UserError: a canvas or a picture that is not a whole number of patches.
        """
        pixels, size, hidden = image if isinstance(image, ImageInput) else (image, None, None)
        if hidden is not None and (size is not None or self.mask_token is None):
            raise ValueError("patches can be hidden in pictures of one size, in a tower with a token for them")
        patches, rows, columns = self._cut(pixels, size, hidden)
        pos = torch.cartesian_prod(torch.arange(rows), torch.arange(columns)).view(1, -1, 2).to(pixels.device)
        valid = None
        if size is not None:
            valid = self._inside(pos, size)
            patches, pos, valid = _compact(patches, pos, valid)
        x = self.proj(patches if self.patch_norm is None else self.patch_norm(patches))
        if self.norm is not None:
            x = self.norm(x)
        if hidden is not None and self.mask_token is not None:
            x = torch.where(hidden[..., None], self.mask_token.to(x.dtype), x)
        elif self.mask_token is not None:  # it stays in the graph
            x = x + self.mask_token.to(x.dtype) * 0
        return self._with_cls(x, pos, valid)

    def normalised_patches(self, pixels: Tensor) -> Tensor:
        """Pixels of each patch as the tower sees them, before any stem; [B, C, height, width] -> [B, N, C x h x w]."""
        return _patches(self._normalised(pixels), self.patch)

    def _normalised(self, pixels: Tensor) -> Tensor:
        unit = 255.0 if pixels.dtype == torch.uint8 else 1.0
        values = pixels.to(self.proj.weight.dtype)
        return torch.addcmul(-self.mean / self.std, values, 1 / (unit * self.std))  # (x / unit - mean) / std

    def _cut(self, pixels: Tensor, size: Tensor | None, hidden: Tensor | None) -> tuple[Tensor, int, int]:
        """Normalised patches, row by row, values in the order (channel, row, column): a convolution's own."""
        height, width = pixels.shape[2:]
        if height % self.patch[0] or width % self.patch[1]:
            raise UserError(
                f"a picture of {height} x {width} pixels is not a whole number of patches of "
                f"{self.patch[0]} x {self.patch[1]}"
            )
        rows, columns = height // self.patch[0], width // self.patch[1]
        x = self._normalised(pixels)
        if hidden is not None:  # a stem would look over the edges of patches
            places = hidden.view(-1, 1, rows, columns)
            x = x.masked_fill(places.repeat_interleave(self.patch[0], 2).repeat_interleave(self.patch[1], 3), 0)
        return _patches(self.stem(x, size), self.cell), rows, columns

    def _inside(self, pos: Tensor, size: Tensor) -> Tensor:
        patch = torch.tensor(self.patch, device=size.device)
        if can_look(size) and (size % patch).any():
            bad = size[(size % patch).any(-1)][0].tolist()
            raise UserError(f"a picture of {bad[0]} x {bad[1]} pixels is not a whole number of patches of {self.patch}")
        return (pos < (size // patch)[:, None, :]).all(-1)

    def _with_cls(self, x: Tensor, pos: Tensor, valid: Tensor | None) -> Tokens:
        if self.cls is not None:
            x = torch.cat([self.cls.to(x.dtype).expand(x.shape[0], 1, -1), x], 1)
            pos = F.pad(pos, (0, 0, 1, 0), value=-1)
            if valid is not None:  # a sample without a picture has no cls token either
                valid = torch.cat([valid.any(-1, keepdim=True), valid], 1)
        return Tokens(x, SequenceInfo(valid=valid, pos=pos))

    def empty(self, batch: int) -> ImageInput:
        """What a batch without pictures looks like: canvases of no size."""
        weight = self.proj.weight
        pixels = torch.zeros(batch, self.channels, 0, 0, device=weight.device, dtype=weight.dtype)
        return ImageInput(pixels, torch.zeros(batch, 2, dtype=torch.long, device=weight.device))


class FeatureEmbedding(nn.Module):
    """Vectors that were made elsewhere, mapped to the width of tokens where they have another.

    A vector's place is its place among the real ones of its row.
    """

    def __init__(self, config: FeaturesTowerConfig) -> None:
        super().__init__()
        self.width = config.in_dim or config.dim
        self.proj = nn.Linear(config.in_dim, config.dim) if config.in_dim is not None else None
        self.norm = config.norm.build(config.dim) if config.embed_norm else None
        self.like: Tensor  # the model's device and type of number: there may be no weight to ask
        self.register_buffer("like", torch.empty(0), persistent=False)
        self.places = Places(extent=(config.max_len,))

    def forward(self, features: FeaturesInput | Tensor) -> Tokens:
        """Vectors [B, N, F] -> tokens [B, N, D]; what stands where none is real changes nothing, even if not finite.

        Raises:
            UserError: vectors of another width, or a validity of another shape.
        """
        x, valid = features if isinstance(features, FeaturesInput) else (features, None)
        if x.ndim != 3 or x.shape[-1] != self.width:
            raise UserError(f"features should be [B, N, {self.width}], got {list(x.shape)}")
        x = x.to(self.like.dtype)
        if valid is not None:
            if valid.shape != x.shape[:2]:
                raise UserError(
                    f"features {list(x.shape)} need a validity of {list(x.shape[:2])}, got {list(valid.shape)}"
                )
            x = x.masked_fill(~valid[..., None], 0.0)
        if self.proj is not None:
            x = self.proj(x)
        return Tokens(x if self.norm is None else self.norm(x), SequenceInfo(valid=valid))

    def empty(self, batch: int) -> FeaturesInput:
        """What a batch without vectors looks like: none a sample."""
        return FeaturesInput(self.like.new_zeros(batch, 0, self.width))


def _patches(x: Tensor, cell: tuple[int, int]) -> Tensor:
    """[B, C, height, width] -> [B, N, C x high x wide], row by row."""
    (batch, channels, height, width), (high, wide) = x.shape, cell
    rows, columns = height // high, width // wide
    x = x.unflatten(3, (columns, wide)).unflatten(2, (rows, high))  # [B, C, rows, high, columns, wide]
    return x.permute(0, 2, 4, 1, 3, 5).reshape(batch, rows * columns, channels * high * wide)


def _compact(patches: Tensor, pos: Tensor, valid: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
    """Real patches first, as many columns as the largest picture needs: a wide and a tall one then cost no square."""
    most = int(valid.sum(-1).max()) if valid.numel() else 0
    keep = torch.argsort(valid.int(), dim=-1, descending=True, stable=True)[:, :most]
    rows = torch.arange(len(patches), device=patches.device)[:, None]
    patches, pos, valid = patches[rows, keep], pos.expand(len(patches), -1, -1)[rows, keep], valid[rows, keep]
    return patches, pos.masked_fill(~valid[..., None], 0), valid  # what is not real needs no place in a table
