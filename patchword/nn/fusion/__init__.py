"""How the towers' tokens meet: {name: tokens} -> what the trunk reads, and what it may look up."""

from patchword.nn.fusion.base import Fused, Fusion
from patchword.nn.fusion.reader import CrossFusion, JointFusion, PrefixFusion, ReaderFusion

__all__ = ["CrossFusion", "Fused", "Fusion", "JointFusion", "PrefixFusion", "ReaderFusion"]
