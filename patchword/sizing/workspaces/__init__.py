"""Memory that kernels take inside themselves, which no watch over operations sees: it is there only while they run.

One file a family of operations; each enters its rule in the registry. Rules are those of torch's CPU kernels, as their
sources have them or as benchmarks/sizing/kernels.py measured them operation by operation (docs/sizing/memory.md).
"""

from patchword.sizing.workspaces import attention, convolutions, elements, norms, orders, products, recurrent
from patchword.sizing.workspaces.registry import reserve_of, workspace_of

__all__ = [
    "attention",
    "convolutions",
    "elements",
    "norms",
    "orders",
    "products",
    "recurrent",
    "reserve_of",
    "workspace_of",
]
