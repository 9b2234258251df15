"""FLOPs of whole models from their configuration alone: towers, fusions, trunk, heads; the second implementation.

Nothing here looks at a trace. B batch, T and S tokens, D width. No padding; pictures want no gradient, tokens do.
"""

from __future__ import annotations

from patchword.config import (
    EmbeddingHeadConfig,
    HeadConfig,
    ImageTowerConfig,
    LabelHeadConfig,
    LanguageHeadConfig,
    ModelConfig,
    TextTowerConfig,
)
from tests.sizing.closed_base import Cost, product
from tests.sizing.closed_blocks import linear, pool, stack, together
from tests.sizing.closed_fusions import Sizes, fusion


def picture(config: ImageTowerConfig, batch: int) -> Cost:
    """Convolutions and the map of patches, without a gradient for pixels; then blocks."""
    height, width = config.image_size
    channels, parts, first = config.channels, [], 1
    for wider in config.stem:
        height, width = height // 2, width // 2
        parts.append(product(1, batch * height * width, 9 * channels, wider, first))
        channels, first = wider, 2
    cell = config.patch_size[0] * config.patch_size[1] // 4 ** len(config.stem)
    patches = config.grid[0] * config.grid[1]
    parts.append(linear(batch * patches, channels * cell, config.dim, first))
    return together(*parts, stack(config, batch, patches + config.cls_token))


def tokens_of(config: ModelConfig, text: int) -> dict[str, int]:
    """Tokens of each tower, if texts have that many."""
    found = {}
    for name, tower in config.towers.items():
        image = isinstance(tower, ImageTowerConfig)
        found[name] = tower.grid[0] * tower.grid[1] + tower.cls_token if image else text
    return found


def head(config: HeadConfig, dim: int, rows: int, tokens: int, vocab: int) -> Cost:
    if isinstance(config, LanguageHeadConfig):
        return linear(rows * tokens, dim, vocab)
    if isinstance(config, LabelHeadConfig):
        return pool(config.pool, dim, rows, tokens).plus(linear(rows, dim, config.num_classes))
    assert isinstance(config, EmbeddingHeadConfig)
    return pool(config.pool, dim, rows, tokens).plus(linear(rows, dim, config.out_dim))


def model(config: ModelConfig, batch: int, text: int, texts: int = 1) -> dict[str, Cost]:
    """Costs by component, as sizing names them; of those that compute anything. `texts`: of each sample."""
    sizes = Sizes(batch, tokens_of(config, text))
    found: dict[str, Cost] = {}
    for name, tower in config.towers.items():
        is_picture = isinstance(tower, ImageTowerConfig)
        found[name] = picture(tower, batch) if is_picture else stack(tower, batch * texts, text)
    ends = {name: (tower.dim, sizes.tokens[name]) for name, tower in config.towers.items()}
    if config.fusion is not None:
        widths = {name: tower.dim for name, tower in config.towers.items()}
        dim = config.trunk.dim if config.trunk is not None else next(iter(widths.values()))
        read = fusion(config.fusion, widths, dim, sizes)
        found["fusion"] = read.cost
        if config.trunk is not None:
            memory = None if read.memory is None else [(read.memory, dim)]
            found["trunk"] = stack(config.trunk, batch * texts, read.tokens, memory, read.triangle, texts)
        ends["trunk"] = (dim, text if config.fusion.continues else read.tokens)
    for name, each in config.heads.items():
        dim, tokens = ends[each.source]
        tower = config.towers.get(each.text) if isinstance(each, LanguageHeadConfig) else None
        vocab = tower.vocab_size or 0 if isinstance(tower, TextTowerConfig) else 0
        found[f"{name} head"] = head(each, dim, batch, tokens, vocab)
    return {name: cost for name, cost in found.items() if any(cost)}
