"""Whole models against Hugging Face's, with the same random weights, in float64: ViT and GPT-2."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from patchword.cache import StackCache
from patchword.config import (
    ImageTowerConfig,
    JointFusionConfig,
    LanguageHeadConfig,
    LayerNormConfig,
    LearnedPositionConfig,
    ModelConfig,
    SoftmaxAttentionConfig,
    StackConfig,
    StandardFeedForwardConfig,
    TextTowerConfig,
)
from patchword.models.model import Model
from patchword.nn import Stack
from patchword.sequence import SequenceInfo, TextInput, Tokens
from patchword.testing import randomise

with warnings.catch_warnings():  # the library warns of what it finds missing or old in its own surroundings
    warnings.simplefilter("ignore")
    from transformers import GPT2Config, GPT2LMHeadModel, ViTConfig, ViTModel

DIM, HEADS, DEPTH, HIDDEN, VOCAB, PLACES = 24, 4, 3, 40, 37, 16


def theirs(make: Callable[[], nn.Module], seed: int) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = make()
    randomise(model, torch.Generator().manual_seed(seed))
    return model.double().eval()


def close(got: Tensor, want: Tensor) -> None:
    torch.testing.assert_close(got, want, atol=1e-9, rtol=1e-9)


# ------------------------------------------------------------------ ViT

VIT_BLOCK = {
    "layernorm_before": "self_attn.norm",
    "layernorm_after": "ffn.norm",
    "attention.q_proj": "self_attn.step.q_proj",
    "attention.k_proj": "self_attn.step.k_proj",
    "attention.v_proj": "self_attn.step.v_proj",
    "attention.o_proj": "self_attn.step.out_proj",
    "attention.attention.query": "self_attn.step.q_proj",
    "attention.attention.key": "self_attn.step.k_proj",
    "attention.attention.value": "self_attn.step.v_proj",
    "attention.output.dense": "self_attn.step.out_proj",
    "intermediate.dense": "ffn.step.up_proj",
    "output.dense": "ffn.step.down_proj",
    "mlp.fc1": "ffn.step.up_proj",
    "mlp.fc2": "ffn.step.down_proj",
}


def from_vit(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    ours = {}
    for name, weight in weights.items():
        owner, _, kind = name.rpartition(".")
        if name == "embeddings.cls_token":
            ours["embedding.cls"] = weight[0, 0]
        elif name == "embeddings.position_embeddings":
            ours["stack.position.table.weight"] = weight[0]
        elif name.startswith("embeddings.patch_embeddings"):
            ours[f"embedding.proj.{kind}"] = weight.flatten(1) if weight.ndim == 4 else weight
        elif name.startswith("layernorm."):
            ours[f"stack.norm.{kind}"] = weight
        else:
            index, _, part = owner.split("layer.", 1)[-1].split("layers.", 1)[-1].partition(".")
            ours[f"stack.blocks.{index}.{VIT_BLOCK[part]}.{kind}"] = weight
    return ours


def test_vit() -> None:
    shape = {"image_size": (24, 16), "patch_size": (8, 4), "num_channels": 3}
    config = ViTConfig(
        hidden_size=DIM,
        num_hidden_layers=DEPTH,
        num_attention_heads=HEADS,
        intermediate_size=HIDDEN,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        **shape,
    )
    vit = theirs(lambda: ViTModel(config, add_pooling_layer=False), seed=2)
    mean, std = (0.2, 0.5, 0.7), (0.3, 0.25, 0.5)
    tower = ImageTowerConfig(
        dim=DIM,
        depth=DEPTH,
        image_size=shape["image_size"],
        patch_size=shape["patch_size"],
        cls_token=True,
        mean=mean,
        std=std,
        position=LearnedPositionConfig(),
        attention=SoftmaxAttentionConfig(num_heads=HEADS),
        ffn=StandardFeedForwardConfig(hidden_dim=HIDDEN),
        norm=LayerNormConfig(eps=config.layer_norm_eps),
    ).build()
    tower.load_state_dict(from_vit(vit.state_dict()))
    tower = tower.double().eval()
    pixels = torch.rand(3, 3, 24, 16, dtype=torch.float64)
    shift, factor = (torch.tensor(v)[:, None, None].double() for v in (mean, std))
    want = vit(pixel_values=(pixels - shift) / factor).last_hidden_state
    assert want.shape == (3, 1 + 12, DIM)
    close(tower(pixels).x, want)
    whole = (pixels * 255).round()
    close(tower(whole.to(torch.uint8)).x, vit(pixel_values=(whole / 255 - shift) / factor).last_hidden_state)


# ------------------------------------------------------------------ GPT-2

GPT2_BLOCK = {
    "ln_1": "self_attn.norm",
    "ln_2": "ffn.norm",
    "attn.c_proj": "self_attn.step.out_proj",
    "mlp.c_fc": "ffn.step.up_proj",
    "mlp.c_proj": "ffn.step.down_proj",
}


def from_gpt2(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    ours = {"heads.text.proj.weight": weights["lm_head.weight"]}
    for name, weight in weights.items():
        path = name.removeprefix("transformer.")
        owner, _, kind = path.rpartition(".")
        if path == "wte.weight":
            ours["towers.text.embedding.table.weight"] = weight
        elif path == "wpe.weight":
            ours["towers.text.stack.position.table.weight"] = weight
        elif owner == "ln_f":
            ours[f"trunk.norm.{kind}"] = weight
        elif path.startswith("h."):
            _, index, part = owner.split(".", 2)
            value = weight.T if weight.ndim == 2 else weight  # its maps are stored the other way round
            block = f"trunk.blocks.{index}"
            if part == "attn.c_attn":
                for proj, piece in zip(("q_proj", "k_proj", "v_proj"), value.chunk(3), strict=True):
                    ours[f"{block}.self_attn.step.{proj}.{kind}"] = piece
            else:
                ours[f"{block}.{GPT2_BLOCK[part]}.{kind}"] = value
    return ours


@pytest.fixture(scope="module")
def gpt2() -> tuple[nn.Module, Model]:
    """Theirs and ours: a language model is a text tower without blocks, and a causal trunk."""
    config = GPT2Config(
        vocab_size=VOCAB,
        n_positions=PLACES,
        n_embd=DIM,
        n_layer=DEPTH,
        n_head=HEADS,
        n_inner=HIDDEN,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )
    reference = theirs(lambda: GPT2LMHeadModel(config), seed=3)
    model = ModelConfig(
        towers={
            "text": TextTowerConfig(
                dim=DIM, depth=0, vocab_size=VOCAB, max_len=PLACES, position=LearnedPositionConfig()
            )
        },
        fusion=JointFusionConfig(),
        trunk=StackConfig(
            dim=DIM,
            depth=DEPTH,
            attention=SoftmaxAttentionConfig(num_heads=HEADS, causal=True),
            ffn=StandardFeedForwardConfig(hidden_dim=HIDDEN, activation="gelu_tanh"),
            norm=LayerNormConfig(eps=config.layer_norm_epsilon),
        ),
        heads={"text": LanguageHeadConfig()},
    ).build()
    model.load_state_dict(from_gpt2(reference.state_dict()))
    return reference, model.double().eval()


def padding(side: str) -> Tensor | None:
    places = torch.arange(9)
    starts, ends = {"none": (None, None), "left": ([4, 0, 2], [9] * 3), "right": ([0] * 3, [9, 5, 1])}[side]
    if starts is None or ends is None:
        return None
    return (places >= torch.tensor(starts)[:, None]) & (places < torch.tensor(ends)[:, None])


def reference_logits(model: nn.Module, ids: Tensor, valid: Tensor | None) -> Tensor:
    if valid is None:
        return model(input_ids=ids).logits
    pos = (valid.long().cumsum(-1) - 1).clamp_min(0)
    return model(input_ids=ids, attention_mask=valid.long(), position_ids=pos).logits


@pytest.mark.parametrize("side", ["none", "left", "right"])
@torch.no_grad()
def test_gpt2(gpt2: tuple[nn.Module, Model], side: str) -> None:
    reference, model = gpt2
    ids, valid = torch.randint(0, VOCAB, (3, 9)), padding(side)
    want = reference_logits(reference, ids, valid)
    got = model({"text": TextInput(ids, valid)}).heads["text"]
    real = torch.ones(3, 9, dtype=torch.bool) if valid is None else valid
    close(got[real], want[real])


def caches(model: Model, batch: int, static: bool) -> tuple[StackCache, StackCache]:
    like = next(model.parameters())
    tower, trunk = model.towers["text"].stack, model.trunk
    assert isinstance(tower, Stack)
    assert isinstance(trunk, Stack)
    return tower.new_cache(batch, 12, like, static), trunk.new_cache(batch, 12, like, static)


@pytest.mark.parametrize("static", [False, True], ids=["growing", "static"])
@pytest.mark.parametrize("side", ["none", "left"])
@torch.no_grad()
def test_gpt2_in_steps(gpt2: tuple[nn.Module, Model], side: str, static: bool) -> None:
    """A prompt, then one token after another through our caches; theirs reads it at once."""
    reference, model = gpt2
    ids, valid = torch.randint(0, VOCAB, (3, 12)), padding(side)
    tower_cache, trunk_cache = caches(model, 3, static)
    mask = torch.cat([torch.ones(3, 9, dtype=torch.bool) if valid is None else valid, torch.ones(3, 3) > 0], 1)
    want = reference_logits(reference, ids, mask)
    for start, end in ((0, 9), (9, 10), (10, 11), (11, 12)):
        tokens = model.towers["text"](TextInput(ids[:, start:end], valid if start == 0 else None), tower_cache)
        assert model.trunk is not None
        x = model.trunk(Tokens(tokens.x, SequenceInfo(valid=tokens.info.valid)), cache=trunk_cache)
        got = model.heads["text"](Tokens(x))
        real = mask[:, start:end]
        close(got[real], want[:, start:end][real])
