"""Captions of scenes in English and German, and back: one small grammar each, exact in both directions."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product, starmap

from patchword.config import UserError, unknown
from patchword.data.scenes.objects import COLOURS, PLACES, SHAPES, SIZES, Kind, SceneObject

PLURALS = {
    "circle": "circles",
    "square": "squares",
    "triangle": "triangles",
    "star": "stars",
    "cross": "crosses",
    "diamond": "diamonds",
}
NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


@dataclass(frozen=True, slots=True)
class Description:
    """What a caption says: how many objects of each kind, and those of them whose place it tells."""

    objects: Counter[Kind]
    placed: Counter[tuple[Kind, str]]
    """`(kind, place)`."""

    def fits(self, objects: Iterable[SceneObject]) -> bool:
        """Whether these are exactly the objects described, every place that is told being right."""
        objects = tuple(objects)
        there = Counter((item.kind, item.place) for item in objects)
        return self.objects == Counter(item.kind for item in objects) and self.placed <= there


@dataclass(frozen=True)
class Template:
    """One phrasing: its first words, the case they ask for, and how it lists the objects."""

    lead: str
    case: str = "nominative"
    placed: bool = False
    """Whether the place of each object is told."""
    counted: bool = False
    """Whether equal objects are counted ("two small red circles") rather than listed one by one."""


@dataclass(frozen=True)
class Rules:
    """What tells one language from another."""

    templates: tuple[Template, ...]
    spare_leads: dict[str, str]
    """Further first words that are understood, with their case."""
    conjunction: str
    places: dict[str, str]
    phrases: Callable[[str, int, Kind], tuple[str, ...]]
    """(case, count, kind) -> the ways to say it in four words each, the one to be written first."""


class Grammar:
    """One language: writes captions and reads them."""

    def __init__(self, rules: Rules) -> None:
        self.templates = rules.templates
        self._conjunction = f" {rules.conjunction} "
        self._separator = re.compile(rf" ?, (?:{rules.conjunction} )?| {rules.conjunction} ")
        self._places = rules.places
        self._place_meanings = {said.lower(): place for place, said in rules.places.items()}
        leads = {template.lead: template.case for template in rules.templates} | rules.spare_leads
        self._leads = [(lead.lower() + " ", case) for lead, case in leads.items() if lead]
        self._phrases: dict[tuple[str, int, Kind], str] = {}
        self._meanings: dict[tuple[str, str], tuple[int, Kind]] = {}
        cases = sorted(set(leads.values()))
        kinds = list(starmap(Kind, product(SIZES, COLOURS, SHAPES)))
        for case, count, kind in product(cases, range(1, len(PLACES) + 1), kinds):
            phrases = rules.phrases(case, count, kind)
            self._phrases[case, count, kind] = phrases[0]
            for phrase in phrases:
                self._meanings[case, phrase.lower()] = count, kind

    def caption(self, objects: Sequence[SceneObject], template: Template) -> str:
        """Say what is there, in the order given."""
        case = template.case
        if template.counted:
            kinds = Counter(item.kind for item in objects)
            parts = [self._phrases[case, count, kind] for kind, count in kinds.items()]
        elif template.placed:
            parts = [f"{self._phrases[case, 1, item.kind]} {self._places[item.place]}" for item in objects]
        else:
            parts = [self._phrases[case, 1, item.kind] for item in objects]
        *most, last = parts
        listed = ", ".join(most) + self._conjunction + last if most else last
        return f"{template.lead} {listed}" if template.lead else listed

    def parse(self, caption: str) -> Description | None:
        """Read a caption; `None` when it is not one."""
        text = " ".join(caption.lower().replace(",", " , ").split())
        text = text.removesuffix(".").rstrip()
        case = "nominative"
        for lead, lead_case in self._leads:
            if text.startswith(lead):
                text, case = text[len(lead) :], lead_case
                break
        description = Description(Counter(), Counter())
        for part in self._separator.split(text):
            words = part.split(" ")
            meaning = self._meanings.get((case, " ".join(words[:4])))
            said = " ".join(words[4:])
            if meaning is None or (said and said not in self._place_meanings):
                return None
            count, kind = meaning
            description.objects[kind] += count
            if said:
                description.placed[kind, self._place_meanings[said]] += count
        return description


def _english_phrases(_case: str, count: int, kind: Kind) -> tuple[str, ...]:
    size, colour, shape = kind
    if count == 1:
        return tuple(f"{word} {size} {colour} {shape}" for word in ("a", "one"))
    return (f"{NUMBERS[count]} {size} {colour} {PLURALS[shape]}",)


_ENGLISH = Rules(
    templates=(
        Template(""),
        Template("there is"),
        Template("", placed=True),
        Template("the picture shows", counted=True),
        Template("a picture of"),
    ),
    spare_leads={"there are": "nominative"},
    conjunction="and",
    places={place: f"in the {place}" for place in PLACES},
    phrases=_english_phrases,
)

_GERMAN_NOUNS = {
    "circle": ("m", "Kreis", "Kreise"),
    "square": ("n", "Quadrat", "Quadrate"),
    "triangle": ("n", "Dreieck", "Dreiecke"),
    "star": ("m", "Stern", "Sterne"),
    "cross": ("n", "Kreuz", "Kreuze"),
    "diamond": ("f", "Raute", "Rauten"),
}
_GERMAN_ADJECTIVES = {
    "small": "klein",
    "large": "groß",
    "red": "rot",
    "orange": "orangefarben",
    "yellow": "gelb",
    "green": "grün",
    "blue": "blau",
    "purple": "violett",
    "black": "schwarz",
    "white": "weiß",
}
_GERMAN_NUMBERS = ("null", "ein", "zwei", "drei", "vier", "fünf", "sechs", "sieben", "acht", "neun")
_GERMAN_ENDINGS = {  # (case, gender): of "ein" and, after it, of an adjective
    ("nominative", "m"): ("", "er"),
    ("nominative", "f"): ("e", "e"),
    ("nominative", "n"): ("", "es"),
    ("accusative", "m"): ("en", "en"),
    ("accusative", "f"): ("e", "e"),
    ("accusative", "n"): ("", "es"),
    ("dative", "m"): ("em", "en"),
    ("dative", "f"): ("er", "en"),
    ("dative", "n"): ("em", "en"),
}


def _german_phrases(case: str, count: int, kind: Kind) -> tuple[str, ...]:
    size, colour, shape = kind
    gender, noun, plural = _GERMAN_NOUNS[shape]
    if count == 1:
        article, ending = _GERMAN_ENDINGS[case, gender]
        first = "ein" + article
    else:  # after a bare number the adjective shows the case: the strong endings
        first, noun, ending = _GERMAN_NUMBERS[count], plural, "e"
        if case == "dative":
            noun, ending = plural.removesuffix("n") + "n", "en"
    return (f"{first} {_GERMAN_ADJECTIVES[size]}{ending} {_GERMAN_ADJECTIVES[colour]}{ending} {noun}",)


_GERMAN = Rules(
    templates=(
        Template(""),
        Template("es gibt", "accusative"),
        Template("", placed=True),
        Template("das Bild zeigt", "accusative", counted=True),
        Template("ein Bild mit", "dative"),
    ),
    spare_leads={},
    conjunction="und",
    places={
        "top left": "oben links",
        "top centre": "oben in der Mitte",
        "top right": "oben rechts",
        "middle left": "links in der Mitte",
        "centre": "in der Mitte",
        "middle right": "rechts in der Mitte",
        "bottom left": "unten links",
        "bottom centre": "unten in der Mitte",
        "bottom right": "unten rechts",
    },
    phrases=_german_phrases,
)

_RULES = {"en": _ENGLISH, "de": _GERMAN}
LANGUAGES = tuple(_RULES)


@cache
def grammar(language: str) -> Grammar:
    """The grammar of a language (one of `LANGUAGES`); raises `UserError` for another."""
    if language not in _RULES:
        raise UserError(unknown("language of the scenes", language, LANGUAGES))
    return Grammar(_RULES[language])


def parse_caption(caption: str, language: str = "en") -> Description | None:
    """Read a description of a scene: any of the phrasings, objects in any order; `None` when it is not one.

    Capitals, spacing, a full stop and the choice between comma and "and" are free; words, word order
    within a phrase and inflection are not.
    """
    return grammar(language).parse(caption)
