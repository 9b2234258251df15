"""What a config.json leaves out is what Hugging Face's own config classes take, key by key and as a whole."""

from __future__ import annotations

import json
from typing import Any

import pytest
from foreign import silent, transformers

from patchword.config import ModelConfig
from patchword.models.convert import LAYOUTS
from patchword.models.convert.defaults import DEFAULTS, WITHOUT
from patchword.models.convert.settings import Settings

CLASSES = {
    "vit": "ViTConfig",
    "gpt2": "GPT2Config",
    "bert": "BertConfig",
    "clip": "CLIPConfig",
    "clip_text_model": "CLIPTextConfig",
    "clip_vision_model": "CLIPVisionConfig",
    "siglip": "SiglipConfig",
    "siglip_text_model": "SiglipTextConfig",
    "siglip_vision_model": "SiglipVisionConfig",
    "t5": "T5Config",
    "llama": "LlamaConfig",
    "mistral": "MistralConfig",
    "qwen2": "Qwen2Config",
    "qwen3": "Qwen3Config",
    "gemma": "GemmaConfig",
    "llava": "LlavaConfig",
    "paligemma": "PaliGemmaConfig",
}
"""By `model_type`."""
TEXT = ("llama", "mistral", "qwen2", "qwen3")
SMALL: list[tuple[str, str, dict[str, Any]]] = [
    ("vit", "vit", {}),
    ("vit", "vit", {"hidden_size": 384}),
    ("gpt2", "gpt2", {}),
    ("gpt2", "gpt2", {"n_embd": 384}),
    ("bert", "bert", {}),
    ("bert", "bert", {"hidden_size": 384}),
    ("clip", "clip", {}),
    ("clip", "clip", {"text_config": {"hidden_size": 384}, "vision_config": {"hidden_size": 384, "patch_size": 16}}),
    ("clip", "clip", {"text_config": {"hidden_size": 64}, "text_config_dict": {"hidden_size": 384}}),
    ("siglip", "siglip", {}),
    ("siglip", "siglip", {"text_config": {"hidden_size": 384}, "vision_config": {"hidden_size": 384}}),
    ("t5", "t5", {}),
    ("t5", "t5", {"d_model": 384, "num_layers": 2}),
    *[("llama", name, {}) for name in TEXT],
    *[("llama", name, {"num_attention_heads": 64}) for name in TEXT],
    ("llama", "llama", {"num_attention_heads": 16, "num_key_value_heads": None}),
    ("llama", "mistral", {"sliding_window": None}),
    ("llama", "llama", {"rope_theta": 500.0, "rope_scaling": {"type": "yarn", "factor": 2.0}}),
    (
        "llama",
        "llama",
        {"rope_scaling": {"rope_type": "linear", "factor": 2.0}, "rope_parameters": {"rope_theta": 7}},
    ),
    ("llava", "llava", {}),
    ("llava", "llava", {"vision_config": {}, "text_config": {}}),
    *[("llava", "llava", {"text_config": {"model_type": name}}) for name in TEXT],
    ("paligemma", "paligemma", {}),
    (
        "paligemma",
        "paligemma",
        {"vision_config": {"image_size": 448}, "text_config": {"model_type": "gemma"}},
    ),
]
"""A layout, a `model_type`, and all that a file says."""


def theirs(name: str, facts: dict[str, Any]) -> Any:
    """Their settings of a file that says only this."""
    return silent(lambda: getattr(transformers, CLASSES[name])(**json.loads(json.dumps(facts))))


def ours(layout: str, facts: dict[str, Any]) -> ModelConfig:
    """Our model of it."""
    return LAYOUTS[layout].config(Settings(facts, "config.json"), {})


@pytest.mark.parametrize("name", DEFAULTS)
def test_each_default_is_theirs(name: str) -> None:
    config = theirs(name, {})
    assert {key: getattr(config, key) for key in DEFAULTS[name]} == dict(DEFAULTS[name])


@pytest.mark.parametrize("name", WITHOUT)
def test_a_part_that_is_not_there_is_theirs(name: str) -> None:
    config = theirs(name, {})
    for part, facts in WITHOUT[name].items():
        assert {key: getattr(getattr(config, part), key) for key in facts} == dict(facts)


@pytest.mark.parametrize(("layout", "name", "facts"), SMALL)
def test_a_file_that_says_little_means_what_they_take(layout: str, name: str, facts: dict[str, Any]) -> None:
    """Their library writes everything out; what it wrote is the same model to us."""
    whole = json.loads(theirs(name, facts).to_json_string(use_diff=False))
    statistics = {"image_mean": [0.1, 0.2, 0.3], "image_std": [1.0, 1.0, 1.0]}
    assert ours(layout, facts | statistics | {"model_type": name}) == ours(layout, whole | statistics)
