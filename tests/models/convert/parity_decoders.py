"""How far our decoders are from theirs: scores and hidden states with padding on both sides, and step by step."""

from __future__ import annotations

from typing import Any, cast

import torch
from foreign import (
    DIM,
    HEADS,
    HIDDEN,
    PLACES,
    QUIET,
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

from patchword.models.model import Model
from patchword.models.tower import TextTower
from patchword.sequence import TextInput

LLAMA = TEXT | QUIET | {"num_key_value_heads": 2}


def _gpt2(**more: Any) -> Any:
    sizes = {"vocab_size": VOCAB, "n_positions": PLACES, "n_embd": DIM, "n_layer": 3, "n_head": HEADS}
    off = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    return transformers.GPT2Config(**(sizes | off | QUIET | {"n_inner": HIDDEN} | more))


def _llama(**more: Any) -> Any:
    return transformers.LlamaConfig(**(LLAMA | more))


def _rope(kind: str, **more: Any) -> dict[str, Any]:
    return {"rope_parameters": {"rope_type": kind, "rope_theta": 10_000.0} | more}


LLAMA3 = _rope("llama3", factor=4.0, original_max_position_embeddings=PLACES, high_freq_factor=4.0, low_freq_factor=1.0)
YARN = _rope("yarn", factor=4.0, original_max_position_embeddings=PLACES)
DECODERS: dict[str, tuple[str, str, Any]] = {
    "GPT-2": ("gpt2", "GPT2LMHeadModel", _gpt2),
    "GPT-2, untied": ("gpt2", "GPT2LMHeadModel", lambda: _gpt2(tie_word_embeddings=False)),
    "GPT-2, unscaled": ("gpt2", "GPT2LMHeadModel", lambda: _gpt2(scale_attn_weights=False)),
    "GPT-2, scores by layer": ("gpt2", "GPT2LMHeadModel", lambda: _gpt2(scale_attn_by_inverse_layer_idx=True)),
    "Llama": ("llama", "LlamaForCausalLM", _llama),
    "Llama, tied": ("llama", "LlamaForCausalLM", lambda: _llama(tie_word_embeddings=True)),
    "Llama, offsets": ("llama", "LlamaForCausalLM", lambda: _llama(attention_bias=True, mlp_bias=True, head_dim=8)),
    "Llama, gelu": ("llama", "LlamaForCausalLM", lambda: _llama(hidden_act="gelu")),
    "Llama, linear": ("llama", "LlamaForCausalLM", lambda: _llama(**_rope("linear", factor=2.0))),
    "Llama, yarn": ("llama", "LlamaForCausalLM", lambda: _llama(**YARN)),
    "Llama, llama3": ("llama", "LlamaForCausalLM", lambda: _llama(**LLAMA3)),
    "Mistral": ("llama", "MistralForCausalLM", lambda: transformers.MistralConfig(**LLAMA, sliding_window=3)),
    "Qwen2": ("llama", "Qwen2ForCausalLM", lambda: transformers.Qwen2Config(**LLAMA)),
    "Qwen3": ("llama", "Qwen3ForCausalLM", lambda: transformers.Qwen3Config(**LLAMA, head_dim=8)),
}


@torch.no_grad()
def decoder(name: str) -> dict[str, float]:
    """Largest differences of one of `DECODERS`."""
    layout, kind, config = DECODERS[name]
    reference = theirs(kind, config())
    _, _, model = read(layout, reference)
    found = {"scores": 0.0, "hidden states": 0.0, "step by step": 0.0}
    for side in ("none", "left", "right"):
        valid, tokens = padding(side), ids()
        out = reference(
            input_ids=tokens, attention_mask=valid.long(), position_ids=places_of(valid), output_hidden_states=True
        )
        mine = model({"text": TextInput(tokens, valid)})
        found["scores"] = max(found["scores"], apart(mine.heads["text"], out.logits, valid))
        last = apart(mine.towers["text"].x, out.hidden_states[-1], valid)
        found["hidden states"] = max(found["hidden states"], last)
    for side in ("none", "left"):
        found["step by step"] = max(found["step by step"], _steps(reference, model, side))
    return found


def _steps(reference: Any, model: Model, side: str) -> float:
    """A prompt, then one token after another through our caches; theirs reads it at once."""
    tokens, prompt = ids(length=12), padding(side)
    mask = torch.cat([prompt, torch.ones(3, 3, dtype=torch.bool)], 1)
    want = reference(input_ids=tokens, attention_mask=mask.long(), position_ids=places_of(mask)).logits
    tower = cast(TextTower, model.towers["text"])
    worst = 0.0
    for static in (False, True):
        cache = tower.new_cache(3, 12, next(model.parameters()), static)
        for start, end in ((0, 9), (9, 10), (10, 11), (11, 12)):
            valid: Tensor | None = prompt if start == 0 and side != "none" else None
            scores = model.heads["text"](tower(TextInput(tokens[:, start:end], valid), cache))
            worst = max(worst, apart(scores, want[:, start:end], mask[:, start:end]))
    return worst
