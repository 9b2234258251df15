"""The contract of attention mechanisms, for anyone who writes one: `check_mechanism(MyAttentionConfig)`; of fusions:
`check_fusion(MyFusionConfig)`.

A law is a function of a `Subject` (a stack with random weights) that raises `AssertionError` where it does not hold.
None knows a mechanism: each compares a stack with itself on inputs that must give the same. A mechanism that only
approximates softmax obeys them as exactly as softmax does.
"""

from patchword.testing.check import LAWS, Law, cases, check_mechanism, check_refusals, laws_for
from patchword.testing.check_fusion import check_fusion
from patchword.testing.subject import Case, Subject, randomise

__all__ = [
    "LAWS",
    "Case",
    "Law",
    "Subject",
    "cases",
    "check_fusion",
    "check_mechanism",
    "check_refusals",
    "laws_for",
    "randomise",
]
