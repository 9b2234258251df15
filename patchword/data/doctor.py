"""The doctor: reads a data set from end to end before a training does, and says what is wrong with it."""

from __future__ import annotations

import hashlib
import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from patchword.config import DataConfig, Fields
from patchword.data.base import Split
from patchword.data.columns import ANYTHING
from patchword.data.decode import BadImage, decode
from patchword.data.file_source import NotedSource, Notes
from patchword.data.findings import EXAMPLES, SHORT, Finding, Report, SplitFacts, Spread
from patchword.data.sources import open_source

_FORMATS = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG": "PNG",
    b"GIF8": "GIF",
    b"RIFF": "WebP",
    b"BM": "BMP",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
}

_OFTEN_ALIKE = ("question", "answer", "question_type")
"""Of one picture several of these may well be the same."""


def check(
    config: DataConfig,
    limit: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    fields: Fields = ANYTHING,
) -> Report:
    """Read every picture and every text of a data set.

    The same picture in two splits is reported as a problem but leaves the report `ok`, for it stops no training.

    Args:
        config: Names the data set.
        limit: Read at most this many samples, spread evenly over all splits; duplicates are looked for among these.
        progress: Told (samples read, samples to read) after each.
        fields: Which texts it should have (a task's `fields`); by default whatever it has.

    Raises:
        patchword.config.UserError: the data set cannot be opened at all.
    """
    source = open_source(config, fields)
    examination = _Examination(config.image.max_pixels, source.has_pictures, one_label=not fields.parallel)
    count = sum(map(len, source.splits.values()))
    step = 1.0 if limit is None else max(1.0, count / max(1, limit))
    total = count if limit is None else min(count, max(0, limit))
    place, done = 0, 0
    for split in source.splits.values():
        for index in range(len(split)):
            name = examination.texts_of(split, index)
            # evenly: picture number `place` is read when it is the first at or after a multiple of `step`
            if done < total and place >= done * step:
                examination.picture_of(split, index, name)
                done += 1
                if progress is not None:
                    progress(done, total)
            place += 1
    return examination.report(config, source)


class _Examination:
    """What is gathered on the way through a data set."""

    def __init__(self, max_pixels: int, pictures: bool, one_label: bool) -> None:
        self._max_pixels = max_pixels
        self._one_label = one_label
        self._pictures = pictures
        self._bad: dict[str, Finding] = {}
        self._repeated: dict[str, Finding] = {}
        self._several = Finding("samples of several labels")
        self._splits_of: dict[str, list[str]] = defaultdict(list)
        self._same: dict[bytes, list[tuple[str, str]]] = defaultdict(list)
        self._sizes: list[tuple[int, int]] = []
        self._formats: Counter[str] = Counter()
        self._words: dict[str, list[int]] = defaultdict(list)
        self._texts: dict[str, Counter[str]] = defaultdict(Counter)
        self._labels: dict[str, Counter[str]] = defaultdict(Counter)
        self._checked = 0

    def texts_of(self, split: Split, index: int) -> str:
        """Note the texts of a record, and return its name."""
        record = split.record(index)
        self._splits_of[record.id].append(split.name)
        if not self._pictures:
            self._same[_digest(repr(sorted(record.texts.items())).encode())].append((split.name, record.id))
        for field, texts in record.texts.items():
            self._texts[split.name][field] += len(texts)
            if field == "label":
                self._labels[split.name].update(texts)
                if len(texts) > 1 and self._one_label:
                    self._several.add(f"{record.id}: {', '.join(texts)}")
                continue
            self._words[field] += [len(text.split()) for text in texts]
            repeated = [text for text, times in Counter(texts).items() if times > 1]
            if repeated and field not in _OFTEN_ALIKE:
                self._repeated.setdefault(field, Finding(f"duplicate {field}s")).add(f"{record.id}: {repeated[0]!r}")
        return record.id

    def picture_of(self, split: Split, index: int, name: str) -> None:
        """Read the picture of a record of that name."""
        self._checked += 1
        if not self._pictures:
            return
        try:
            picture = split.read(index)
            pixels = picture if isinstance(picture, np.ndarray) else decode(picture, self._max_pixels)
        except BadImage as error:
            self._bad.setdefault(error.reason, Finding(error.reason)).add(f"{name}: {error.message}")
            return
        self._sizes.append((pixels.shape[1], pixels.shape[0]))
        self._formats[_format(picture)] += 1
        self._same[_digest(picture)].append((split.name, name))

    def report(self, config: DataConfig, source: NotedSource) -> Report:
        """Everything that was noted."""
        bad = sum(problem.count for problem in self._bad.values())
        allowed = config.bad_samples.max_share if config.bad_samples.policy == "skip" else 0.0
        found = (*self._doubles(), *self._repeated.values(), self._several, self._unseen())
        problems = [*self._bad.values(), *found, *_left_out(source.notes)]
        widths, heights = zip(*self._sizes, strict=True) if self._sizes else ((), ())
        return Report(
            source=source.name,
            ok=bad <= allowed * self._checked,
            count=sum(map(len, source.splits.values())),
            checked=self._checked,
            bad=bad,
            allowed_share=allowed,
            problems=[problem for problem in problems if problem.count],
            splits={
                name: SplitFacts(len(split), dict(self._texts[name]), dict(sorted(self._labels[name].items())))
                for name, split in source.splits.items()
            },
            pictures=self._pictures,
            widths=_spread(widths),
            heights=_spread(heights),
            formats=dict(self._formats.most_common()),
            words={field: _spread(counts) for field, counts in self._words.items()},
            short_captions=sum(words < SHORT for words in self._words["caption"]) if "caption" in self._words else None,
            in_no_split=len(source.notes.in_no_split),
            not_in_table=source.notes.not_in_table,
        )

    def _unseen(self) -> Finding:
        """Labels of other splits that no training sample has: a model can never say them."""
        unseen = Finding("labels that training lacks")
        for split, labels in self._labels.items():
            for label in sorted(labels.keys() - self._labels["train"].keys() if "train" in self._labels else ()):
                unseen.add(f"{label} in {split}: {labels[label]}")
        return unseen

    def _doubles(self) -> tuple[Finding, Finding]:
        """The same picture, or where there are none the same texts, under two names, and in two splits."""
        twice = Finding("duplicate pictures" if self._pictures else "duplicate samples")
        leaks = Finding("split leakage")
        for name, splits in self._splits_of.items():
            if len(splits) > 1:
                leaks.add(f"{name} in {' and '.join(splits)}")
        for places in self._same.values():
            names = dict.fromkeys(name for _, name in places)
            if len(names) == 1:
                continue
            twice.add(" = ".join(names))
            if len({split for split, _ in places}) > 1:
                leaks.add(" = ".join(f"{name} in {split}" for split, name in places))
        return twice, leaks


def _left_out(notes: Notes) -> Iterator[Finding]:
    kinds = {f"empty {field}s": rows for field, rows in notes.empty.items()}
    kinds |= {"samples with empty texts only": notes.without_texts, "listed but not in the table": notes.listed_only}
    for kind, names in kinds.items():
        yield Finding(kind, len(names), list(names[:EXAMPLES]))


def _digest(picture: bytes | np.ndarray) -> bytes:
    content = picture if isinstance(picture, bytes) else str(picture.shape).encode() + picture.tobytes()
    return hashlib.blake2b(content, digest_size=16).digest()


def _format(picture: bytes | np.ndarray) -> str:
    if not isinstance(picture, bytes):
        return "drawn"
    return next((name for start, name in _FORMATS.items() if picture.startswith(start)), "other")


def _spread(numbers: Sequence[int]) -> Spread:
    if not numbers:
        return Spread(0, 0, 0, 0)
    return Spread(min(numbers), statistics.median(numbers), statistics.fmean(numbers), max(numbers))
