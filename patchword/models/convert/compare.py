"""Whether two configurations compute the same function of the same weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from patchword.config import ModelConfig, TokenHeadConfig

_TRAINING = (
    *("init", "init_from", "embed_std", "zero_start", "dropout", "embed_dropout", "drop_path"),
    *("max_len", "max_scale"),
)
"""What says nothing of a trained model's function (`max_len`: rows of a table, which are compared as weights)."""


def differences(one: ModelConfig, other: ModelConfig) -> list[str]:
    """Paths of settings in which two models differ, with every default written out."""
    flat, others = (dict(_flat(_written_out(_whole(config)), "")) for config in (one, other))
    return sorted(path for path in flat.keys() | others.keys() if flat.get(path) != others.get(path))


def _whole(config: ModelConfig) -> dict[str, Any]:
    """All settings; a pool also says how wide the tokens are that it reads."""
    config = config.with_vocabularies(lambda _: None)  # those that share a table have its size
    data = config.to_dict()
    for name, head in config.heads.items():
        pool = data["heads"][name].get("pool")
        if pool is not None and isinstance(head, TokenHeadConfig):
            pool["dim"] = config.source_dim(head)
    return data


def _written_out(data: Mapping[str, Any]) -> dict[str, Any]:
    """Widths that follow from others; of numbers that only start a weight, whether there is that weight."""
    out: dict[str, Any] = {
        name: _written_out(value) if isinstance(value, Mapping) else value for name, value in data.items()
    }
    if out.get("kind") == "similarity":
        out |= {name: out[name] is not None for name in ("temperature", "bias")}
    dim = out.get("dim")
    if dim is None:
        return out
    for name in ("attention", "cross_attention"):
        own = out.get(name)
        if own is not None:
            own["num_kv_heads"] = own["num_kv_heads"] or own["num_heads"]
            own["head_dim"] = own["head_dim"] or dim // own["num_heads"]
            own["scale"] = own["scale"] or own["head_dim"] ** -0.5
    ffn = out.get("ffn")
    if ffn is not None and "hidden_dim" in ffn:
        gated = ffn["kind"] in ("glu", "geglu", "swiglu")
        ffn["hidden_dim"] = ffn["hidden_dim"] or (-(-8 * dim // 3 // 8) * 8 if gated else 4 * dim)
    return out


def _flat(data: Any, path: str) -> Iterator[tuple[str, Any]]:
    if not isinstance(data, Mapping):
        yield path, data
        return
    for name, value in data.items():
        if name not in _TRAINING:
            yield from _flat(value, f"{path}.{name}" if path else name)
