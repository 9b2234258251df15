"""The world of scenes: one door to pictures, captions, questions, labels and pairs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from patchword.config import UserError, unknown
from patchword.data.scenes.compose import compose, random_stream
from patchword.data.scenes.draw import Painter
from patchword.data.scenes.language import grammar, parse_caption
from patchword.data.scenes.matching import match
from patchword.data.scenes.objects import PLACES, SPLITS, Question, Scene
from patchword.data.scenes.questions import ask

MIN_SIDE = 32
"""Below this many pixels a small star cannot be told from a small circle."""


class SceneWorld:
    """An endless supply of scenes for every task, each a function of (seed, split, index) alone.

    No set of objects is in two splits, whatever the seeds; `novel` scenes hold one pair of shape and
    colour (`HELD_OUT`) that the other splits never show nor mention. Pictures are `height` x `width`
    pixels; a scene itself does not depend on them.
    """

    def __init__(self, seed: int = 0, height: int = 64, width: int = 64, max_objects: int = 4) -> None:
        if seed < 0:
            raise UserError(f"the seed of the scenes is {seed}; it must not be negative")
        if min(height, width) < MIN_SIDE:
            raise UserError(f"scenes of {height} x {width} pixels are too small: each side needs {MIN_SIDE}")
        if not 1 <= max_objects <= len(PLACES):
            raise UserError(f"max_objects is {max_objects}; a scene holds 1 to {len(PLACES)} objects")
        self.seed = seed
        self.max_objects = max_objects
        self._painter = Painter(height, width)

    def scene(self, split: str, index: int) -> Scene:
        """Scene `index` (any, from 0) of a split, with `1 + index % max_objects` objects."""
        if split not in SPLITS:
            raise UserError(unknown("split of the scenes", split, SPLITS))
        if index < 0:
            raise UserError(f"the index of a scene is {index}; it must not be negative")
        return compose(self.seed, split, index, self.max_objects)

    def draw(self, scene: Scene) -> NDArray[np.uint8]:
        """The picture: uint8 [height, width, 3], RGB."""
        return self._painter.draw(scene)

    def captions(self, scene: Scene, language: str = "en") -> list[str]:
        """Five different phrasings, each true and complete, naming the objects in reading order."""
        speaker = grammar(language)
        return [speaker.caption(scene.objects, template) for template in speaker.templates]

    def questions(self, scene: Scene) -> list[Question]:
        """Seven to nine questions (`QUESTION_KINDS`), the same ones at every call; answers are in `ANSWERS`."""
        return ask(scene, random_stream(self.seed, scene.split, scene.index, purpose=1))

    def label(self, scene: Scene) -> str:
        """The shape of the first large object in reading order, or of the first object if all are small."""
        return min(scene.objects, key=lambda item: (item.size != "large", item.cell)).shape

    def matching(self, scene: Scene) -> tuple[str, bool]:
        """An English caption and whether it is true; half of the time exactly one thing in it is wrong."""
        return match(scene, self.max_objects, random_stream(self.seed, scene.split, scene.index, purpose=2))

    def describes(self, scene: Scene, caption: str, language: str = "en") -> bool:
        """Whether a caption names every object with its right attributes and nothing else.

        The objects may come in any order, counted or one by one; places may be left out, but not be wrong.
        """
        description = parse_caption(caption, language)
        return description is not None and description.fits(scene.objects)
