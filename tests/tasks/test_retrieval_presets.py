"""Numbers of parameters of presets that compare, from widths alone."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch

from patchword.models.create import planned_model
from patchword.models.model import count_parameters
from patchword.models.presets import load_config


def layer(dim: int, hidden: int) -> int:
    """Two norms, four maps of attention, two of the feed-forward, all with offsets."""
    return 4 * dim + 4 * (dim * dim + dim) + (dim * hidden + hidden) + (hidden * dim + dim)


def stem(channels: Sequence[int]) -> int:
    """3 x 3 convolutions with offsets, and a gain and an offset a channel of the norm after the first."""
    pairs = zip((3, *channels), channels, strict=False)
    return sum(9 * a * b + b for a, b in pairs) + 2 * channels[0]


def picture_tower(dim: int, hidden: int, depth: int, channels: Sequence[int], cells: int) -> int:
    """A stem, patches of `cells` of its outputs, layers, a last norm; sinusoidal places have no numbers."""
    return stem(channels) + (cells * channels[-1] * dim + dim) + depth * layer(dim, hidden) + 2 * dim


def word_tower(dim: int, hidden: int, depth: int, places: int) -> int:
    """Learned places, layers, a last norm; without the table of words."""
    return places * dim + depth * layer(dim, hidden) + 2 * dim


TINY = picture_tower(128, 256, 4, (16, 64, 128), 4) + word_tower(128, 256, 3, 48) + 2 * 128 * 128 + 1
SMALL_PAIR = picture_tower(128, 512, 4, (16, 64, 128), 4) + word_tower(128, 512, 1, 48) + 2 * 128 * 128 + 1
COCA = (
    picture_tower(256, 1024, 4, (32, 64, 128), 4)
    + word_tower(256, 1024, 2, 48)
    + (16 * 256 + 3 * (256 * 256 + 256))  # the summary: queries, maps of keys, values, and what they find
    + 2 * (layer(256, 1024) + 2 * 256 + 4 * (256 * 256 + 256))  # a trunk that also looks at the picture
    + 2 * 256  # its last norm
    + (256 + 3 * (256 * 256 + 256))  # the query that reads the picture off
    + 2 * 256 * 256
    + 1
)
COUNTS = {
    "clip-tiny": (TINY, 128),
    "clip-small": (SMALL_PAIR, 128),
    "siglip-small": (SMALL_PAIR + 1, 128),
    "coca-small": (COCA, 256),
}


@pytest.mark.parametrize("name", COUNTS)
@pytest.mark.parametrize("vocab", [500, 3000])
def test_presets_have_exactly_these_parameters(name: str, vocab: int) -> None:
    run = load_config(name, {"model.text.vocab_size": vocab})
    with torch.device("meta"):
        assert count_parameters(planned_model(run).build()) == COUNTS[name][0] + COUNTS[name][1] * vocab


def test_clip_base_is_clip() -> None:
    """Hugging Face's CLIPModel of ViT-B/32, whose temperature is one of its numbers."""
    with torch.device("meta"):
        assert count_parameters(planned_model(load_config("clip-base")).build()) == 151_277_313
