"""Places in tables, and tables that are resized to the picture."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

from patchword.config import (
    ImageTowerConfig,
    LearnedPositionConfig,
    SinusoidalPositionConfig,
    TextTowerConfig,
    UserError,
)
from patchword.models.tower import Tower
from patchword.nn.positions import Heads, Places, Position
from patchword.sequence import ImageInput, SequenceInfo, TextInput
from patchword.testing import randomise

TEXT = TextTowerConfig(dim=8, depth=0, vocab_size=9, max_len=5, position=LearnedPositionConfig())
IMAGE = ImageTowerConfig(
    dim=8, depth=0, image_size=(24, 8), patch_size=(8, 4), position=LearnedPositionConfig(), cls_token=True
)
FITTED = IMAGE.replace(image_size=(40, 16), position=LearnedPositionConfig(interpolate=True))


def tower(config: ImageTowerConfig | TextTowerConfig) -> Tower:
    made = config.build()
    randomise(made, torch.Generator().manual_seed(3))
    return made.double()


def table(config: ImageTowerConfig | TextTowerConfig) -> Tensor:
    return tower(config).stack.position.get_parameter("table.weight")


def added(part: Position, pos: Tensor) -> Tensor:
    return part.add(torch.zeros(*pos.shape[:2], 8, dtype=torch.float64), SequenceInfo(pos=pos))


def test_learned_places_follow_the_tower() -> None:
    assert len(table(TEXT)) == 5
    assert len(table(TEXT.replace(position=LearnedPositionConfig(max_len=7)))) == 7
    assert len(table(IMAGE)) == 3 * 2 + 1
    assert len(table(IMAGE.replace(cls_token=False))) == 3 * 2


def test_padding_needs_no_place() -> None:
    valid = torch.tensor([[False] * 4 + [True] * 3, [True, False, True, False, True, True, True]])
    tokens = tower(TEXT)(TextInput(torch.randint(0, 9, (2, 7)), valid))
    assert tokens.x.isfinite().all()


def test_places_outside_the_table_are_refused() -> None:
    with pytest.raises(UserError, match="learned positions were made for 5 places, 6 are needed: shorten the input"):
        tower(TEXT)(torch.zeros(1, 6, dtype=torch.long))
    with pytest.raises(UserError, match=r"made for 3 x 2 places, 3 x 3 are needed: set position\.interpolate"):
        tower(IMAGE)(torch.rand(1, 3, 24, 12))


# ------------------------------------------------------------------ resized tables


def resized(weights: Tensor, rows: int, columns: int) -> Tensor:
    """The table of `FITTED` at another size, by torch; its special row stays."""
    grid = weights[1:].T.view(1, 8, 5, 4)
    grid = F.interpolate(grid, (rows, columns), mode="bicubic", align_corners=False)
    return torch.cat([weights[:1], grid[0].flatten(1).T])


@pytest.mark.parametrize("size", [(5, 4), (1, 1), (2, 9), (5, 3), (11, 4), (13, 17), (3, 2)])
@torch.no_grad()
def test_a_table_fits_a_picture_of_any_size(size: tuple[int, int]) -> None:
    part = tower(FITTED).stack.position
    assert isinstance(part, Position)
    places = torch.cartesian_prod(*map(torch.arange, size)).view(1, -1, 2)
    got = added(part, F.pad(places, (0, 0, 1, 0), value=-1))
    want = resized(part.get_parameter("table.weight"), *size)
    torch.testing.assert_close(got[0], want, atol=1e-12, rtol=1e-12)
    if size == (5, 4):
        assert torch.equal(got[0], part.get_parameter("table.weight")), "its own size is the table itself"


@torch.no_grad()
def test_each_picture_of_a_batch_has_its_own_size() -> None:
    """Padding, the others' sizes and the canvas change nothing; a sample without a picture is fine."""
    image, pixels = tower(FITTED), torch.rand(4, 3, 48, 28, dtype=torch.float64)
    size = torch.tensor([[16, 28], [48, 8], [40, 16], [0, 0]])
    together = image(ImageInput(pixels, size))
    assert together.info.valid is not None
    assert together.x.isfinite().all()
    for i, (high, wide) in enumerate(size[:3].tolist()):
        alone = image(pixels[i : i + 1, :, :high, :wide])
        got = together.x[i][together.info.valid[i]]
        torch.testing.assert_close(got, alone.x[0], atol=1e-12, rtol=1e-12)
    assert not together.info.valid[3].any()


def test_a_resized_table_learns() -> None:
    """The gradient is that of torch's own resizing; also of nothing at all."""
    part = tower(FITTED).stack.position
    assert isinstance(part, Position)
    weights = part.get_parameter("table.weight")
    pos = F.pad(torch.cartesian_prod(torch.arange(7), torch.arange(3)).view(1, -1, 2), (0, 0, 1, 0), value=-1)
    up = torch.randn(1, 22, 8, dtype=torch.float64)
    (got,) = torch.autograd.grad((added(part, pos) * up).sum(), weights)
    (want,) = torch.autograd.grad((resized(weights, 7, 3) * up[0]).sum(), weights)
    torch.testing.assert_close(got, want, atol=1e-12, rtol=1e-12)
    for shape in ((2, 0, 2), (0, 3, 2), (0, 0, 2)):
        (nothing,) = torch.autograd.grad(added(part, torch.zeros(shape, dtype=torch.long)).sum(), weights)
        assert not nothing.any()


@torch.no_grad()
def test_a_tower_of_another_size_is_exported() -> None:
    image, pixels = tower(FITTED), torch.rand(2, 3, 24, 20, dtype=torch.float64)
    program = torch.export.export(Bare(image), (pixels,)).module()
    torch.testing.assert_close(program(pixels), image(pixels).x, atol=1e-12, rtol=1e-12)


class Bare(torch.nn.Module):
    def __init__(self, image: Tower) -> None:
        super().__init__()
        self.image = image

    def forward(self, pixels: Tensor) -> Tensor:
        return self.image(pixels).x


def test_several_pictures_in_a_row_cannot_be_fitted() -> None:
    part = tower(FITTED).stack.position
    assert isinstance(part, Position)
    info = SequenceInfo(pos=torch.zeros(1, 3, 2, dtype=torch.long), segment=torch.tensor([[0, 0, 1]]))
    with pytest.raises(ValueError, match="several pictures in one row"):
        part.add(torch.zeros(1, 3, 8, dtype=torch.float64), info)


# ------------------------------------------------------------------ reference fixtures


def fixture(shared: Path, name: str) -> dict[str, Tensor]:
    path = shared / "reference" / "fixtures" / f"{name}.safetensors"
    if not path.is_file():
        pytest.skip("needs ../shared/reference")
    return load_file(path)


def test_learned_positions_equal_their_fixture(shared: Path) -> None:
    data = fixture(shared, "s003_layer_pe_learned")
    part: Position = LearnedPositionConfig(max_len=32).build(Places(), 32, Heads(4, 8))
    part.load_state_dict({"table.weight": data["sd/position_embeddings"][0]})
    pos = torch.arange(9)[None]
    torch.testing.assert_close(part.add(data["in/x"], SequenceInfo(pos=pos)), data["out/out"], atol=1e-5, rtol=0)


def test_sinusoidal_positions_equal_their_fixture(shared: Path) -> None:
    """It has sine and cosine of a wave side by side; ours has all sines first."""
    data = fixture(shared, "s003_layer_pe_sinusoidal")
    part: Position = SinusoidalPositionConfig().build(Places(), 32, Heads(4, 8))
    order = torch.cat([torch.arange(0, 32, 2), torch.arange(1, 32, 2)])
    got = part.add(data["in/x"][..., order], SequenceInfo(pos=torch.arange(9)[None]))
    torch.testing.assert_close(got, data["out/out"][..., order], atol=1e-5, rtol=0)
