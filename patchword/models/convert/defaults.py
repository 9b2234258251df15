"""What Hugging Face's config classes take where a config.json says nothing: files leave out what is as usual."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from patchword.models.convert.settings import Settings

_TOWER = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072}
_VISION = _TOWER | {"num_channels": 3, "image_size": 224}
_SIGLIP = {"hidden_act": "gelu_pytorch_tanh", "layer_norm_eps": 1e-6}
_CLIP = {"hidden_act": "quick_gelu", "layer_norm_eps": 1e-5}
_DECODER = {
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": False,
}
_LLAMA = _DECODER | {"vocab_size": 32_000, "pad_token_id": None, "bos_token_id": 1, "eos_token_id": 2}
_QWEN = _DECODER | {
    "vocab_size": 151_936,
    "intermediate_size": 22_016,
    "num_key_value_heads": 32,
    "max_position_embeddings": 32_768,
    "pad_token_id": None,
    "bos_token_id": None,
    "eos_token_id": None,
}

DEFAULTS: dict[str, Mapping[str, Any]] = {
    "vit": _VISION | {"patch_size": 16, "hidden_act": "gelu", "layer_norm_eps": 1e-12, "qkv_bias": True},
    "gpt2": {
        "vocab_size": 50_257,
        "n_positions": 1024,
        "n_embd": 768,
        "n_layer": 12,
        "n_head": 12,
        "activation_function": "gelu_new",
        "layer_norm_epsilon": 1e-5,
        "scale_attn_weights": True,
        "scale_attn_by_inverse_layer_idx": False,
        "tie_word_embeddings": True,
    },
    "bert": _TOWER
    | {
        "vocab_size": 30_522,
        "max_position_embeddings": 512,
        "type_vocab_size": 2,
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-12,
        "tie_word_embeddings": True,
    },
    "clip": {"projection_dim": 512},
    "clip_text_model": _CLIP
    | {
        "hidden_size": 512,
        "num_hidden_layers": 12,
        "num_attention_heads": 8,
        "intermediate_size": 2048,
        "vocab_size": 49_408,
        "max_position_embeddings": 77,
        "pad_token_id": 1,
        "bos_token_id": 49_406,
        "eos_token_id": 49_407,
    },
    "clip_vision_model": _VISION | _CLIP | {"patch_size": 32},
    "siglip_text_model": _TOWER | _SIGLIP | {"vocab_size": 32_000, "max_position_embeddings": 64},
    "siglip_vision_model": _VISION | _SIGLIP | {"patch_size": 16, "vision_use_head": True},
    "t5": {
        "vocab_size": 32_128,
        "d_model": 512,
        "d_kv": 64,
        "d_ff": 2048,
        "num_layers": 6,
        "num_heads": 8,
        "relative_attention_num_buckets": 32,
        "relative_attention_max_distance": 128,
        "layer_norm_epsilon": 1e-6,
        "feed_forward_proj": "relu",
    },
    "llama": _LLAMA
    | {"intermediate_size": 11_008, "max_position_embeddings": 2048, "attention_bias": False, "mlp_bias": False},
    "mistral": _LLAMA
    | {
        "intermediate_size": 14_336,
        "num_key_value_heads": 8,
        "max_position_embeddings": 131_072,
        "sliding_window": 4096,
    },
    "qwen2": _QWEN,
    "qwen3": _QWEN | {"head_dim": 128, "attention_bias": False},
    "gemma": {
        "hidden_size": 3072,
        "num_hidden_layers": 28,
        "num_attention_heads": 16,
        "num_key_value_heads": 16,
        "head_dim": 256,
        "intermediate_size": 24_576,
        "vocab_size": 256_000,
        "max_position_embeddings": 8192,
        "hidden_act": "gelu_pytorch_tanh",
        "rms_norm_eps": 1e-6,
        "attention_bias": False,
        "pad_token_id": 0,
        "bos_token_id": 2,
        "eos_token_id": 1,
    },
    "llava": {
        "image_token_index": 32_000,
        "projector_hidden_act": "gelu",
        "vision_feature_select_strategy": "default",
        "vision_feature_layer": -2,
        "multimodal_projector_bias": True,
        "tie_word_embeddings": False,
    },
    "paligemma": {"image_token_index": 256_000, "tie_word_embeddings": True},
}
"""By `model_type`. A setting that is there and null is not left out: a Mistral without a window says so."""

WITHOUT: dict[str, dict[str, Mapping[str, Any]]] = {
    "llava": {
        "vision_config": {
            "hidden_size": 1024,
            "num_hidden_layers": 24,
            "num_attention_heads": 16,
            "intermediate_size": 4096,
            "image_size": 336,
            "patch_size": 14,
        },
    },
    "paligemma": {
        "vision_config": {
            "hidden_size": 1152,
            "num_hidden_layers": 27,
            "num_attention_heads": 16,
            "intermediate_size": 4096,
            "image_size": 224,
            "patch_size": 14,
            "vision_use_head": False,
        },
        "text_config": {
            "hidden_size": 2048,
            "num_hidden_layers": 18,
            "num_attention_heads": 8,
            "num_key_value_heads": 1,
            "intermediate_size": 16_384,
            "vocab_size": 257_152,
        },
    },
}
"""By `model_type` and part: what differs from the part's own defaults where the file lacks the part altogether."""


def completed(settings: Settings, model_type: str) -> Settings:
    """The same, with what theirs takes where the file says nothing."""
    return Settings({**DEFAULTS[model_type], **settings.data}, settings.source)


def completed_part(settings: Settings, name: str, model_type: str, whole: str) -> Settings:
    """Settings within settings, completed.

    Args:
        settings: the whole file's.
        name: which part.
        model_type: what kind of model the part describes.
        whole: what kind the file does.
    """
    part = settings.part(name)
    lacking = WITHOUT.get(whole, {}).get(name, {}) if settings.data.get(name) is None else {}
    return completed(Settings({**lacking, **part.data}, part.source), model_type)
