"""Numbers with limits, as the types of settings."""

from __future__ import annotations

from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le, Lt

Positive = Annotated[int, Gt(0)]
Count = Annotated[int, Ge(0)]
PositiveFloat = Annotated[float, Gt(0)]
NonNegative = Annotated[float, Ge(0)]
Share = Annotated[float, Ge(0), Le(1)]
Dropout = Annotated[float, Ge(0), Lt(1)]
Activation = Literal["gelu", "gelu_tanh", "quick_gelu", "relu", "relu2", "silu", "sigmoid", "tanh", "elu", "mish"]
