"""Choices of how scores of pairs become a loss."""

from __future__ import annotations

from patchword.config.core import Config
from patchword.config.numbers import PositiveFloat


class ContrastConfig(Config, family="contrast"):
    """What pulls together the vectors that belong together and pushes the others apart."""


class InfoNCEContrastConfig(ContrastConfig, kind="infonce"):
    """Cross-entropy of each pair among the pairs that are wrong, both ways (van den Oord et al. 2018; Radford et al.
    2021)."""


class SigmoidContrastConfig(ContrastConfig, kind="sigmoid"):
    """A yes or no for every pair by itself (Zhai et al. 2023, SigLIP)."""


class TripletContrastConfig(ContrastConfig, kind="triplet"):
    """A margin between each pair and the wrong ones, both ways (Faghri et al. 2018, VSE++)."""

    margin: PositiveFloat = 0.2
    """By how much a pair should be more alike than a wrong one, in cosines."""
    hardest: bool = True
    """Whether only the most alike of the wrong ones counts; else all of them do."""
