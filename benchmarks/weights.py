"""Weights of Hugging Face's GPT-2 and ViT put into ours, so that both compute the same."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


@torch.no_grad()
def copy_gpt2(peer: Any, table: nn.Embedding, stack: Any, places: nn.Embedding | None = None) -> None:
    """`GPT2Model` into an embedding table and a stack; `places`: its table of positions, where not the stack's."""
    table.weight.copy_(peer.wte.weight)
    (places or stack.position.table).weight.copy_(peer.wpe.weight)
    for theirs, block in zip(peer.h, stack.blocks, strict=True):
        copy_linear(theirs.ln_1, block.self_attn.norm)
        q, k, v = _split(theirs.attn.c_attn, 3)
        _set_attention(block.self_attn.step, q, k, v, _map(theirs.attn.c_proj))
        if block.cross_attn is not None:
            copy_linear(theirs.ln_cross_attn, block.cross_attn.norm)
            cross = theirs.crossattention
            k, v = _split(cross.c_attn, 2)
            _set_attention(block.cross_attn.step, _map(cross.q_attn), k, v, _map(cross.c_proj))
        copy_linear(theirs.ln_2, block.ffn.norm)
        _set(block.ffn.step.up_proj, _map(theirs.mlp.c_fc))
        _set(block.ffn.step.down_proj, _map(theirs.mlp.c_proj))
    copy_linear(peer.ln_f, stack.norm)


@torch.no_grad()
def copy_vit(peer: Any, tower: Any) -> None:
    """`ViTModel` into an image tower with a cls token."""
    embedding, patches = peer.embeddings, peer.embeddings.patch_embeddings.projection
    tower.embedding.cls.copy_(embedding.cls_token[0, 0])
    tower.stack.position.table.weight.copy_(embedding.position_embeddings[0])
    tower.embedding.proj.weight.copy_(patches.weight.flatten(1))
    tower.embedding.proj.bias.copy_(patches.bias)
    for theirs, block in zip(peer.layers, tower.stack.blocks, strict=True):
        copy_linear(theirs.layernorm_before, block.self_attn.norm)
        parts = [getattr(theirs.attention, name) for name in ("q_proj", "k_proj", "v_proj", "o_proj")]
        _set_attention(block.self_attn.step, *((part.weight, part.bias) for part in parts))
        copy_linear(theirs.layernorm_after, block.ffn.norm)
        copy_linear(theirs.mlp.fc1, block.ffn.step.up_proj)
        copy_linear(theirs.mlp.fc2, block.ffn.step.down_proj)
    copy_linear(peer.layernorm, tower.stack.norm)


@torch.no_grad()
def copy_linear(theirs: Any, own: Any) -> None:
    """A linear map or a norm."""
    _set(own, (theirs.weight, theirs.bias))


def _map(conv: Any) -> tuple[Tensor, Tensor]:
    """GPT-2 keeps its maps transposed."""
    return conv.weight.T, conv.bias


def _split(conv: Any, parts: int) -> list[tuple[Tensor, Tensor]]:
    return list(zip(conv.weight.T.chunk(parts), conv.bias.chunk(parts), strict=True))


def _set(own: Any, values: tuple[Tensor, Tensor]) -> None:
    own.weight.copy_(values[0])
    own.bias.copy_(values[1])


def _set_attention(attention: Any, *maps: tuple[Tensor, Tensor]) -> None:
    for name, values in zip(("q_proj", "k_proj", "v_proj", "out_proj"), maps, strict=True):
        _set(getattr(attention, name), values)
