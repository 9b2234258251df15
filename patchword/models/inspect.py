"""Looking into a model: where in the picture it looks while it says each word."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor

from patchword.models.model import Model
from patchword.nn import Attention, Block
from patchword.nn.fusion import ReaderFusion
from patchword.sequence import Tokens


@torch.inference_mode()
def picture_attention(model: Model, inputs: Mapping[str, Any], image: str) -> Tensor | None:
    """Attention of each text token to each patch, the mean over heads and the trunk's blocks.

    Args:
        model: with a trunk that looks at its own sequence (prefix, joint) or at a memory (cross).
        inputs: the picture (of one size in the batch) and the text so far, by tower.
        image: the tower that sees.

    Returns:
        float [B, T, rows, columns]; over a picture they add up to at most 1. None: the trunk sees no patches, but what
        the fusion made of them.
    """
    assert isinstance(model.fusion, ReaderFusion)
    assert model.trunk is not None
    if not model.fusion.shows_tokens:
        return None
    cross = model.trunk.config.cross_attention is not None
    seen: list[tuple[Attention, tuple[Any, ...]]] = []

    def note(layer: Any, args: tuple[Any, ...]) -> None:
        seen.append((layer, args))

    blocks = [cast(Block, block) for block in model.trunk.blocks]
    steps = [block.cross_attn if cross else block.self_attn for block in blocks]
    hooks = [step.step.register_forward_pre_hook(note) for step in steps if step is not None]
    try:
        out = model(inputs, heads=())
    finally:
        for hook in hooks:
            hook.remove()
    weights = torch.stack([layer.weights(args[0], args[1]).mean(1) for layer, args in seen]).mean(0)  # [B, T, S]
    length = out.towers[model.fusion.reader].x.shape[1]
    start = 0
    for name in model.fusion.mapped:
        if name == image:
            break
        start += out.towers[name].x.shape[1]
    return _on_grid(weights[:, -length:, start:], out.towers[image])


def _on_grid(weights: Tensor, picture: Tokens) -> Tensor:
    """[B, T, S] -> [B, T, rows, columns], special tokens left out."""
    assert picture.info.pos is not None
    pos = picture.info.pos[0]
    patches = pos[:, 0] >= 0
    rows, columns = (int(side) + 1 for side in pos[patches].amax(0))
    return weights[..., : len(pos)][..., patches].unflatten(-1, (rows, columns))
