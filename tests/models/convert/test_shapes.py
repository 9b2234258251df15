"""Shapes have exactly the numbers of Hugging Face's own models, and are what their converter makes of theirs."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from foreign import settings_of, silent, transformers

from patchword.config import ModelConfig
from patchword.models.convert import LAYOUTS
from patchword.models.convert.compare import differences
from patchword.models.convert.settings import Settings
from patchword.models.create import create_model, planned_model
from patchword.models.model import count_parameters
from patchword.models.presets import preset, retrieval, translation

GPT: dict[str, Any] = {"n_embd": 128, "n_layer": 4, "n_head": 4, "n_positions": 256, "vocab_size": 8192}
LLAMA: dict[str, Any] = {
    "hidden_size": 512,
    "num_hidden_layers": 8,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "intermediate_size": 1368,
    "vocab_size": 32_000,
    "tie_word_embeddings": True,
}
BERT: dict[str, Any] = {
    "hidden_size": 512,
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "intermediate_size": 2048,
}


def clip(image: int, text: int, out: int, depth: int, patch: int, side: int) -> Any:
    def tower(dim: int) -> dict[str, Any]:
        shape = {"hidden_size": dim, "intermediate_size": 4 * dim, "num_attention_heads": dim // 64}
        return shape | {"num_hidden_layers": depth}

    vision = tower(image) | {"patch_size": patch, "image_size": side}
    return transformers.CLIPConfig(text_config=tower(text), vision_config=vision, projection_dim=out)


def _planned(name: str) -> ModelConfig:
    return planned_model(preset(name))


# Their class, its configuration, our layout, and how many of its numbers we do not have.
THEIRS: dict[str, tuple[str, Any, str, int]] = {
    "gpt-tiny": ("GPT2LMHeadModel", lambda: transformers.GPT2Config(**GPT), "gpt2", 0),
    "gpt-small": ("GPT2LMHeadModel", transformers.GPT2Config, "gpt2", 0),
    "gpt-medium": (
        "GPT2LMHeadModel",
        lambda: transformers.GPT2Config(n_embd=1024, n_layer=24, n_head=16),
        "gpt2",
        0,
    ),
    "decoder-small": ("LlamaForCausalLM", lambda: transformers.LlamaConfig(**LLAMA), "llama", 0),
    "bert-small": ("BertForMaskedLM", lambda: transformers.BertConfig(**BERT), "bert", 2 * 512),
    "clip of other widths": ("CLIPModel", lambda: clip(384, 192, 128, 4, 8, 64), "clip", 0),
    "clip-base": ("CLIPModel", transformers.CLIPConfig, "clip", 0),
    "t5-small": ("T5ForConditionalGeneration", transformers.T5Config, "t5", 0),
}
MODELS = {
    **{
        name: partial(_planned, name) for name in ("gpt-tiny", "gpt-small", "gpt-medium", "decoder-small", "bert-small")
    },
    "t5-small": translation.t5_model,
    "clip of other widths": lambda: retrieval.clip(image=384, text=192, out_dim=128, depth=4, patch=8, side=64),
    "clip-base": lambda: retrieval.base().model,
}
PUBLISHED = {"gpt-small": 124_439_808, "t5-small": 60_506_624, "clip-base": 151_277_313}


@pytest.mark.parametrize("name", THEIRS)
def test_numbers_and_settings(name: str) -> None:
    kind, config, layout, lacking = THEIRS[name]
    with torch.device("meta"):
        reference = silent(lambda: getattr(transformers, kind)(config()))
        model = create_model(MODELS[name]())
    count = count_parameters(model)
    assert count == count_parameters(reference) - lacking
    assert count == PUBLISHED.get(name, count)
    facts = Settings(settings_of(reference) | {"image_mean": CLIP_MEAN, "image_std": CLIP_STD}, layout)
    made = LAYOUTS[layout].config(facts, {} if layout == "t5" else reference.state_dict())
    assert not [path for path in differences(made, model.config) if "mean" not in path and "std" not in path]


CLIP_MEAN, CLIP_STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]


def test_a_shape_takes_overrides() -> None:
    with torch.device("meta"):
        model = create_model("bert-small", **{"model.text.depth": 1, "model.text.vocab_size": 100})
    assert model.config.towers["text"].depth == 1
    assert model.state_dict()["towers.text.embedding.table.weight"].shape == (100, 512)
