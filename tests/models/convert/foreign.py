"""Models of Hugging Face's library at small sizes with random weights in float64, and ours read from them."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from patchword.models.convert import LAYOUTS, Layout, Read, load
from patchword.models.model import Model
from patchword.testing import randomise

with warnings.catch_warnings():  # the library warns of what it finds missing or old in its own surroundings
    warnings.simplefilter("ignore")
    import transformers

DIM, HEADS, DEPTH, HIDDEN, VOCAB, PLACES = 24, 4, 3, 40, 37, 16
SHAPE: dict[str, Any] = {
    "hidden_size": DIM,
    "num_hidden_layers": DEPTH,
    "num_attention_heads": HEADS,
    "intermediate_size": HIDDEN,
}
TEXT = SHAPE | {"vocab_size": VOCAB, "max_position_embeddings": PLACES}
QUIET = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}


def silent(make: Callable[[], Any]) -> Any:
    """What `make` gives, without the library's warnings."""
    logger = logging.getLogger("transformers")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return make()
    finally:
        logger.setLevel(level)


def theirs(kind: str, config: Any, seed: int = 1) -> Any:
    """A model of theirs by the name of its class, with random weights."""
    model: Any = silent(lambda: getattr(transformers, kind)(config))
    randomise(model, torch.Generator().manual_seed(seed))
    return model.double().eval()


def settings_of(model: Any) -> dict[str, Any]:
    """Its config.json."""
    return json.loads(model.config.to_json_string())


def read(layout: str, model: nn.Module, more: dict[str, Any] | None = None) -> tuple[Layout, Read, Model]:
    """It in our layout, and our model with its weights."""
    chosen = LAYOUTS[layout]
    found = chosen.read(settings_of(model) | (more or {}), model.state_dict())
    return chosen, found, ours(found)


def ours(found: Read) -> Model:
    """Our model of what was read, in float64."""
    model: Model = found.config.build()
    model = model.double().eval()
    load(model, found.weights)
    return model


def ids(rows: int = 3, length: int = 9, seed: int = 2) -> Tensor:
    """Random token ids, int [rows, length]."""
    return torch.randint(3, VOCAB, (rows, length), generator=torch.Generator().manual_seed(seed))


def padding(side: str, length: int = 9) -> Tensor:
    """Which tokens of three rows are real, bool [3, length]."""
    places = torch.arange(length)
    starts, ends = {
        "none": ([0] * 3, [length] * 3),
        "left": ([4, 0, 2], [length] * 3),
        "right": ([0] * 3, [length, 5, 1]),
    }[side]
    return (places >= torch.tensor(starts)[:, None]) & (places < torch.tensor(ends)[:, None])


def places_of(valid: Tensor) -> Tensor:
    """Places among the real tokens, int [B, T]."""
    return (valid.long().cumsum(-1) - 1).clamp_min(0)


def apart(got: Tensor, want: Tensor, real: Tensor | None = None) -> float:
    """Largest difference; `real` bool [B, T] says where to look."""
    assert got.shape == want.shape
    if real is not None:
        got, want = got[real], want[real]
    assert got.numel()
    return (got - want).abs().max().item()
