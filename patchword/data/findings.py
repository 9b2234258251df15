"""What the doctor found in a data set, as plain data and in words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

EXAMPLES = 5
"""Examples kept for each problem."""
SHORT = 3
"""A caption of fewer words is short."""
LABELS = 12
"""Labels of a split whose counts are printed."""


@dataclass
class Finding:
    """One kind of problem, how often it was met, and a few examples."""

    kind: str
    count: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, example: str) -> None:
        """Met once more."""
        self.count += 1
        if len(self.examples) < EXAMPLES:
            self.examples.append(example)


class Spread(NamedTuple):
    """How some numbers are spread; all zero where there are none."""

    min: float
    median: float
    mean: float
    max: float


class SplitFacts(NamedTuple):
    """How large a split is."""

    samples: int
    texts: dict[str, int]
    """How many of each field."""
    labels: dict[str, int]
    """How many samples of each class, sorted by name; empty where there are none."""


@dataclass(frozen=True)
class Report:
    """What the doctor found."""

    source: str
    ok: bool
    """Whether no larger share of the samples is bad than `data.bad_samples` allows. Nothing else makes it False."""
    pictures: bool
    """Whether samples have pictures."""
    count: int
    """Samples in all splits."""
    checked: int
    """How many of them were read; all, unless there was a limit."""
    bad: int
    """How many of those could not be."""
    allowed_share: float
    """Most that may be bad."""
    problems: list[Finding]
    splits: dict[str, SplitFacts]
    widths: Spread
    """In pixels."""
    heights: Spread
    formats: dict[str, int]
    words: dict[str, Spread]
    """By field, labels aside: words in a text, split at blanks."""
    short_captions: int | None
    """Captions of fewer than three words; None: there are no captions."""
    in_no_split: int
    """Samples with texts that belong to no split."""
    not_in_table: int
    """Picture files that nothing is said of."""

    @property
    def bad_share(self) -> float:
        """Share of the samples read that were bad."""
        return self.bad / self.checked if self.checked else 0.0

    def to_json(self) -> dict[str, Any]:
        """Plain data; `ok`, `count` and `problems` (each with kind, count, examples) are a contract."""
        facts = asdict(self)
        facts["splits"] = {name: split._asdict() for name, split in self.splits.items()}
        facts["words"] = {name: spread._asdict() for name, spread in self.words.items()}
        for name in ("widths", "heights"):
            facts[name] = getattr(self, name)._asdict()
        return facts | {"bad_share": self.bad_share}

    def lines(self) -> Iterator[str]:
        """The report for a person."""
        thing = "picture" if self.pictures else "sample"
        part = "" if self.checked == self.count else f", {self.checked} of them read"
        yield f"{self.source}: {_count(self.count, thing)}{part}"
        for name, split in self.splits.items():
            texts = ", ".join(_count(count, text) for text, count in split.texts.items())
            yield f"  {name}: {_count(split.samples, thing)}{', ' if texts else ''}{texts}"
            if split.labels:
                yield f"    {_counted(split.labels)}"
        if self.pictures:
            formats = ", ".join(f"{count} {name}" for name, count in self.formats.items())
            yield f"  pixels: width {_range(self.widths)}, height {_range(self.heights)}; {formats or 'none read'}"
        for text, words in self.words.items():
            short = f"; {self.short_captions} below {SHORT}" if text == "caption" else ""
            article = "an" if text[0] in "aeiou" else "a"
            yield f"  words in {article} {text}: {_range(words)}, mean {words.mean:.1f}{short}"
        if self.in_no_split:
            yield f"  left out: {_count(self.in_no_split, thing)} in no split"
        if self.not_in_table:
            yield f"  left out: {_count(self.not_in_table, 'picture file')} that nothing is said of"
        for problem in self.problems:
            yield f"problem: {problem.kind}: {problem.count}"
            yield from (f"  {example}" for example in problem.examples)
            if problem.count > len(problem.examples):
                yield f"  ... and {problem.count - len(problem.examples)} more"
        yield f"ok: {self._judgement()}" if self.ok else f"NOT ok: {self._judgement()}"

    def _judgement(self) -> str:
        read = f"{self.bad} of {_count(self.checked, 'picture' if self.pictures else 'sample')} cannot be read"
        return f"{read} ({self.bad_share:.2%}; data.bad_samples allows {self.allowed_share:.2%})"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _counted(labels: dict[str, int]) -> str:
    """The commonest labels and how many samples have each."""
    ranked = sorted(labels.items(), key=lambda item: -item[1])
    rest = f", and {len(ranked) - LABELS} more labels" if len(ranked) > LABELS else ""
    return ", ".join(f"{name} {count}" for name, count in ranked[:LABELS]) + rest


def _range(spread: Spread) -> str:
    if spread.min == spread.max:
        return f"{spread.min:g}"
    return f"{spread.min:g} to {spread.max:g} (median {spread.median:g})"
