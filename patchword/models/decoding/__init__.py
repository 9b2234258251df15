"""The ways of choosing what is said next. Importing this makes every kind known."""

from __future__ import annotations

from patchword.models.decoding.base import Decoding, Search, Searched, Vocabulary
from patchword.models.decoding.beams import BeamSearch
from patchword.models.decoding.tokens import GreedySearch, SampleSearch, narrow

__all__ = ["BeamSearch", "Decoding", "GreedySearch", "SampleSearch", "Search", "Searched", "Vocabulary", "narrow"]
