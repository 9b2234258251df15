"""Operations in words: what aten's names do."""

from __future__ import annotations

from collections.abc import Sequence

_WORDS = {
    "add": "add", "add_": "add", "sub": "subtract", "mul": "multiply", "mul_": "multiply", "div": "divide",
    "addcmul": "scale and shift", "neg": "negate", "exp": "exp", "sigmoid": "sigmoid", "silu": "silu", "gelu": "gelu",
    "relu": "relu", "tanh": "tanh", "_softmax": "softmax", "_log_softmax": "log-softmax", "logsumexp": "log-sum-exp",
    "sum": "sum", "mean": "mean", "amax": "largest", "topk": "top k", "sort": "sort", "cumsum": "running sum",
    "native_layer_norm": "layer norm", "native_group_norm": "group norm", "_fused_rms_norm": "rms norm",
    "rsqrt": "1/root", "sqrt": "root", "pow": "power", "masked_fill": "hide", "where": "choose", "cat": "join",
    "stack": "stack", "gather": "gather", "index": "gather", "index_select": "gather", "embedding": "look up",
    "cos": "cos", "sin": "sin", "mm": "product", "bmm": "product", "baddbmm": "product and sum", "addmm": "map",
    "addmm_": "add product", "convolution": "convolution", "clone": "copy", "_to_copy": "convert",
    "linalg_vector_norm": "length",
}  # fmt: skip
_MOST = 3


def in_words(names: Sequence[str]) -> str:
    """What these operations do, each once: `multiply, join, add`; what has no word stands by its own name."""
    words = list(dict.fromkeys(_word(name.removeprefix("aten.")) for name in names))
    return ", ".join(words) if len(words) <= _MOST else ", ".join([*words[:_MOST], "..."])


def _word(name: str) -> str:
    if "scaled_dot_product" in name or "attention" in name:
        return "scores, softmax, mixing in one"
    return _WORDS.get(name, name.strip("_"))
