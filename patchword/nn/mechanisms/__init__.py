"""Attention mechanisms, one file each."""

from patchword.nn.mechanisms.base import Mechanism
from patchword.nn.mechanisms.linformer import LinformerAttention
from patchword.nn.mechanisms.softmax import SoftmaxAttention

__all__ = ["LinformerAttention", "Mechanism", "SoftmaxAttention"]
