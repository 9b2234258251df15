"""The embedded data set: drawn scenes whose ground truth is known exactly."""

from __future__ import annotations

from patchword.data.scenes.compose import composition_split
from patchword.data.scenes.language import LANGUAGES, Description, parse_caption
from patchword.data.scenes.objects import (
    COLOURS,
    HELD_OUT,
    PLACES,
    SHAPES,
    SIZES,
    SPLITS,
    Background,
    Question,
    Scene,
    SceneObject,
)
from patchword.data.scenes.questions import ANSWERS, QUESTION_KINDS
from patchword.data.scenes.world import SceneWorld

__all__ = [
    "ANSWERS",
    "COLOURS",
    "HELD_OUT",
    "LANGUAGES",
    "PLACES",
    "QUESTION_KINDS",
    "SHAPES",
    "SIZES",
    "SPLITS",
    "Background",
    "Description",
    "Question",
    "Scene",
    "SceneObject",
    "SceneWorld",
    "composition_split",
    "parse_caption",
]
