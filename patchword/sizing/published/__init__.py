"""What was published about the sizes of some systems, beside what is true of models with exactly their parameters.

memory_formula.py is the memory formula of system 001, digit_table.py the table of system 000, layer_summary.py the
layer summary of system 004; each reproduces what was printed, and says where it is wrong. The truth is a trace.
"""

from __future__ import annotations

from patchword.config import ImageTowerConfig, ModelConfig, TextTowerConfig, UserError
from patchword.sizing.published import digit_table, layer_summary, memory_formula
from patchword.sizing.published.comparison import Comparison


def compare(name: str, model: ModelConfig, batch: int | None = None) -> Comparison:
    """What was published about a model of this shape, beside the truth.

    Args:
        name: what to call the model.
        model: text only: a GPT, whose memory system 001 estimates; a picture only: system 004; both: system 000.
        batch: samples; None: as many as the publication has.

    Raises:
        UserError: nothing was published about such a model.
    """
    kinds = [type(tower) for tower in model.towers.values()]
    if kinds == [TextTowerConfig]:
        return memory_formula.compare(name, model, batch)
    if kinds == [ImageTowerConfig]:
        return layer_summary.compare(name, model, batch)
    if kinds == [ImageTowerConfig, TextTowerConfig]:
        return digit_table.compare(name, model, batch)
    raise UserError(f"nothing was published about a model with these towers: {', '.join(model.towers)}")
