"""How the towers' tokens meet: {name: tokens} -> what the trunk reads, and what it may look up. A file a kind."""

from patchword.nn.fusion.base import Fused, Fusion, MappedFusion, Projectors
from patchword.nn.fusion.bottleneck import BottleneckFusion
from patchword.nn.fusion.co_attention import CoAttentionFusion
from patchword.nn.fusion.concat import ConcatFusion
from patchword.nn.fusion.film import FilmFusion
from patchword.nn.fusion.gated import GatedFusion
from patchword.nn.fusion.layered import LayeredFusion, StreamsFusion
from patchword.nn.fusion.reader import CrossFusion, JointFusion, LookingFusion, PrefixFusion, ReaderFusion
from patchword.nn.fusion.reread import RereadFusion
from patchword.nn.fusion.tensor import LowRankFusion, TensorFusion
from patchword.nn.fusion.vectors import VectorFusion, where_there
from patchword.nn.fusion.weighted import WeightedFusion

__all__ = [
    "BottleneckFusion",
    "CoAttentionFusion",
    "ConcatFusion",
    "CrossFusion",
    "FilmFusion",
    "Fused",
    "Fusion",
    "GatedFusion",
    "JointFusion",
    "LayeredFusion",
    "LookingFusion",
    "LowRankFusion",
    "MappedFusion",
    "PrefixFusion",
    "Projectors",
    "ReaderFusion",
    "RereadFusion",
    "StreamsFusion",
    "TensorFusion",
    "VectorFusion",
    "WeightedFusion",
    "where_there",
]
