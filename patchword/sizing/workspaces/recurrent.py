"""oneDNN's LSTM: what it reserves for the backward pass, and its own layout of weights and gates.

T steps, B batch, I inputs, H units. Sizes follow oneDNN's `rnn_utils`: rows are filled up to 64 bytes, and by 64 more
where they would be a multiple of 1 KiB; each space begins on a page.
"""

from __future__ import annotations

from patchword.sizing.flops.registry import Call
from patchword.sizing.workspaces.registry import RESERVES, Inside, aten, copied, rule, up

_PAGE, _FLOAT = 4096, 4
_DESCRIPTION, _DESCRIPTION_LOOKING, _DESCRIPTION_BACKWARD = (
    14_472,
    24_792,
    47_032,
)  # bytes of oneDNN's description of the work
_FIXED = 12_856  # of its buffers


def _row(width: int) -> int:
    """Floats of a row."""
    row = up(width, 64 // _FLOAT)
    return row + 64 // _FLOAT if row * _FLOAT % 1024 == 0 else row


def _pages(floats: int) -> int:
    return up(floats * _FLOAT, _PAGE)


def _sides(call: Call) -> tuple[int, int, int, int]:
    steps, batch, inputs = call["input"].shape
    return steps, batch, inputs, call["hidden_size"]


def _reserve(call: Call) -> int:
    """Gates, projected states, and three kinds of states before and after each step."""
    if not call["train"]:
        return 0
    steps, batch, inputs, hidden = _sides(call)
    gates = _pages(steps * batch * _row(4 * hidden)) + _pages(steps * batch * _row(hidden))
    states = 3 * _pages(2 * (steps + 1) * batch * _row(max(inputs, hidden)))
    return gates + states + 2 * _pages(2 * (steps + 1) * batch * hidden)


RESERVES[aten.mkldnn_rnn_layer] = _reserve


def _inside(call: Call) -> int:
    steps, batch, inputs, hidden = _sides(call)
    weights = _FLOAT * (inputs + hidden) * _row(4 * hidden)
    states = 2 * (_pages(batch * _row(hidden)) - _PAGE)
    return weights + _pages(steps * batch * _row(4 * hidden)) + states + 4 * _FLOAT * hidden + _FIXED


@rule(aten.mkldnn_rnn_layer)
def _forward(call: Call) -> Inside:
    """Without a backward pass to come, states are here instead of in what is reserved (fitted to six sizes)."""
    if call["train"]:
        return Inside(_inside(call), _DESCRIPTION)
    _, batch, inputs, hidden = _sides(call)
    states = 2 * _pages(2 * batch * hidden) + 96 * hidden - 64 * inputs - 24_288
    return Inside(_inside(call) + states, _DESCRIPTION_LOOKING)


@rule(aten.mkldnn_rnn_layer_backward)
def _backward(call: Call) -> Inside:
    """As forward; gradients of last states in full; weights whose rows are not filled up, laid out anew."""
    _, batch, inputs, hidden = _sides(call)
    states = 2 * _FLOAT * batch * hidden
    weights = sum(4 * hidden * _row(width) * _FLOAT + 880 for width in (inputs, hidden) if _row(width) != width)
    return Inside(_inside(call) + states + weights + copied(call["grad_output"]), _DESCRIPTION_BACKWARD)
