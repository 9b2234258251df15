"""FiLM: scales and shifts of the towers that are there, by its formula; what follows in decoding is scaled alike."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from patchword.config import (
    AttentionPoolConfig,
    ConfigError,
    CrossFusionConfig,
    FilmFusionConfig,
    ImageTowerConfig,
    LanguageHeadConfig,
    MeanPoolConfig,
    ModelConfig,
    PerModalityPositionConfig,
    PoolConfig,
    PrefixFusionConfig,
    SinusoidalPositionConfig,
    SoftmaxAttentionConfig,
    StackConfig,
    SummaryConfig,
    TextTowerConfig,
)
from patchword.models.create import create_model
from patchword.nn.fusion import Fused
from patchword.sequence import SequenceInfo, Tokens
from patchword.testing import randomise

DIMS = {"image": 12, "text": 8, "sound": 8}


def built(pool: PoolConfig, dims: dict[str, int] = DIMS) -> Any:
    fusion = FilmFusionConfig(pool=pool).build(dims, 8)
    randomise(fusion, torch.Generator().manual_seed(1))
    return fusion.double()


def parts() -> dict[str, Tokens]:
    """Row 1 has no sound, row 2 no picture either."""
    here = {"image": [True, True, False], "text": [True] * 3, "sound": [True, False, False]}
    given = {}
    for name, width in DIMS.items():
        valid = torch.tensor(here[name])[:, None].expand(3, 4)
        given[name] = Tokens(torch.randn(3, 4, width, dtype=torch.float64), SequenceInfo(valid=valid))
    return given


@pytest.mark.parametrize("pool", [MeanPoolConfig(), AttentionPoolConfig(num_heads=2)], ids=lambda c: c.kind)
def test_film(pool: PoolConfig) -> None:
    fusion, given = built(pool), parts()
    fused: Fused = fusion(given)
    x = given["text"].x
    films = {}
    for name in ("image", "sound"):
        wide = Tokens(fusion.projectors(name, given[name].x), given[name].info)
        films[name] = fusion.films[name](fusion.pools[name](wide))
    want = x.clone()
    for row, heard in enumerate((("image", "sound"), ("image",), ())):
        scale = 1 + sum((films[n][row, :8] for n in heard), torch.zeros(8))
        shift = sum((films[n][row, 8:] for n in heard), torch.zeros(8))
        want[row] = scale * x[row] + shift
    torch.testing.assert_close(fused.tokens.x, want, atol=1e-12, rtol=1e-12)
    assert fused.tokens.info is given["text"].info
    assert fused.kept is not None
    after = fusion.following(Tokens(x[:, :1]), fused.kept)
    torch.testing.assert_close(after.x, want[:, :1], atol=1e-12, rtol=1e-12)


def test_one_tower_alone_is_left_as_it_is() -> None:
    text = parts()["text"]
    fused = built(MeanPoolConfig(), {"text": 8})({"text": text})
    assert fused.tokens is text
    assert fused.kept is None


def test_heads_must_divide_the_width() -> None:
    film = FilmFusionConfig(pool=AttentionPoolConfig(num_heads=3))
    assert [p.path for p in film.misfits(DIMS, 8)] == ["pool.num_heads"]
    cross = CrossFusionConfig(summary=SummaryConfig(num_heads=3))
    assert [p.path for p in cross.misfits(DIMS, 8)] == ["summary.num_heads"]


@pytest.mark.parametrize("summary", [None, SummaryConfig()])
def test_a_summary_has_no_places(summary: SummaryConfig | None) -> None:
    own = SoftmaxAttentionConfig(causal=True)
    image = ImageTowerConfig(dim=16)
    text = TextTowerConfig(dim=16, vocab_size=5, attention=own)
    places = PerModalityPositionConfig(of={"image": SinusoidalPositionConfig(), "text": SinusoidalPositionConfig()})

    def model() -> ModelConfig:
        return ModelConfig(
            towers={"image": image, "text": text},
            fusion=PrefixFusionConfig(summary=summary),
            trunk=StackConfig(dim=16, position=places, attention=own),
            heads={"text": LanguageHeadConfig()},
        )

    if summary is None:
        create_model(model())
        return
    with pytest.raises(ConfigError, match=r"trunk\.position\.kind: a summary .* has no places"):
        model()
