"""Feed-forwards as Hugging Face's models write them down: the name of an activation, and whether there is a gate."""

from __future__ import annotations

from typing import Any

from patchword.config import FeedForwardConfig, GLUConfig, StandardFeedForwardConfig, SwiGLUConfig, UserError
from patchword.models.convert.settings import their_activation


def gated(activation: Any, hidden: int, bias: bool) -> GLUConfig | SwiGLUConfig:
    """A feed-forward with a gate through this activation of ours."""
    if activation == "silu":
        return SwiGLUConfig(hidden_dim=hidden, bias=bias)
    return GLUConfig(hidden_dim=hidden, activation=activation, bias=bias)


def is_gated(ffn: FeedForwardConfig) -> bool:
    """Whether it has a gate."""
    return isinstance(ffn, GLUConfig | SwiGLUConfig)


def activation_of(ffn: FeedForwardConfig) -> str:
    """Their name of its activation; what else they lack shows when it is read back.

    Raises:
        UserError: a kind of feed-forward that none of theirs has.
    """
    if isinstance(ffn, SwiGLUConfig):
        return "silu"
    if isinstance(ffn, StandardFeedForwardConfig | GLUConfig):
        return their_activation(ffn.activation)
    raise UserError(f"theirs has no feed-forward of kind {ffn.kind}")
