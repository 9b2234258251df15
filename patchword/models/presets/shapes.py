"""Models of well-known shapes as model configurations, without a task; `patchword convert` reads weights of most.

Their numbers are exactly those of the named models in Hugging Face's library, but for what no part of ours reads:
BERT's table of two segments, of which the first is part of its table of places.
"""

from __future__ import annotations

from collections.abc import Callable

from patchword.config import (
    LanguageHeadConfig,
    LayerNormConfig,
    LearnedPositionConfig,
    ModelConfig,
    ResidualConfig,
    SoftmaxAttentionConfig,
    TextTowerConfig,
)


def bert_small() -> ModelConfig:
    """BERT-small with its head for masked words (Turc et al. 2019)."""
    norm = LayerNormConfig(eps=1e-12)
    text = TextTowerConfig(
        dim=512,
        depth=4,
        vocab_size=30_522,
        max_len=512,
        position=LearnedPositionConfig(),
        attention=SoftmaxAttentionConfig(num_heads=8),
        norm=norm,
        residual=ResidualConfig(placement="post"),
        entry_norm=True,
        final_norm=False,
    )
    head = LanguageHeadConfig(source="text", bias=True, transform="gelu", norm=norm)
    return ModelConfig(towers={"text": text}, heads={"text": head})


SHAPES: dict[str, Callable[[], ModelConfig]] = {"bert-small": bert_small}
"""By name; `create_model` takes them, too."""
