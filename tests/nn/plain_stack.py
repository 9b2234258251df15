"""A stack written out in loops over numpy numbers, from the papers, to compare with; no code is shared."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, Any]


def gelu(x: float) -> float:
    return x * 0.5 * (1 + math.erf(x / math.sqrt(2)))


def gelu_tanh(x: float) -> float:
    return 0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


FUNCTIONS: dict[str, Callable[[float], float]] = {
    "gelu": gelu,
    "gelu_tanh": gelu_tanh,
    "quick_gelu": lambda x: x * sigmoid(1.702 * x),
    "relu": lambda x: max(x, 0.0),
    "relu2": lambda x: max(x, 0.0) ** 2,
    "silu": lambda x: x * sigmoid(x),
    "sigmoid": sigmoid,
    "tanh": math.tanh,
    "elu": lambda x: x if x > 0 else math.exp(x) - 1,
    "mish": lambda x: x * math.tanh(math.log(1 + math.exp(x))),
}


class Facts(NamedTuple):
    """What is known of a sequence; None is trivial."""

    valid: Array | None = None
    pos: Array | None = None
    order: Array | None = None
    segment: Array | None = None


def linear(w: dict[str, Array], name: str, x: Array) -> Array:
    y = x @ w[f"{name}.weight"].T
    return y + w[f"{name}.bias"] if f"{name}.bias" in w else y


def norm(w: dict[str, Array], name: str, config: Any, x: Array) -> Array:
    out = np.empty_like(x)
    for place in np.ndindex(x.shape[:-1]):
        v = x[place]
        if config.kind == "layernorm":
            v = (v - v.mean()) / math.sqrt(((v - v.mean()) ** 2).mean() + config.eps) * w[f"{name}.weight"]
            v = v + w[f"{name}.bias"] if f"{name}.bias" in w else v
        elif config.kind == "rmsnorm":
            v = v / math.sqrt((v**2).mean() + config.eps) * w[f"{name}.weight"]
        else:
            v = w[f"{name}.gain"] * v / (math.sqrt((v**2).sum()) + config.eps)
        out[place] = v
    return out


def turn(vector: Array, place: Array, theta: float) -> Array:
    """Rotary: pair i of an axis is turned by place * theta ** (-2i / width); a pair is (x_i, x_{i + E/2})."""
    half = len(vector) // 2
    out, each = vector.copy(), half // len(place)
    for axis, p in enumerate(place):
        for i in range(each):
            angle = p * theta ** (-2 * i / (2 * each))
            a, b = axis * each + i, axis * each + i + half
            out[a] = vector[a] * math.cos(angle) - vector[b] * math.sin(angle)
            out[b] = vector[b] * math.cos(angle) + vector[a] * math.sin(angle)
    return out


def wave(place: Array, dim: int, theta: float) -> Array:
    """Sinusoidal: for each axis first the sines, then the cosines."""
    width, out = dim // len(place), []
    for p in place:
        angles = [p / theta ** (2 * i / width) for i in range(width // 2)]
        out += [math.sin(a) for a in angles] + [math.cos(a) for a in angles]
    return np.array(out)


def add_places(w: dict[str, Array], config: Any, x: Array, pos: Array, columns: int, special: bool) -> Array:
    kind, out = config.position.kind, x.copy()
    for b, t in np.ndindex(x.shape[:2]):
        place = np.atleast_1d(pos[b, t])
        if kind == "sinusoidal":
            out[b, t] += wave(place, x.shape[2], config.position.theta)
        elif kind == "learned":
            row = place[0] if len(place) == 1 else place[0] * columns + place[1]
            row = 0 if special and place[0] == -1 else row + special
            out[b, t] += w["position.table.weight"][row]
    return out


def may_see(config: Any, own: Facts, t: int, s: int, b: int) -> bool:
    """Whether token t of row b may see token s of its own sequence."""
    order_t, order_s = (t, s) if own.order is None else (own.order[b, t], own.order[b, s])
    if own.valid is not None and not own.valid[b, s]:
        return False
    if own.segment is not None and own.segment[b, t] != own.segment[b, s]:
        return False
    if config.causal and order_s > order_t:
        return False
    apart = abs(t - s) if own.valid is None else int(own.valid[b, min(t, s) + 1 : max(t, s) + 1].sum())
    return config.window is None or apart < config.window


def attention(
    w: dict[str, Array],
    name: str,
    config: Any,
    x: Array,
    source: Array,
    sees: Callable[[int, int, int], bool],
    rotary: tuple[Array, float] | None,
) -> Array:
    heads, groups = config.num_heads, config.num_kv_heads or config.num_heads
    batch, length = x.shape[:2]
    width = w[f"{name}.q_proj.weight"].shape[0] // heads
    q = linear(w, f"{name}.q_proj", x).reshape(batch, length, heads, width)
    k = linear(w, f"{name}.k_proj", source).reshape(batch, source.shape[1], groups, width)
    v = linear(w, f"{name}.v_proj", source).reshape(batch, source.shape[1], groups, width)
    if config.qk_norm is not None:
        q, k = norm(w, f"{name}.q_norm", config.qk_norm, q), norm(w, f"{name}.k_norm", config.qk_norm, k)
    if rotary is not None:
        pos, theta = rotary
        for part in (q, k):
            for b, t, h in np.ndindex(part.shape[:3]):
                part[b, t, h] = turn(part[b, t, h], np.atleast_1d(pos[b, t]), theta)
    scale = config.scale or 1 / math.sqrt(width)
    out = np.zeros((batch, length, heads, width))
    for b, t, h in np.ndindex(out.shape[:3]):
        group = h // (heads // groups)
        seen = [s for s in range(source.shape[1]) if sees(b, t, s)]
        scores = [scale * float(q[b, t, h] @ k[b, s, group]) for s in seen]
        chances = [math.exp(score - max(scores)) for score in scores]
        for s, chance in zip(seen, chances, strict=True):
            out[b, t, h] += chance / sum(chances) * v[b, s, group]
    return linear(w, f"{name}.out_proj", out.reshape(batch, length, heads * width))


def feed_forward(w: dict[str, Array], name: str, config: Any, x: Array) -> Array:
    function = np.vectorize(FUNCTIONS[getattr(config, "activation", "silu")], otypes=[float])
    up = linear(w, f"{name}.up_proj", x)
    if config.kind == "standard":
        inner = function(up)
    else:
        inner = function(linear(w, f"{name}.gate_proj", x)) * up
    return linear(w, f"{name}.down_proj", inner)


def stack(
    w: dict[str, Array],
    config: Any,
    x: Array,
    own: Facts,
    memory: Array | None = None,
    memory_valid: Array | None = None,
    columns: int = 0,
    special: bool = False,
) -> Array:
    """The whole stack; `pos` must be given, [B, T] or [B, T, 2]."""
    assert own.pos is not None
    x = add_places(w, config, x, own.pos, columns, special)
    rotary = (own.pos, config.position.theta) if config.position.kind == "rotary" else None

    def residual(name: str, x: Array, step: Callable[[Array], Array]) -> Array:
        gain = w.get(f"{name}.gain", np.ones(()))
        if config.residual.placement == "pre":
            return x + gain * step(norm(w, f"{name}.norm", config.norm, x))
        return norm(w, f"{name}.norm", config.norm, x + gain * step(x))

    def look(name: str, y: Array) -> Array:
        def sees(b: int, t: int, s: int) -> bool:
            return may_see(config.attention, own, t, s, b)

        return attention(w, name, config.attention, y, y, sees, rotary)

    def look_beside(name: str, y: Array) -> Array:
        def sees(b: int, t: int, s: int) -> bool:
            return memory_valid is None or bool(memory_valid[b, s])

        assert memory is not None
        return attention(w, name, config.cross_attention, y, memory, sees, None)

    for i in range(config.depth):
        block = f"blocks.{i}"
        if config.attention is not None:
            x = residual(f"{block}.self_attn", x, lambda y: look(f"{block}.self_attn.step", y))  # noqa: B023
        if config.cross_attention is not None:
            x = residual(f"{block}.cross_attn", x, lambda y: look_beside(f"{block}.cross_attn.step", y))  # noqa: B023
        if config.ffn is not None:
            x = residual(f"{block}.ffn", x, lambda y: feed_forward(w, f"{block}.ffn.step", config.ffn, y))  # noqa: B023
    return norm(w, "norm", config.norm, x) if config.final_norm and config.depth else x
