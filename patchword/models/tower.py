"""One modality: an embedding and the stack that reads it."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from patchword.cache import StackCache
from patchword.config import FeaturesTowerConfig, ImageTowerConfig, TextTowerConfig, TowerConfig, implements
from patchword.nn import FeatureEmbedding, PatchEmbedding, Stack, TextEmbedding
from patchword.sequence import SequenceInfo, Tokens


class Tower(nn.Module):
    """Raw input -> tokens [B, T, D]. Without input it runs on no tokens, so that its weights stay in the graph."""

    def __init__(self, config: TowerConfig, embedding: TextEmbedding | PatchEmbedding | FeatureEmbedding) -> None:
        super().__init__()
        self.config, self.embedding = config, embedding
        self.stack = Stack(config, embedding.places)

    def forward(self, raw: Any, cache: StackCache | None = None) -> Tokens:
        """`TextInput`, `ImageInput`, `FeaturesInput` or a bare tensor -> tokens."""
        tokens = self.embedding(raw)
        x = F.dropout(tokens.x, self.config.embed_dropout) if self.training else tokens.x
        return Tokens(self.stack(Tokens(x, tokens.info), cache=cache), tokens.info)

    def new_cache(self, batch: int, max_len: int, like: Tensor, static: bool) -> StackCache:
        """What decoding remembers of this tower."""
        return self.stack.new_cache(batch, max_len, like, static)


@implements(TextTowerConfig)
class TextTower(Tower):
    """Token ids [B, T] -> tokens [B, T, D]."""

    embedding: TextEmbedding

    def __init__(self, config: TextTowerConfig) -> None:
        super().__init__(config, TextEmbedding(config))


@implements(ImageTowerConfig)
class ImageTower(Tower):
    """Pixels [B, C, height, width] -> tokens [B, N, D]."""

    embedding: PatchEmbedding

    def __init__(self, config: ImageTowerConfig) -> None:
        super().__init__(config, PatchEmbedding(config))
        self.first = 0 if config.gives_cls else 1

    def forward(self, raw: Any, cache: StackCache | None = None) -> Tokens:
        """`ImageInput` or a bare tensor -> tokens, without the cls token where it is not given."""
        x, info = super().forward(raw, cache)
        if not self.first:
            return Tokens(x, info)
        return Tokens(x[:, 1:], SequenceInfo(*(fact if fact is None else fact[:, 1:] for fact in info)))


@implements(FeaturesTowerConfig)
class FeaturesTower(Tower):
    """Vectors made elsewhere [B, N, F] -> tokens [B, N, D]."""

    embedding: FeatureEmbedding

    def __init__(self, config: FeaturesTowerConfig) -> None:
        super().__init__(config, FeatureEmbedding(config))
