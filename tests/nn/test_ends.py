"""Where tokens come from and where they go: embeddings and pooling, against their definitions."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from patchword.config import (
    ImageTowerConfig,
    TextTowerConfig,
    UserError,
)
from patchword.nn import PatchEmbedding, TextEmbedding
from patchword.sequence import ImageInput, SequenceInfo, TextInput
from patchword.testing import randomise

IMAGE = ImageTowerConfig(dim=12, patch_size=(4, 2), image_size=(16, 16), mean=(0.1, 0.4, 0.6), std=(0.2, 0.5, 0.8))


def patches(config: ImageTowerConfig = IMAGE) -> PatchEmbedding:
    part = PatchEmbedding(config)
    randomise(part, torch.Generator().manual_seed(1))
    return part.double()


def convolved(part: PatchEmbedding, pixels: Tensor) -> Tensor:
    """The same map as a convolution; [B, rows, columns, D]."""
    mean, std = (torch.tensor(v, dtype=torch.float64)[:, None, None] for v in (IMAGE.mean, IMAGE.std))
    weight = part.proj.weight.view(12, 3, 4, 2)
    return F.conv2d((pixels - mean) / std, weight, part.proj.bias, stride=(4, 2)).permute(0, 2, 3, 1)


def close(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-6)  # mean and std are float32


def test_patches_are_a_convolution() -> None:
    part, pixels = patches(), torch.rand(2, 3, 12, 8, dtype=torch.float64)
    tokens = part(pixels)
    want = convolved(part, pixels)
    assert want.shape == (2, 3, 4, 12)
    close(tokens.x, want.flatten(1, 2))
    assert tokens.info.pos is not None
    assert tokens.info.pos.tolist() == [[[row, column] for row in range(3) for column in range(4)]]
    assert tokens.info.valid is None
    whole = (pixels * 255).round()
    close(part(whole.to(torch.uint8)).x, convolved(part, whole / 255).flatten(1, 2))


def test_only_patches_inside_a_picture_are_real() -> None:
    part, pixels = patches(), torch.rand(4, 3, 12, 8, dtype=torch.float64)
    size = torch.tensor([[12, 8], [4, 6], [0, 0], [8, 2]])
    tokens = part(ImageInput(pixels, size))
    valid, pos, want = tokens.info.valid, tokens.info.pos, convolved(part, pixels)
    assert valid is not None
    assert pos is not None
    for i, (high, wide) in enumerate(size.tolist()):
        spots = [(row, column) for row in range(high // 4) for column in range(wide // 2)]
        assert [tuple(p) for p in pos[i, valid[i]].tolist()] == spots
        for x, (row, column) in zip(tokens.x[i, valid[i]], spots, strict=True):
            close(x, want[i, row, column])


def test_no_more_tokens_than_the_largest_picture_has() -> None:
    """A tall and a wide picture share a square canvas, and cost no square."""
    part = patches()
    tokens = part(ImageInput(torch.rand(2, 3, 16, 16, dtype=torch.float64), torch.tensor([[16, 2], [4, 16]])))
    assert tokens.x.shape == (2, 8, 12)


def test_a_stem_is_convolutions_before_the_patches() -> None:
    """Each picture of a canvas is what it is alone: no convolution looks past its end."""
    part = patches(IMAGE.replace(patch_size=(8, 4), stem=(5, 7)))
    pixels, size = torch.rand(3, 3, 16, 16, dtype=torch.float64), torch.tensor([[16, 16], [8, 12], [0, 0]])
    tokens = part(ImageInput(pixels, size))
    mean, std = (torch.tensor(v, dtype=torch.float64)[:, None, None] for v in (IMAGE.mean, IMAGE.std))
    assert tokens.info.valid is not None
    assert tokens.info.valid.sum(1).tolist() == [8, 3, 0]
    for i, (high, wide) in enumerate(size[:2].tolist()):
        x = (pixels[i : i + 1, :, :high, :wide] - mean) / std
        for j in range(2):
            conv = part.stem.get_submodule(f"convs.{j}")
            x = F.conv2d(x, conv.get_parameter("weight"), conv.get_parameter("bias"), stride=2, padding=1)
            if j == 0:
                assert part.stem.norm is not None
                x = F.instance_norm(x, weight=part.stem.norm.gain.flatten(), bias=part.stem.norm.bias.flatten())
            x = F.gelu(x)
        want = F.conv2d(x, part.proj.weight.view(12, 7, 2, 1), part.proj.bias, stride=(2, 1))
        close(tokens.x[i, tokens.info.valid[i]], want.flatten(2).mT[0])


def test_a_cls_token_stands_before_the_patches() -> None:
    part, plain = patches(IMAGE.replace(cls_token=True)), patches()
    plain.load_state_dict({name: value for name, value in part.state_dict().items() if name != "cls"})
    picture = ImageInput(torch.rand(3, 3, 12, 8, dtype=torch.float64), torch.tensor([[12, 8], [0, 0], [4, 2]]))
    got, want = part(picture), plain(picture)
    assert part.cls is not None
    close(got.x[:, 0], part.cls.expand(3, -1))
    close(got.x[:, 1:], want.x)
    assert got.info.pos is not None
    assert got.info.valid is not None
    assert want.info.valid is not None
    assert (got.info.pos[:, 0] == -1).all()
    assert torch.equal(got.info.valid[:, 1:], want.info.valid)
    assert got.info.valid[:, 0].tolist() == [True, False, True]


@pytest.mark.parametrize(("high", "wide"), [(10, 8), (12, 7)])
def test_broken_patches_are_refused(high: int, wide: int) -> None:
    with pytest.raises(UserError, match=f"{high} x {wide} pixels is not a whole number of patches of 4 x 2"):
        patches()(torch.rand(1, 3, high, wide))
    size = torch.tensor([[12, 8], [high, wide]])
    with pytest.raises(UserError, match=f"{high} x {wide} pixels is not a whole number of patches"):
        patches()(ImageInput(torch.rand(2, 3, 12, 8), size))


@pytest.mark.parametrize("scale", [False, True])
def test_text(scale: bool) -> None:
    part = TextEmbedding(TextTowerConfig(dim=16, vocab_size=7, embed_scale=scale))
    ids, valid = torch.randint(0, 7, (2, 5)), torch.rand(2, 5) < 0.5
    want = part.table.weight[ids] * (4.0 if scale else 1.0)
    torch.testing.assert_close(part(ids).x, want)
    tokens = part(TextInput(ids, valid))
    torch.testing.assert_close(tokens.x, want)
    assert tokens.info.valid is valid
    assert part(ids).info == SequenceInfo()


def test_a_vocabulary_must_be_known() -> None:
    with pytest.raises(UserError, match="vocab_size is not known yet"):
        TextEmbedding(TextTowerConfig(dim=8))
