"""The embedded data set as a source: scenes drawn when they are read, whose truth is known."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from patchword.config import AlteredMatchingConfig, DataConfig, Fields, UserError
from patchword.data.base import Record, Split
from patchword.data.columns import side_by_side
from patchword.data.file_source import Notes
from patchword.data.matched import RIGHT, WRONG
from patchword.data.scenes import Scene, SceneWorld
from patchword.data.splits import Splits

_OTHER = {"en": "de", "de": "en"}

_TEXTS: dict[str, Callable[[SceneWorld, Scene, str], Sequence[str]]] = {
    "caption": lambda world, scene, language: world.captions(scene, language),
    "label": lambda world, scene, _: [world.label(scene)],
    "source": lambda world, scene, language: world.captions(scene, language),
    "target": lambda world, scene, language: world.captions(scene, _OTHER[language]),
    "text": lambda world, scene, language: world.captions(scene, language),
    "question": lambda world, scene, _: [question.text for question in world.questions(scene)],
    "answer": lambda world, scene, _: [question.answer for question in world.questions(scene)],
    "question_type": lambda world, scene, _: [question.kind for question in world.questions(scene)],
}
"""What can be said of a scene, by field; written only when it is asked for."""

_TOLD = {"caption", "source", "target", "text"}
"""Those that there are in several languages."""

_ALTERED: dict[str, Callable[[SceneWorld, Scene, str], Sequence[str]]] = {
    "caption": lambda world, scene, _: [world.matching(scene)[0]],
    "label": lambda world, scene, _: [RIGHT if world.matching(scene)[1] else WRONG],
}
"""The same where captions are altered."""


class SceneSplit:
    """The first `count` scenes of one split of a world, with the texts of `fields`, altered or not."""

    def __init__(
        self, name: str, count: int, world: SceneWorld, language: str, fields: Fields, altered: bool = False
    ) -> None:
        self.name = name
        self._count = count
        self._world = world
        self._language = language
        self._fields = fields
        self._altered = altered

    def __len__(self) -> int:
        return self._count

    def record(self, index: int) -> Record:
        """Scene `index`, with every phrasing of what it shows, its class, ..."""
        scene = self._world.scene(self.name, self._at(index))
        writers = _TEXTS | _ALTERED if self._altered else _TEXTS
        name = f"{self.name}/{index}"
        said = {field: writers[field](self._world, scene, self._language) for field in self._fields.names}
        return Record(name, side_by_side(name, said, self._fields))

    def read(self, index: int) -> np.ndarray:
        """The picture: uint8 [height, width, 3]."""
        return self._world.draw(self._world.scene(self.name, self._at(index)))

    def describes(self, index: int, caption: str) -> bool:
        """Whether a caption names every object of the scene rightly, and nothing else."""
        return self._world.describes(self._world.scene(self.name, self._at(index)), caption, self._language)

    def count_objects(self, index: int) -> int:
        """How many objects scene `index` shows."""
        return len(self._world.scene(self.name, self._at(index)).objects)

    def _at(self, index: int) -> int:
        if not 0 <= index < self._count:
            raise IndexError(f"record {index} of the {self._count} in split {self.name!r}")
        return index


class SceneSource:
    """The embedded data set: train, val, test, and novel with combinations that the others never show."""

    has_pictures = True

    def __init__(self, config: DataConfig, fields: Fields) -> None:
        lacking = [name for name in fields.required if name not in _TEXTS]
        if lacking:
            raise UserError(f"the embedded data set has no {lacking[0]}; what it has: {', '.join(_TEXTS)}")
        fields = fields._replace(optional=tuple(name for name in fields.optional if name in _TEXTS))
        if "caption" in fields.names:  # the same once more
            fields = fields._replace(optional=tuple(name for name in fields.optional if name != "text"))
        scenes = config.scenes
        world = SceneWorld(scenes.seed, config.image.height, config.image.width, scenes.max_objects)
        if scenes.language != "en" and not _TOLD & set(fields.names):
            read = " and ".join(f"{name}s" for name in fields.names) or "pictures"
            raise UserError(f"data.scenes.language={scenes.language}: this task reads {read}, which are English alone")
        counts = {"train": scenes.train, "val": scenes.val, "test": scenes.test, "novel": scenes.test}
        altered = isinstance(config.matching, AlteredMatchingConfig)
        if altered and scenes.language != "en":
            raise UserError(f"data.scenes.language={scenes.language}: altered captions are English")
        self.name = "scenes"
        self.notes = Notes()
        self._scenes = Splits(
            self.name,
            {name: SceneSplit(name, count, world, scenes.language, fields, altered) for name, count in counts.items()},
        )
        self.splits: Mapping[str, Split] = self._scenes

    def describes(self, split: str, index: int, caption: str) -> bool:
        """Whether a caption is true and complete."""
        return self._scenes[split].describes(index, caption)

    def group(self, split: str, index: int) -> str:
        """Scenes with few objects and with many."""
        return "1_to_2_objects" if self._scenes[split].count_objects(index) <= 2 else "3_to_4_objects"
