"""The parts that models are made of. Importing this package gives every kind in `patchword.config` its class."""

from patchword.nn import ffn, fusion, heads, init, mechanisms, norms, pooling, positions, projections
from patchword.nn.attention import Attention, View
from patchword.nn.block import Block
from patchword.nn.embeddings import FeatureEmbedding, PatchEmbedding, TextEmbedding
from patchword.nn.stack import Stack

__all__ = [
    "Attention",
    "Block",
    "FeatureEmbedding",
    "PatchEmbedding",
    "Stack",
    "TextEmbedding",
    "View",
    "ffn",
    "fusion",
    "heads",
    "init",
    "mechanisms",
    "norms",
    "pooling",
    "positions",
    "projections",
]
