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
    modality: Array | None = None
    grid: Array | None = None


class Area(NamedTuple):
    """Where tokens of one kind can stand."""

    columns: int = 0
    """Columns of a table for pictures; 0: a line."""
    special: bool = False
    """Whether there is a place -1."""


class Stand(NamedTuple):
    """A token's place, and whose settings and weights say what it means."""

    config: Any
    weights: str
    place: Array
    area: Area


def stand(config: Any, own: Facts, b: int, t: int, areas: dict[str, Area]) -> Stand:
    """Where token t of row b stands; rows of facts may be shared by the batch."""

    def of(fact: Array | None) -> Any:
        assert fact is not None
        return fact[b if len(fact) > 1 else 0, t]

    if config.kind != "per_modality":
        return Stand(config, "position", np.atleast_1d(of(own.pos)), areas[""])
    tower = list(areas)[of(own.modality)]
    place = of(own.grid if areas[tower].columns else own.pos)
    return Stand(config.of[tower], f"position.of.{tower}", np.atleast_1d(place), areas[tower])


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
        elif config.kind == "scalenorm":
            v = w[f"{name}.gain"] * v / (math.sqrt((v**2).sum()) + config.eps)
        out[place] = v
    return out


def turns(width: int, config: Any) -> tuple[list[float], float]:
    """How far each of width / 2 waves of a rotary axis turns a step, and the factor on what is turned."""
    scaling, theta, gain = config.scaling, config.theta, 1.0
    kind = None if scaling is None else scaling.kind
    if kind == "ntk" and width > 2:
        theta *= scaling.factor ** (width / (width - 2))
    waves = [theta ** (-2 * i / width) for i in range(width // 2)]
    if kind == "linear":
        waves = [wave / scaling.factor for wave in waves]
    if kind == "llama3":
        for i, wave in enumerate(waves):
            rounds = wave * scaling.trained_len / (2 * math.pi)
            kept = min(max((rounds - scaling.beta_slow) / (scaling.beta_fast - scaling.beta_slow), 0), 1)
            waves[i] = kept * wave + (1 - kept) * wave / scaling.factor
    if kind == "yarn":

        def number(rounds: float) -> float:
            return width * math.log(scaling.trained_len / (rounds * 2 * math.pi)) / (2 * math.log(theta))

        low, high = math.floor(number(scaling.beta_fast)), math.ceil(number(scaling.beta_slow))
        low, high = max(low, 0), min(high, width - 1)
        for i, wave in enumerate(waves):
            slow = min(max((i - low) / (high - low), 0), 1) if high > low else float(i > high)
            waves[i] = (1 - slow) * wave + slow * wave / scaling.factor
        gain = 0.1 * math.log(scaling.factor) + 1
    return waves, gain


def turn(vector: Array, place: Array, config: Any) -> Array:
    """Rotary: pair i of an axis is turned by place * its wave; a pair is (x_i, x_{i + R/2}), R the width turned."""
    half = int(len(vector) * config.share) // 2
    out, each = vector.copy(), half // len(place)
    waves, gain = turns(2 * each, config)
    for axis, p in enumerate(place):
        for i in range(each):
            angle = p * waves[i]
            a, b = axis * each + i, axis * each + i + half
            out[a] = gain * (vector[a] * math.cos(angle) - vector[b] * math.sin(angle))
            out[b] = gain * (vector[b] * math.cos(angle) + vector[a] * math.sin(angle))
    return out


def bucket(apart: int, two_sided: bool, num_buckets: int, max_distance: int) -> int:
    """T5's bucket of key's place - query's place."""
    if two_sided:
        return (num_buckets // 2 if apart > 0 else 0) + bucket(-abs(apart), False, num_buckets // 2, max_distance)
    distance, exact = max(-apart, 0), num_buckets // 2
    if distance < exact:
        return distance
    grown = math.log(distance / exact) / math.log(max_distance / exact) * (num_buckets - exact)
    return min(exact + int(grown + 1e-9), num_buckets - 1)


def slope(head: int, heads: int) -> float:
    """ALiBi's slope of a head."""
    power = 1
    while 2 * power <= heads:
        power *= 2
    return 2 ** (-8 * (head + 1) / power) if head < power else 2 ** (-8 * (2 * (head - power) + 1) / (2 * power))


def term(w: dict[str, Array], query: Stand, key: Stand, causal: bool, q: Array, head: int, heads: int) -> float:
    """What positions add to the score of a (scaled) query and a key."""
    if query.weights != key.weights:
        return 0.0
    config, total = query.config, 0.0
    for axis, (i, j) in enumerate(zip(query.place, key.place, strict=True)):
        apart = int(j - i)
        if config.kind == "alibi":
            total -= slope(head, heads) * abs(apart)
        elif config.kind == "relative_bias":
            two_sided = not causal or len(query.place) > 1
            row = bucket(apart, two_sided, config.num_buckets, config.max_distance) + axis * config.num_buckets
            total += w[f"{query.weights}.table.weight"][row, head]
        elif config.kind == "relative_key":
            reach = config.max_distance
            row = max(-reach, min(apart, reach)) + reach + axis * (2 * reach + 1)
            total += float(q @ w[f"{query.weights}.keys.weight"][row])
    return total


def wave(place: Array, dim: int, theta: float) -> Array:
    """Sinusoidal: for each axis first the sines, then the cosines."""
    width, out = dim // len(place), []
    for p in place:
        angles = [p / theta ** (2 * i / width) for i in range(width // 2)]
        out += [math.sin(a) for a in angles] + [math.cos(a) for a in angles]
    return np.array(out)


def add_place(w: dict[str, Array], at: Stand, x: Array) -> Array:
    """The vector of a token with what its place adds to it."""
    if at.config.kind == "sinusoidal":
        return x + wave(at.place, len(x), at.config.theta)
    if at.config.kind == "learned":
        row = at.place[0] if len(at.place) == 1 else at.place[0] * at.area.columns + at.place[1]
        row = 0 if at.area.special and at.place[0] == -1 else row + at.area.special
        return x + w[f"{at.weights}.table.weight"][row]
    return x


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
    at: Callable[[int, int], Stand] | None,
) -> Array:
    """`at`: where each token stands; None: places say nothing."""
    heads, groups = config.num_heads, config.num_kv_heads or config.num_heads
    batch, length = x.shape[:2]
    width = w[f"{name}.q_proj.weight"].shape[0] // heads
    q = linear(w, f"{name}.q_proj", x).reshape(batch, length, heads, width)
    k = linear(w, f"{name}.k_proj", source).reshape(batch, source.shape[1], groups, width)
    v = linear(w, f"{name}.v_proj", source).reshape(batch, source.shape[1], groups, width)
    if config.qk_norm is not None:
        q, k = norm(w, f"{name}.q_norm", config.qk_norm, q), norm(w, f"{name}.k_norm", config.qk_norm, k)
    if at is not None:
        for part in (q, k):
            for b, t, h in np.ndindex(part.shape[:3]):
                own = at(b, t)
                if own.config.kind == "rotary":
                    part[b, t, h] = turn(part[b, t, h], own.place, own.config)
    scale = config.scale or 1 / math.sqrt(width)

    def score(b: int, t: int, s: int, h: int) -> float:
        found = scale * float(q[b, t, h] @ k[b, s, h // (heads // groups)])
        if at is None:
            return found
        return found + term(w, at(b, t), at(b, s), config.causal, scale * q[b, t, h], h, heads)

    out = np.zeros((batch, length, heads, width))
    for b, t, h in np.ndindex(out.shape[:3]):
        group = h // (heads // groups)
        seen = [s for s in range(source.shape[1]) if sees(b, t, s)]
        scores = [score(b, t, s, h) for s in seen]
        chances = [math.exp(score - max(scores)) for score in scores]
        for s, chance in zip(seen, chances, strict=True):
            out[b, t, h] += chance / sum(chances) * v[b, s, group]
    gathered = out.reshape(batch, length, heads * width)
    if config.gate:
        gathered = gathered * np.vectorize(sigmoid)(linear(w, f"{name}.gate_proj", x))
    return linear(w, f"{name}.out_proj", gathered)


def feed_forward(w: dict[str, Array], name: str, config: Any, x: Array) -> Array:
    fixed = {"geglu": "gelu", "swiglu": "silu", "relu2": "relu2"}
    function = np.vectorize(FUNCTIONS[fixed.get(config.kind) or config.activation], otypes=[float])
    up = linear(w, f"{name}.up_proj", x)
    if config.kind in ("standard", "relu2"):
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
    areas: dict[str, Area] | None = None,
) -> Array:
    """The whole stack; `pos` must be given, [B, T] or [B, T, 2]; `areas` of each modality, in order, or of ""."""
    x, grounds = x.copy(), areas or {"": Area()}

    def at(b: int, t: int) -> Stand:
        return stand(config.position, own, b, t, grounds)

    for b, t in np.ndindex(x.shape[:2]):
        x[b, t] = add_place(w, at(b, t), x[b, t])
    if config.entry_norm:
        x = norm(w, "entry_norm", config.norm, x)

    def residual(name: str, x: Array, step: Callable[[Array], Array]) -> Array:
        gain = w.get(f"{name}.gain", np.ones(()))
        if config.residual.placement == "pre":
            return x + gain * step(norm(w, f"{name}.norm", config.norm, x))
        if config.residual.placement == "sandwich":
            inner = step(norm(w, f"{name}.norm", config.norm, x))
            return x + gain * norm(w, f"{name}.out_norm", config.norm, inner)
        return norm(w, f"{name}.norm", config.norm, x + gain * step(x))

    def look(name: str, y: Array) -> Array:
        def sees(b: int, t: int, s: int) -> bool:
            return may_see(config.attention, own, t, s, b)

        return attention(w, name, config.attention, y, y, sees, at)

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
