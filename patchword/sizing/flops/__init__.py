"""FLOPs of every operation that our models and torch's common modules run. A multiplication and an addition are two.

One file a family of operations; each enters its formulas in the registry. What has no formula is reported, never taken
for nothing.
"""

from patchword.sizing.flops import (
    algebra,
    attention,
    convolutions,
    flex,
    modules,
    optimisers,
    packed,
    pointwise,
    products,
    quantised,
    recurrent,
)
from patchword.sizing.flops.registry import work_of

__all__ = [
    "algebra",
    "attention",
    "convolutions",
    "flex",
    "modules",
    "optimisers",
    "packed",
    "pointwise",
    "products",
    "quantised",
    "recurrent",
    "work_of",
]
