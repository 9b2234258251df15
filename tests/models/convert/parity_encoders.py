"""How far our encoders, two-tower and encoder-decoder models are from theirs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from foreign import (
    DEPTH,
    DIM,
    HEADS,
    HIDDEN,
    SHAPE,
    TEXT,
    VOCAB,
    apart,
    ids,
    padding,
    places_of,
    read,
    theirs,
    transformers,
)
from torch import Tensor

from patchword.sequence import TextInput

MEAN, STD = (0.2, 0.5, 0.7), (0.3, 0.25, 0.5)
STATISTICS = {"image_mean": list(MEAN), "image_std": list(STD)}


def pictures(height: int, width: int) -> tuple[Tensor, Tensor]:
    """Pixels in 0..1, and as their processor gives them to a model; [3, 3, height, width] each."""
    pixels = torch.rand(3, 3, height, width, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    shift, factor = (torch.tensor(v, dtype=torch.float64)[:, None, None] for v in (MEAN, STD))
    return pixels, (pixels - shift) / factor


# ------------------------------------------------------------------ pictures


def vit_config(**more: Any) -> Any:
    return transformers.ViTConfig(**(SHAPE | {"image_size": (24, 16), "patch_size": (8, 4), "num_labels": 5} | more))


@torch.no_grad()
def vit(**more: Any) -> dict[str, float]:
    reference = theirs("ViTForImageClassification", vit_config(**more))
    _, _, model = read("vit", reference, STATISTICS)
    pixels, given = pictures(24, 16)
    want = reference(pixel_values=given, output_hidden_states=True)
    out = model({"image": pixels})
    last = reference.vit(pixel_values=given).last_hidden_state
    return {"scores": apart(out.heads["label"], want.logits), "hidden states": apart(out.towers["image"].x, last)}


@torch.no_grad()
def vit_tower() -> dict[str, float]:
    reference = theirs("ViTModel", vit_config())
    _, found, model = read("vit", reference, STATISTICS)
    assert set(found.left_out) == {"vit.pooler.dense.weight", "vit.pooler.dense.bias"}
    pixels, given = pictures(24, 16)
    want = reference(pixel_values=given).last_hidden_state
    return {"hidden states": apart(model({"image": pixels}).towers["image"].x, want)}


# ------------------------------------------------------------------ text


def bert_config(**more: Any) -> Any:
    return transformers.BertConfig(**(TEXT | {"pad_token_id": 0, "num_labels": 5} | more))


@torch.no_grad()
def bert(kind: str = "BertForMaskedLM", **more: Any) -> dict[str, float]:
    reference = theirs(kind, bert_config(**more))
    _, _, model = read("bert", reference)
    found: dict[str, float] = {}
    for side in ("none", "left", "right"):
        valid, tokens = padding(side), ids()
        given = {"input_ids": tokens, "attention_mask": valid.long(), "position_ids": places_of(valid)}
        want = reference(**given, output_hidden_states=True)
        out = model({"text": TextInput(tokens, valid)})
        pairs = {"hidden states": apart(out.towers["text"].x, want.hidden_states[-1], valid)}
        if "text" in out.heads:
            pairs["scores"] = apart(out.heads["text"], want.logits, valid)
        if "label" in out.heads and side != "left":  # their pooler takes the first place, real or not
            pairs["scores"] = apart(out.heads["label"], want.logits)
        found = {name: max(value, found.get(name, 0.0)) for name, value in pairs.items()}
    return found


# ------------------------------------------------------------------ two towers


def clip_config() -> Any:
    text = TEXT | {"bos_token_id": 1, "eos_token_id": 35, "pad_token_id": 1, "hidden_size": 20}
    vision = SHAPE | {"image_size": 16, "patch_size": 8}
    return transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=12)


def siglip_config() -> Any:
    vision = SHAPE | {"image_size": 16, "patch_size": 8}
    text = TEXT | {"bos_token_id": 1, "eos_token_id": 2, "hidden_size": 20, "projection_size": DIM}
    return transformers.SiglipConfig(text_config=text, vision_config=vision)


def ended(valid: Tensor) -> Tensor:
    """Token ids whose last real one, and no other, ends the text as `clip_config` says; int [3, 9]."""
    last = (valid * torch.arange(valid.shape[1])).amax(-1, keepdim=True)
    return torch.where(last == torch.arange(valid.shape[1]), 35, ids() % 34)


def two_towers(reference: Any, model: Any, sides: tuple[str, ...]) -> dict[str, float]:
    """Differences at the worst of some paddings."""
    pixels, given = pictures(16, 16)
    found: dict[str, float] = {}
    for side in sides:
        valid = padding(side)
        tokens = ended(valid)
        words = {"input_ids": tokens, "attention_mask": valid.long(), "position_ids": places_of(valid)}
        want = reference(**words, pixel_values=given)
        out = model({"image": pixels, "text": TextInput(tokens, valid)})
        pairs = {
            "picture embeddings": apart(out.heads["image"], want.image_embeds),
            "text embeddings": apart(out.heads["text"], want.text_embeds),
            "hidden states": apart(out.towers["text"].x, want.text_model_output.last_hidden_state, valid),
            "scores": apart(out.heads["similarity"], want.logits_per_image),
        }
        found = {name: max(value, found.get(name, 0.0)) for name, value in pairs.items()}
    return found


@torch.no_grad()
def clip() -> dict[str, float]:
    reference = theirs("CLIPModel", clip_config())
    reference.logit_scale.fill_(3.0)
    _, found, model = read("clip", reference, STATISTICS)
    assert not found.left_out
    return two_towers(reference, model, ("none", "left", "right"))


@torch.no_grad()
def siglip() -> dict[str, float]:
    """Texts without padding on the right: theirs are read off at the last place."""
    reference = theirs("SiglipModel", siglip_config())
    reference.logit_scale.fill_(2.0)
    reference.logit_bias.fill_(-3.0)
    _, found, model = read("siglip", reference, STATISTICS)
    assert not found.left_out
    return two_towers(reference, model, ("none", "left"))


# ------------------------------------------------------------------ encoder and decoder


def t5_config(**more: Any) -> Any:
    sizes = {"vocab_size": VOCAB, "d_model": DIM, "d_kv": 8, "d_ff": HIDDEN, "num_layers": DEPTH, "num_heads": HEADS}
    buckets = {"relative_attention_num_buckets": 8, "relative_attention_max_distance": 12}
    return transformers.T5Config(**(sizes | buckets | {"dropout_rate": 0.0, "decoder_start_token_id": 0} | more))


@torch.no_grad()
def t5(untied: bool = False, **more: Any) -> dict[str, float]:
    reference = theirs("T5ForConditionalGeneration", t5_config(**more))
    if untied:
        table = torch.randn(VOCAB, DIM, dtype=torch.float64, generator=torch.Generator().manual_seed(6))
        reference.lm_head.weight = torch.nn.Parameter(0.1 * table)
    _, _, model = read("t5", reference)
    worst: dict[str, float] = {}
    for side in ("none", "left", "right"):
        valid, source, target = padding(side), ids(), ids(length=7, seed=3)
        want = reference(input_ids=source, attention_mask=valid.long(), decoder_input_ids=target)
        out = model({"source": TextInput(source, valid), "target": target})
        state = model.begin({"source": TextInput(source, valid)}, 7)
        steps = [model.step(target[:, i : i + 1], state, "text") for i in range(7)]
        pairs = {
            "scores": apart(out.heads["text"], want.logits),
            "hidden states": apart(out.towers["source"].x, want.encoder_last_hidden_state, valid),
            "step by step": apart(torch.stack(steps, 1), want.logits),
        }
        worst = {name: max(value, worst.get(name, 0.0)) for name, value in pairs.items()}
    return worst


ENCODERS: dict[str, tuple[str, Callable[[], dict[str, float]]]] = {
    "ViTForImageClassification": ("vit", vit),
    "ViTForImageClassification, without offsets": ("vit", lambda: vit(qkv_bias=False)),
    "ViTModel": ("vit", vit_tower),
    "BertForMaskedLM": ("bert", bert),
    "BertForMaskedLM, untied": ("bert", lambda: bert(tie_word_embeddings=False)),
    "BertForSequenceClassification": ("bert", lambda: bert("BertForSequenceClassification")),
    "BertModel": ("bert", lambda: bert("BertModel")),
    "CLIPModel": ("clip", clip),
    "SiglipModel": ("siglip", siglip),
    "T5ForConditionalGeneration 1.0": ("t5", t5),
    "T5ForConditionalGeneration 1.1": (
        "t5",
        lambda: t5(True, feed_forward_proj="gated-gelu", tie_word_embeddings=False),
    ),
}
"""By name: the layout, and what measures it."""
