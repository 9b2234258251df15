"""Attention mechanisms, one file each."""

from patchword.nn.mechanisms.base import Mechanism
from patchword.nn.mechanisms.block_pattern import BlockPattern
from patchword.nn.mechanisms.differential import DifferentialAttention
from patchword.nn.mechanisms.linear import LinearAttention
from patchword.nn.mechanisms.linformer import LinformerAttention
from patchword.nn.mechanisms.performer import PerformerAttention
from patchword.nn.mechanisms.reformer import ReformerAttention
from patchword.nn.mechanisms.softmax import SoftmaxAttention
from patchword.nn.mechanisms.sparse import SparseAttention
from patchword.nn.mechanisms.topk import TopKAttention

__all__ = [
    "BlockPattern",
    "DifferentialAttention",
    "LinearAttention",
    "LinformerAttention",
    "Mechanism",
    "PerformerAttention",
    "ReformerAttention",
    "SoftmaxAttention",
    "SparseAttention",
    "TopKAttention",
]
