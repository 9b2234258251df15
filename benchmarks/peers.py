"""Models of the same shape and with the same weights, ours and Hugging Face's.

Dropout is off on both sides: the two libraries have it in different places.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import transformers
from torch import nn

from benchmarks import weights
from patchword.config import (
    CrossFusionConfig,
    FirstPoolConfig,
    ImageTowerConfig,
    LabelHeadConfig,
    LanguageHeadConfig,
    LayerNormConfig,
    LearnedPositionConfig,
    ModelConfig,
    SoftmaxAttentionConfig,
    StackConfig,
    StandardFeedForwardConfig,
    TextTowerConfig,
)
from patchword.models.create import create_model
from patchword.models.model import Model, count_parameters

transformers.logging.set_verbosity_error()

GPT2_EPS, VIT_EPS = 1e-5, 1e-12  # what those models are published with
GPT2_GELU = StandardFeedForwardConfig(activation="gelu_tanh")  # Hugging Face's gelu_new


class TextShape(NamedTuple):
    """A decoder's size."""

    dim: int
    depth: int
    heads: int
    vocab_size: int
    max_len: int


class ImageShape(NamedTuple):
    """A vision transformer's size."""

    dim: int
    depth: int
    heads: int
    side: int
    patch: int


def gpt2(shape: TextShape, attention: str, activation: str = "gelu_new") -> tuple[Model, transformers.GPT2LMHeadModel]:
    """A language model, its output map tied to its table; `attention`: eager or sdpa."""
    ours = create_model(
        ModelConfig(
            towers={
                "text": TextTowerConfig(
                    vocab_size=shape.vocab_size,
                    max_len=shape.max_len,
                    dim=shape.dim,
                    depth=shape.depth,
                    position=LearnedPositionConfig(),
                    attention=SoftmaxAttentionConfig(num_heads=shape.heads, causal=True),
                    ffn=GPT2_GELU,
                    norm=LayerNormConfig(eps=GPT2_EPS),
                )
            },
            heads={"text": LanguageHeadConfig(source="text")},
        )
    )
    peer = transformers.GPT2LMHeadModel(_gpt2_config(shape, attention, activation, cross=False))
    text = ours.towers["text"]
    weights.copy_gpt2(peer.transformer, text.embedding.table, text.stack)
    check_same_size(ours, peer)
    return ours, peer


def vit(shape: ImageShape, classes: int) -> tuple[Model, transformers.ViTForImageClassification]:
    """A classifier of pictures that reads its cls token."""
    head = LabelHeadConfig(source="image", num_classes=classes, pool=FirstPoolConfig())
    ours = create_model(ModelConfig(towers={"image": _image_tower(shape)}, heads={"label": head}))
    config = _vit_config(shape)
    config.num_labels = classes
    peer = transformers.ViTForImageClassification(config)
    weights.copy_vit(peer.vit, ours.towers["image"])
    weights.copy_linear(peer.classifier, ours.heads["label"].proj)
    check_same_size(ours, peer)
    return ours, peer


def captioner(
    image: ImageShape, text: TextShape, silent: list[int]
) -> tuple[Model, transformers.VisionEncoderDecoderModel]:
    """A vision transformer and a decoder that looks at it. Ids in `silent` have a score of zero, so never win."""
    attention = SoftmaxAttentionConfig(num_heads=text.heads)
    ours = create_model(
        ModelConfig(
            towers={
                "image": _image_tower(image),
                "text": TextTowerConfig(
                    vocab_size=text.vocab_size,
                    max_len=text.max_len,
                    dim=text.dim,
                    depth=0,
                    position=LearnedPositionConfig(),
                ),
            },
            fusion=CrossFusionConfig(),
            trunk=StackConfig(
                dim=text.dim,
                depth=text.depth,
                attention=attention.replace(causal=True),
                cross_attention=attention,
                ffn=GPT2_GELU,
                norm=LayerNormConfig(eps=GPT2_EPS),
            ),
            heads={"text": LanguageHeadConfig()},
        )
    )
    peer = transformers.VisionEncoderDecoderModel(
        encoder=transformers.ViTModel(_vit_config(image), add_pooling_layer=False),
        decoder=transformers.GPT2LMHeadModel(_gpt2_config(text, "sdpa", "gelu_new", cross=True)),
    )
    _spread(peer)
    with torch.no_grad():
        peer.decoder.transformer.wte.weight[silent] = 0
    weights.copy_vit(peer.encoder, ours.towers["image"])
    tower = ours.towers["text"]
    weights.copy_gpt2(peer.decoder.transformer, tower.embedding.table, ours.trunk, tower.stack.position.table)
    check_same_size(ours, peer)
    return ours.eval(), peer.eval()


@torch.no_grad()
def _spread(model: nn.Module) -> None:
    """Weights so large that scores differ widely: with those of the start all say one token for ever."""
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Embedding | transformers.pytorch_utils.Conv1D):
            module.weight.normal_(std=0.08)


def check_same_size(ours: nn.Module, peer: nn.Module) -> None:
    """Both learn as many numbers."""
    counts = count_parameters(ours), count_parameters(peer)
    assert counts[0] == counts[1], f"ours has {counts[0]:,} parameters, the peer {counts[1]:,}"


def _image_tower(shape: ImageShape) -> ImageTowerConfig:
    return ImageTowerConfig(
        dim=shape.dim,
        depth=shape.depth,
        image_size=(shape.side, shape.side),
        patch_size=(shape.patch, shape.patch),
        cls_token=True,
        position=LearnedPositionConfig(),
        attention=SoftmaxAttentionConfig(num_heads=shape.heads),
        norm=LayerNormConfig(eps=VIT_EPS),
    )


def _vit_config(shape: ImageShape) -> transformers.ViTConfig:
    return transformers.ViTConfig(
        hidden_size=shape.dim,
        num_hidden_layers=shape.depth,
        num_attention_heads=shape.heads,
        intermediate_size=4 * shape.dim,
        image_size=shape.side,
        patch_size=shape.patch,
        layer_norm_eps=VIT_EPS,
        attn_implementation="sdpa",
    )


def _gpt2_config(shape: TextShape, attention: str, activation: str, cross: bool) -> transformers.GPT2Config:
    return transformers.GPT2Config(
        vocab_size=shape.vocab_size,
        n_positions=shape.max_len,
        n_embd=shape.dim,
        n_layer=shape.depth,
        n_head=shape.heads,
        activation_function=activation,
        layer_norm_epsilon=GPT2_EPS,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        add_cross_attention=cross,
        is_decoder=cross,
        attn_implementation=attention,
    )
